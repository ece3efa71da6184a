//! The futures of a producer with a spool, while it writes to the spool and while it replays it.

use anabranch::{
    conn::ConnectionState,
    producer::{Fate, SendErrorKind, spool},
};

use crate::{
    cut, for_all_k, payloads, small,
    world::{LONG, begun},
};

/// What was sent before the future at hand: more than memory holds.
const SENT: u64 = 12;

fn drops(close: bool) {
    for_all_k(async |world, k| {
        let folder = tempfile::tempdir().unwrap();
        let mut config = spool::Config::new(folder.path());
        config.policy = spool::Policy::Overflow;
        config.receipts = spool::Receipts::WhenSpooled;
        let spooling = || {
            small(&world)
                .buffer_messages(8)
                .buffer_bytes(1 << 20)
                .spool(config.clone())
        };
        let producer = spooling().connect().await.unwrap();
        world.there.cut();
        world.back.cut();
        let mut link = producer.watch_connection_state();
        link.wait_for(|link| !matches!(link, ConnectionState::Connected(_)))
            .await
            .unwrap();
        let calls: Vec<_> = (0..SENT)
            .map(|n| begun(producer.send(n.to_string())))
            .collect();
        // Both waits for room and for the disk are in it.
        let completed = if close {
            let on_disk = |state: &spool::State| state.messages == SENT - 6;
            producer
                .watch_spool_state()
                .unwrap()
                .wait_for(on_disk)
                .await
                .unwrap();
            let closing = producer.clone().close(std::time::Duration::from_millis(20));
            cut(&world.network, k, closing).await.is_some()
        } else {
            let sent = cut(&world.network, k, producer.send("it")).await;
            if let Some(sent) = &sent {
                assert!(sent.as_ref().unwrap().is_spooled());
            }
            sent.is_some()
        };
        world.there.restore();
        world.back.restore();
        let mut sure = Vec::new();
        let producer = if close {
            for (n, call) in calls.into_iter().enumerate() {
                match call.await {
                    Ok(_) => sure.push(n.to_string()),
                    Err(error) if error.fate() == Fate::Spooled => sure.push(n.to_string()),
                    Err(error) => assert_eq!(error.kind(), SendErrorKind::Closed),
                }
            }
            drop(producer);
            loop {
                match spooling().build() {
                    Ok(next) => break next,
                    Err(_) => {
                        world
                            .network
                            .sleep(std::time::Duration::from_millis(10))
                            .await
                    }
                }
            }
        } else {
            for (n, call) in calls.into_iter().enumerate() {
                drop(call.await);
                sure.push(n.to_string());
            }
            if completed {
                sure.push("it".to_owned());
            }
            producer
        };
        let mut state = producer.watch_spool_state().unwrap();
        let over = |state: &spool::State| state.phase == spool::Phase::Memory;
        state.wait_for(over).await.unwrap();
        producer.flush(LONG).await.unwrap();
        let mut stored = payloads(&world).await;
        // A message that was dropped may be there, once.
        let times = stored.iter().filter(|p| *p == "it").count();
        assert!(times <= 1);
        for one in &sure {
            assert_eq!(stored.iter().filter(|p| *p == one).count(), 1, "{one}");
        }
        stored.retain(|p| p != "it");
        let numbers: Vec<u64> = stored.iter().map(|p| p.parse().unwrap()).collect();
        assert!(numbers.is_sorted());
        // Six in memory and two on their way to disk: both rooms are whole.
        for n in 0..6 {
            drop(producer.try_send_async(format!("whole {n}")).unwrap());
        }
        let full = producer.try_send_async("one more").unwrap_err();
        assert_eq!(full.kind(), SendErrorKind::Full);
        producer.close(LONG).await.unwrap();
        completed
    });
}

#[test]
fn send_while_it_spools() {
    drops(false);
}

#[test]
fn close_while_it_spools() {
    drops(true);
}
