//! Lanes come when they help, go when they do not, and never get in each other's way.

use std::{num::NonZeroUsize, time::Duration};

use anabranch::{
    Message,
    producer::{Lanes, SendErrorKind, Strategy},
    scaler::Reason,
    sim::{self, LinkConfig, Rate},
};

use crate::world::{LONG, World};

#[test]
fn a_clean_link_with_room_needs_one_lane() {
    sim::run(1, async |network| {
        let link = LinkConfig::default()
            .delay(Duration::from_millis(10))
            .rate(Rate::mbit(100));
        let world = World::new(network, link).await;
        let producer = world.producer().connect().await.unwrap();
        for n in 0..1000 {
            drop(producer.send_async(n.to_string()).await.unwrap());
            world.network.sleep(Duration::from_micros(500)).await;
        }
        producer.flush(LONG).await.unwrap();
        let lanes = producer.lanes();
        assert_eq!((lanes.peak, lanes.opened), (1, 1));
        producer.close(LONG).await.unwrap();
    });
}

#[test]
fn an_idle_producer_asks_nothing_of_the_scaler() {
    sim::run(2, async |network| {
        let link = LinkConfig::default().delay(Duration::from_millis(10));
        let world = World::new(network, link).await;
        let producer = world.producer().connect().await.unwrap();
        producer.send_async("one").await.unwrap().await.unwrap();
        world.network.sleep(Duration::from_secs(60)).await;
        let before: u64 = producer.lanes().decisions.iter().sum();
        world.network.sleep(Duration::from_secs(3600 / 2)).await;
        let after: u64 = producer.lanes().decisions.iter().sum();
        assert_eq!(before, after);
        producer.close(LONG).await.unwrap();
    });
}

#[test]
fn a_producer_that_was_refused_for_good_sleeps_until_it_is_closed() {
    for strategy in [Strategy::Adaptive, Strategy::PerMessage(NonZeroUsize::MIN)] {
        // In virtual time a task that never sleeps holds the clock for ever.
        let (done, waits) = std::sync::mpsc::sync_channel(1);
        std::thread::spawn(move || {
            sim::run(5, async |network| {
                let mut world = World::new(network, LinkConfig::default()).await;
                world.tokens = Some("right".parse().unwrap());
                world.crash().await;
                let producer = world.producer().token("wrong");
                let producer = producer.strategy(strategy).build().unwrap();
                let keyed = || Message::new("one").with_key("key");
                let receipts = [(); 3].map(|()| producer.try_send_async(keyed()).unwrap());
                for receipt in receipts {
                    let error = receipt.await.unwrap_err();
                    assert_eq!(error.kind(), SendErrorKind::Disconnected);
                }
                world.network.sleep(Duration::from_secs(60)).await;
                producer.close(LONG).await.unwrap();
            });
            done.send(()).unwrap();
        });
        waits.recv_timeout(Duration::from_secs(30)).unwrap();
    }
}

#[test]
fn lanes_that_were_opened_for_a_burst_go_when_it_is_over() {
    sim::run(3, async |network| {
        let link = LinkConfig::default()
            .delay(Duration::from_millis(50))
            .rate(Rate::mbit(1000));
        let world = World::new(network, link).await;
        let producer = world.producer().connect().await.unwrap();
        for _ in 0..20_000 {
            drop(producer.send_async(vec![7; 1000]).await.unwrap());
        }
        producer.flush(LONG).await.unwrap();
        assert!(producer.lanes().peak > 1, "{:?}", producer.lanes());
        let mut lanes = producer.watch_lanes();
        lanes.wait_for(|lanes| lanes.open == 1).await.unwrap();
        let report = producer.lanes();
        assert!(report.decisions[Reason::Idle as usize] > 0);
        assert_eq!(report.opened - report.retired, 1);
        producer.close(LONG).await.unwrap();
    });
}

#[test]
fn a_peer_that_permits_few_streams_makes_nobody_hang() {
    sim::run(4, async |network| {
        let link = LinkConfig::default()
            .delay(Duration::from_millis(10))
            .rate(Rate::mbit(100));
        let world = World::with_streams(network, link, 3).await;
        let eight = NonZeroUsize::new(8).unwrap();
        let producer = world.producer().fixed_lanes(eight).connect().await.unwrap();
        for n in 0..5000 {
            drop(producer.send_async(n.to_string()).await.unwrap());
        }
        producer.flush(LONG).await.unwrap();
        assert_eq!(world.stored().await.len(), 5000);
        let limited = |lanes: &Lanes| lanes.decisions[Reason::PeerLimit as usize] > 0;
        producer.watch_lanes().wait_for(limited).await.unwrap();
        producer.send("in order").await.unwrap();
        producer.close(LONG).await.unwrap();
    });
}
