//! Bounds, and a disk that takes nothing.

use std::time::Duration;

use anabranch::{
    producer::{Fate, SendErrorKind, WhenFull},
    sim,
};
use futures_util::future::join_all;

use crate::{
    cut, delivered, heal, link, on_disk, overflowing, payloads, when_spooled, with,
    world::{LONG, World, begun},
};

#[test]
fn a_full_spool_is_full_by_when_full_and_has_room_again_when_it_was_delivered() {
    let folder = tempfile::tempdir().unwrap();
    sim::run(21, async |network| {
        let world = World::new(network, link()).await;
        let mut config = when_spooled(folder.path());
        config.max_messages = 100;
        let producer = with(&world, config)
            .when_full(WhenFull::WaitFor(Duration::from_secs(1)))
            .connect()
            .await
            .unwrap();
        cut(&world, &producer).await;
        let calls: Vec<_> = (0..200)
            .map(|n| begun(producer.send_async(n.to_string())))
            .collect();
        on_disk(&producer, 100).await;
        let accepted = join_all(calls).await;
        // 48 in memory, 100 on disk, 16 on their way there.
        for (n, accepted) in accepted.into_iter().enumerate() {
            match accepted {
                Ok(_) => assert!(n < 164, "{n}"),
                Err(error) => {
                    assert!(n >= 164, "{n}");
                    assert_eq!(
                        (error.kind(), error.fate()),
                        (SendErrorKind::Full, Fate::NotStored)
                    );
                    assert!(error.into_message().is_some());
                }
            }
        }
        assert_eq!(producer.spool_state().unwrap().messages, 100);
        heal(&world);
        delivered(&producer).await;
        producer.flush(LONG).await.unwrap();
        assert_eq!(payloads(&world).await.len(), 164);
        producer.close(LONG).await.unwrap();
    });
}

#[test]
fn a_disk_that_takes_nothing_is_told_and_what_found_no_place_is_not_stored() {
    let folder = tempfile::tempdir().unwrap();
    sim::run(22, async |network| {
        let world = World::new(network, link()).await;
        let mut config = overflowing(folder.path());
        // More than any disk has.
        config.min_free_bytes = u64::MAX;
        let producer = with(&world, config)
            .delivery_timeout(Duration::from_secs(60))
            .connect()
            .await
            .unwrap();
        cut(&world, &producer).await;
        let calls: Vec<_> = (0..100)
            .map(|n| begun(producer.send(n.to_string())))
            .collect();
        let mut state = producer.watch_spool_state().unwrap();
        let trouble = state
            .wait_for(|state| state.last_error.is_some())
            .await
            .unwrap();
        let told = trouble.last_error.clone().unwrap();
        drop(trouble);
        assert!(told.contains("takes no writes"), "{told}");
        for (n, outcome) in join_all(calls).await.into_iter().enumerate() {
            let error = outcome.unwrap_err();
            assert_eq!(
                (error.kind(), error.fate()),
                (SendErrorKind::Expired, Fate::NotStored)
            );
            if (48..64).contains(&n) {
                assert!(error.to_string().contains("takes no writes"), "{error}");
            }
        }
        heal(&world);
        producer.wait_connected().await.unwrap();
        delivered(&producer).await;
        producer.send("after").await.unwrap();
        assert_eq!(payloads(&world).await, ["after"]);
        producer.close(LONG).await.unwrap();
    });
}

#[test]
fn beyond_the_receipts_that_may_wait_a_receipt_says_spooled() {
    let folder = tempfile::tempdir().unwrap();
    sim::run(23, async |network| {
        let world = World::new(network, link()).await;
        let mut config = overflowing(folder.path());
        config.max_pending_receipts = 0;
        let producer = with(&world, config).connect().await.unwrap();
        cut(&world, &producer).await;
        let calls: Vec<_> = (0..60)
            .map(|n| begun(producer.send(n.to_string())))
            .collect();
        on_disk(&producer, 12).await;
        heal(&world);
        for (n, outcome) in join_all(calls).await.into_iter().enumerate() {
            assert_eq!(outcome.unwrap().is_spooled(), n >= 48, "{n}");
        }
        delivered(&producer).await;
        producer.close(LONG).await.unwrap();
    });
}
