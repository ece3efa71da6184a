//! Policies: what an outage puts on disk, and what is always there first.

use std::time::Duration;

use anabranch::{
    Message,
    producer::spool::{self, Phase, Policy, Receipts},
    sim,
};
use futures_util::future::join_all;

use crate::{
    cut, delivered, heal, link, numbers, on_disk, payloads, restart, with,
    world::{LONG, World, begun},
};

fn config(folder: &std::path::Path, policy: Policy) -> spool::Config {
    let mut config = spool::Config::new(folder);
    config.policy = policy;
    config.receipts = Receipts::WhenSpooled;
    config
}

#[test]
fn an_outage_of_a_second_puts_everything_that_was_not_sent_on_disk_in_its_order() {
    for keyed in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        sim::run(31, async |network| {
            let world = World::new(network, link()).await;
            let outage = spool::Config::new(folder.path());
            let producer = with(&world, outage).connect().await.unwrap();
            let send = |n: u64| match keyed {
                false => begun(producer.send(n.to_string())),
                true => {
                    let key = format!("k{}", n % 3);
                    let message = Message::new(n.to_string()).with_key(key);
                    let accepted = producer.send_async(message);
                    begun(async move { accepted.await?.await })
                }
            };
            send(0).await.unwrap();
            cut(&world, &producer).await;
            // Memory has room for all of them.
            let mut calls: Vec<_> = (1..30).map(send).collect();
            on_disk(&producer, 29).await;
            assert_eq!(producer.spool_state().unwrap().phase, Phase::Spooling);
            calls.extend((30..40).map(send));
            on_disk(&producer, 39).await;
            assert_eq!(producer.stats().queued_messages, 0);
            heal(&world);
            calls.extend((40..200).map(send));
            for (n, ack) in (1..).zip(join_all(calls).await) {
                let offset = ack.unwrap().offset().unwrap().0;
                assert!(keyed || offset == n, "{n} is at {offset}");
            }
            delivered(&producer).await;
            let stored: Vec<u64> = payloads(&world)
                .await
                .iter()
                .map(|p| p.parse().unwrap())
                .collect();
            for key in 0..3 {
                let of_key: Vec<_> = stored.iter().filter(|n| *n % 3 == key).collect();
                assert!(of_key.is_sorted(), "{of_key:?}");
            }
            assert_eq!(stored.len(), 200);
            producer.close(LONG).await.unwrap();
        });
    }
}

#[test]
fn what_would_expire_without_a_broker_is_spooled_and_delivered_by_a_later_producer() {
    for messages in [5, 1000] {
        let folder = tempfile::tempdir().unwrap();
        sim::run(32, async |network| {
            let world = World::new(network, link()).await;
            world.there.cut();
            world.back.cut();
            let config = config(folder.path(), Policy::Outage);
            let first = with(&world, config.clone())
                .delivery_timeout(Duration::from_secs(10))
                .build()
                .unwrap();
            let calls: Vec<_> = (0..messages)
                .map(|n| begun(first.send(n.to_string())))
                .collect();
            for (n, outcome) in join_all(calls).await.into_iter().enumerate() {
                assert!(outcome.unwrap().is_spooled(), "{n}");
            }
            drop(first);
            heal(&world);
            let last =
                restart::as_soon_as_it_is_free(&world, || with(&world, config.clone())).await;
            delivered(&last).await;
            assert_eq!(payloads(&world).await, numbers(0..messages));
            last.close(LONG).await.unwrap();
        });
    }
}

#[test]
fn a_short_interruption_puts_nothing_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    sim::run(33, async |network| {
        let world = World::new(network, link()).await;
        let config = config(folder.path(), Policy::Outage);
        let producer = with(&world, config).connect().await.unwrap();
        cut(&world, &producer).await;
        let calls: Vec<_> = (0..40)
            .map(|n| begun(producer.send(n.to_string())))
            .collect();
        heal(&world);
        for outcome in join_all(calls).await {
            assert!(!outcome.unwrap().is_spooled());
        }
        assert_eq!(producer.spool_state().unwrap().delivered, 0);
        producer.close(LONG).await.unwrap();
    });
}

#[test]
fn a_close_without_a_connection_leaves_what_was_not_sent_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    sim::run(34, async |network| {
        let world = World::new(network, link()).await;
        let outage = spool::Config::new(folder.path());
        let first = with(&world, outage.clone()).connect().await.unwrap();
        cut(&world, &first).await;
        let calls: Vec<_> = (0..40).map(|n| begun(first.send(n.to_string()))).collect();
        let error = first.close(Duration::ZERO).await.unwrap_err();
        assert_eq!((error.undelivered.len(), error.spooled), (0, 40));
        for outcome in join_all(calls).await {
            assert_eq!(
                outcome.unwrap_err().fate(),
                anabranch::producer::Fate::Spooled
            );
        }
        heal(&world);
        let last = restart::as_soon_as_it_is_free(&world, || with(&world, outage.clone())).await;
        delivered(&last).await;
        assert_eq!(payloads(&world).await, numbers(0..40));
        assert_eq!(last.spool_state().unwrap().delivered, 40);
        last.close(LONG).await.unwrap();
    });
}

#[test]
fn with_always_every_message_is_on_disk_before_it_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    sim::run(35, async |network| {
        let world = World::new(network, link()).await;
        let config = config(folder.path(), Policy::Always);
        let first = with(&world, config.clone()).connect().await.unwrap();
        for n in 0..50 {
            assert!(first.send(n.to_string()).await.unwrap().is_spooled());
        }
        // It ends without a word, with a connection.
        drop(first);
        let last = restart::as_soon_as_it_is_free(&world, || with(&world, config.clone())).await;
        let calls: Vec<_> = (50..1000)
            .map(|n| begun(last.send(n.to_string())))
            .collect();
        for outcome in join_all(calls).await {
            assert!(outcome.unwrap().is_spooled());
        }
        let mut state = last.watch_spool_state().unwrap();
        state.wait_for(|state| state.messages == 0).await.unwrap();
        assert_eq!(payloads(&world).await, numbers(0..1000));
        assert_ne!(last.spool_state().unwrap().phase, Phase::Memory);
        last.close(LONG).await.unwrap();
    });
}
