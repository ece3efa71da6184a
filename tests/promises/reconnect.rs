//! What a producer learns when it comes back: what is stored already is not sent again, whatever was lost with the
//! connection.

use std::time::Duration;

use anabranch::{
    Message,
    conn::ConnectionState,
    producer::{FailureCode, Fate, SendErrorKind, Strategy},
    sim::{self, LinkConfig, Rate},
};

use crate::world::{LONG, World};

const PAYLOAD: usize = 1000;

fn link() -> LinkConfig {
    LinkConfig::default()
        .delay(Duration::from_millis(10))
        .rate(Rate::mbit(100))
}

async fn until_stored(world: &World, messages: usize) {
    while world.stored().await.len() < messages {
        world.network.sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn what_is_stored_and_lost_only_its_answer_is_not_sent_again() {
    // As many messages as the congestion window takes without an answer.
    for (lanes, messages) in [(true, 100u32), (false, 8)] {
        sim::run(5, async |network| {
            let world = World::new(network, link()).await;
            let strategy = match lanes {
                true => Strategy::Adaptive,
                false => Strategy::PerMessage(64.try_into().unwrap()),
            };
            let producer = world.producer().strategy(strategy).connect().await.unwrap();
            let mut sent = 0;
            for _ in 0..500 {
                drop(producer.send_async(vec![0; PAYLOAD]).await.unwrap());
                sent += 1;
            }
            producer.flush(LONG).await.unwrap();

            world.back.cut();
            let mut receipts = Vec::new();
            for n in 0..messages {
                let message = Message::new(vec![1; PAYLOAD]);
                let message = match n % 2 {
                    0 => message,
                    _ => message.with_key(n.to_string()),
                };
                receipts.push(producer.send_async(message).await.unwrap());
                sent += 1;
            }
            until_stored(&world, sent).await;
            // The client gives its connection up, and tries in vain.
            let mut state = producer.watch_connection_state();
            let lost =
                state.wait_for(|s| matches!(s, ConnectionState::Reconnecting { attempt: 2.., .. }));
            lost.await.unwrap();
            assert!(producer.stats().in_flight_messages > 0);

            let before = world.there.counters().sent.bytes;
            world.back.restore();
            producer.flush(LONG).await.unwrap();
            for receipt in receipts {
                receipt.await.unwrap();
            }
            let bytes = world.there.counters().sent.bytes - before;
            assert_eq!(producer.stats().retried, 0, "a batch was written again");
            assert!(bytes < 30_000, "{bytes} bytes for what was stored already");
            assert_eq!(world.stored().await.len(), sent);
            producer.close(LONG).await.unwrap();
        });
    }
}

#[test]
fn what_was_written_to_a_broker_that_has_forgotten_it_is_told_as_unknown_and_not_stored_twice() {
    sim::run(7, async |network| {
        let world = World::new(network, link()).await;
        let producer = world.producer().connect().await.unwrap();
        producer.send("first").await.unwrap();
        world.back.cut();
        let stored = producer.send_async("stored").await.unwrap();
        until_stored(&world, 2).await;
        let mut state = producer.watch_connection_state();
        let down =
            state.wait_for(|s| matches!(s, ConnectionState::Reconnecting { attempt: 2.., .. }));
        down.await.unwrap();
        let waiting = producer.send_async("waiting").await.unwrap();
        // As after a week of silence.
        world.store.forget_producers(Duration::ZERO).await.unwrap();
        world.back.restore();

        let error = stored.await.unwrap_err();
        assert_eq!(
            error.kind(),
            SendErrorKind::Refused(FailureCode::OutOfWindow)
        );
        assert_eq!(error.fate(), Fate::Unknown);
        assert_eq!(waiting.await.unwrap().offset().unwrap().0, 2);
        assert_eq!(producer.send("last").await.unwrap().offset().unwrap().0, 3);
        assert_eq!(world.stored().await.len(), 4);
        producer.close(LONG).await.unwrap();
    });
}

#[test]
fn an_outage_longer_than_any_idle_timeout_loses_nothing() {
    sim::run(8, async |network| {
        let world = World::new(network, link()).await;
        let producer = world.producer().connect().await.unwrap();
        let mut receipts = Vec::new();
        for n in 0..200 {
            if n == 20 {
                world.there.cut();
                world.back.cut();
            }
            let message = Message::new(n.to_string()).with_key("k");
            receipts.push(producer.send_async(message).await.unwrap());
            world.network.sleep(Duration::from_secs(2)).await;
        }
        let mut state = producer.watch_connection_state();
        let down = state.wait_for(|s| matches!(s, ConnectionState::Reconnecting { .. }));
        down.await.unwrap();
        world.there.restore();
        world.back.restore();
        for (n, receipt) in (0..).zip(receipts) {
            assert_eq!(receipt.await.unwrap().offset().unwrap().0, n);
        }
        assert_eq!(world.stored().await.len(), 200);
        producer.close(LONG).await.unwrap();
    });
}

#[test]
fn what_is_not_stored_is_sent_again_and_the_rest_is_not() {
    sim::run(6, async |network| {
        let world = World::new(network, link()).await;
        let producer = world.producer().connect().await.unwrap();
        producer.send("first").await.unwrap();
        world.back.cut();
        let stored = producer.send_async("stored").await.unwrap();
        until_stored(&world, 2).await;
        world.there.cut();
        let lost = producer.send_async("lost").await.unwrap();
        let mut state = producer.watch_connection_state();
        let down =
            state.wait_for(|s| matches!(s, ConnectionState::Reconnecting { attempt: 2.., .. }));
        down.await.unwrap();
        world.there.restore();
        world.back.restore();
        assert_eq!(stored.await.unwrap().offset().unwrap().0, 1);
        assert_eq!(lost.await.unwrap().offset().unwrap().0, 2);
        assert_eq!(producer.stats().retried, 1);
        assert_eq!(world.stored().await.len(), 3);
        producer.close(LONG).await.unwrap();
    });
}
