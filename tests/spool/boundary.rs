//! From memory to disk and back: the order of the calls holds across both changes.

use anabranch::{
    Message,
    producer::{SendErrorKind, WhenFull, spool::Phase},
    sim,
};
use futures_util::future::join_all;

use crate::{
    cut, delivered, heal, link, numbers, on_disk, payloads, spooling, when_spooled, with,
    world::{LONG, TOPIC, World, begun},
};

#[test]
fn send_keeps_its_order_from_memory_to_disk_and_back() {
    let folder = tempfile::tempdir().unwrap();
    sim::run(1, async |network| {
        let world = World::new(network, link()).await;
        let producer = spooling(&world, folder.path()).connect().await.unwrap();
        let mut calls = Vec::new();
        calls.extend((0..40).map(|n| begun(producer.send(n.to_string()))));
        cut(&world, &producer).await;
        calls.extend((40..1000).map(|n| begun(producer.send(n.to_string()))));
        on_disk(&producer, 900).await;
        heal(&world);
        calls.extend((1000..1200).map(|n| begun(producer.send(n.to_string()))));
        let acks = join_all(calls).await;
        for (n, ack) in (0..).zip(&acks) {
            assert_eq!(ack.as_ref().unwrap().offset().unwrap().0, n);
        }
        delivered(&producer).await;
        producer.send("1200").await.unwrap();
        assert_eq!(payloads(&world).await, numbers(0..1201));
        let held = producer.stats();
        assert_eq!(
            (held.queued_messages, held.in_flight_messages, held.waiting),
            (0, 0, 0)
        );
        producer.close(LONG).await.unwrap();
    });
}

#[test]
fn keys_keep_their_order_from_memory_to_disk_and_back() {
    let folder = tempfile::tempdir().unwrap();
    sim::run(2, async |network| {
        let world = World::new(network, link()).await;
        let producer = spooling(&world, folder.path()).connect().await.unwrap();
        let mut receipts = Vec::new();
        for n in 0..2000_u64 {
            match n {
                100 => cut(&world, &producer).await,
                1500 => heal(&world),
                _ => {}
            }
            let message = Message::new(n.to_string()).with_key(format!("k{}", n % 7));
            receipts.push(producer.send_async(message).await.unwrap());
        }
        for receipt in receipts {
            receipt.await.unwrap();
        }
        let stored = payloads(&world).await;
        assert_eq!(stored.len(), 2000);
        for key in 0..7 {
            let there = stored.iter().map(|p| p.parse::<u64>().unwrap());
            let there: Vec<_> = there.filter(|n| n % 7 == key).collect();
            assert!(there.is_sorted(), "key {key}");
        }
        producer.close(LONG).await.unwrap();
    });
}

#[test]
fn calls_that_wait_for_room_when_the_connection_is_lost_go_to_disk_in_their_places() {
    let folder = tempfile::tempdir().unwrap();
    sim::run(3, async |network| {
        let world = World::new(network, link()).await;
        let producer = spooling(&world, folder.path()).connect().await.unwrap();
        // Nothing is answered any more, and the producer does not know yet.
        world.back.cut();
        let calls: Vec<_> = (0..300)
            .map(|n| begun(producer.send(n.to_string())))
            .collect();
        assert!(producer.stats().waiting > 200);
        cut(&world, &producer).await;
        on_disk(&producer, 200).await;
        assert_eq!(producer.stats().waiting, 0);
        heal(&world);
        join_all(calls)
            .await
            .into_iter()
            .for_each(|ack| drop(ack.unwrap()));
        assert_eq!(payloads(&world).await, numbers(0..300));
        producer.close(LONG).await.unwrap();
    });
}

#[test]
fn a_short_outage_that_memory_can_hold_touches_no_disk() {
    let folder = tempfile::tempdir().unwrap();
    sim::run(4, async |network| {
        let world = World::new(network, link()).await;
        let producer = spooling(&world, folder.path()).connect().await.unwrap();
        cut(&world, &producer).await;
        let calls: Vec<_> = (0..40)
            .map(|n| begun(producer.send(n.to_string())))
            .collect();
        heal(&world);
        join_all(calls).await;
        assert_eq!(producer.spool_state().unwrap().phase, Phase::Memory);
        producer.close(LONG).await.unwrap();
    });
}

#[test]
fn a_receipt_says_spooled_at_once_only_where_that_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    sim::run(5, async |network| {
        let world = World::new(network, link()).await;
        let producer = with(&world, when_spooled(folder.path()))
            .connect()
            .await
            .unwrap();
        cut(&world, &producer).await;
        let calls: Vec<_> = (0..100)
            .map(|n| begun(producer.send(n.to_string())))
            .collect();
        let mut spooled = 0;
        for (n, call) in calls.into_iter().enumerate().rev() {
            if n < 48 {
                // In memory, and without an outcome as long as there is no connection.
                heal(&world);
                call.await.unwrap();
                continue;
            }
            let ack = call.await.unwrap();
            assert!(ack.is_spooled());
            assert_eq!((ack.offset(), ack.topic().as_str()), (None, TOPIC));
            spooled += 1;
        }
        assert_eq!(spooled, 52);
        delivered(&producer).await;
        assert_eq!(payloads(&world).await, numbers(0..100));
        producer.close(LONG).await.unwrap();
    });
}

#[test]
fn a_producer_that_never_waits_spools_too_and_goes_on_in_memory_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    sim::run(6, async |network| {
        let world = World::new(network, link()).await;
        let producer = with(&world, when_spooled(folder.path()))
            .when_full(WhenFull::Error)
            .connect()
            .await
            .unwrap();
        cut(&world, &producer).await;
        let mut sent = 0;
        while sent < 500 {
            match producer.try_send_async(sent.to_string()) {
                Ok(_) => sent += 1,
                Err(error) => {
                    assert_eq!(error.kind(), SendErrorKind::Full);
                    // The disk is at work.
                    tokio::task::yield_now().await;
                }
            }
        }
        heal(&world);
        delivered(&producer).await;
        drop(producer.try_send_async("500").unwrap());
        producer.flush(LONG).await.unwrap();
        let mut stored: Vec<u64> = payloads(&world)
            .await
            .iter()
            .map(|p| p.parse().unwrap())
            .collect();
        stored.sort_unstable();
        assert!(stored.into_iter().eq(0..501));
        producer.close(LONG).await.unwrap();
    });
}
