//! What is on disk outlives the producer.

use std::time::Duration;

use anabranch::{
    Producer,
    producer::{BuildError, Builder, CloseError, Fate, SendErrorKind, spool::OpenError},
    sim,
};
use futures_util::future::join_all;

use crate::{
    cut, delivered, heal, link, numbers, on_disk, payloads, spooling, when_spooled, with,
    world::{LONG, World, begun},
};

#[test]
fn what_a_closed_producer_left_on_disk_goes_out_before_anything_of_the_next() {
    let folder = tempfile::tempdir().unwrap();
    sim::run(11, async |network| {
        let world = World::new(network, link()).await;
        let first = with(&world, when_spooled(folder.path()))
            .connect()
            .await
            .unwrap();
        cut(&world, &first).await;
        let calls: Vec<_> = (0..300).map(|n| begun(first.send(n.to_string()))).collect();
        on_disk(&first, 252).await;
        drop(calls);
        let CloseError {
            undelivered,
            spooled,
            ..
        } = first.close(Duration::ZERO).await.unwrap_err();
        assert_eq!(undelivered.len() as u64 + spooled, 300);
        assert_eq!(spooled, 252);

        heal(&world);
        let second = with(&world, when_spooled(folder.path())).build().unwrap();
        let calls: Vec<_> = (300..310)
            .map(|n| begun(second.send(n.to_string())))
            .collect();
        // Behind what is on disk: on disk, too, or, where that was over soon enough, in memory.
        for outcome in join_all(calls).await {
            let fate = outcome.map_or_else(|error| Some(error.fate()), |_| None);
            assert!(matches!(fate, None | Some(Fate::Spooled)));
        }
        delivered(&second).await;
        let kept = undelivered.len() as u64;
        assert_eq!(payloads(&world).await, numbers(kept..310));
        second.close(LONG).await.unwrap();
    });
}

/// The folder of a producer that was dropped is free when the last of its tasks has ended.
pub async fn as_soon_as_it_is_free(world: &World, builder: impl Fn() -> Builder) -> Producer {
    loop {
        match builder().build() {
            Ok(producer) => return producer,
            Err(BuildError::Spool(OpenError::InUse(_))) => {
                world.network.sleep(Duration::from_millis(10)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_producer_that_vanishes_while_it_delivers_has_everything_delivered_once_by_the_next() {
    for seed in 0..8 {
        let folder = tempfile::tempdir().unwrap();
        sim::run(seed, async |network| {
            let mut world = World::new(network, link()).await;
            let first = with(&world, when_spooled(folder.path()))
                .connect()
                .await
                .unwrap();
            cut(&world, &first).await;
            let calls: Vec<_> = (0..1000)
                .map(|n| begun(first.send(n.to_string())))
                .collect();
            on_disk(&first, 952).await;
            drop(calls);
            drop(first);
            heal(&world);
            for round in 0..4 {
                let next =
                    as_soon_as_it_is_free(&world, || with(&world, when_spooled(folder.path())))
                        .await;
                world
                    .network
                    .sleep(Duration::from_millis(35 + 11 * seed + 7 * round))
                    .await;
                if round % 2 == 1 {
                    world.crash().await;
                }
                // No close: as near to a kill as one process allows.
                drop(next);
            }
            let last =
                as_soon_as_it_is_free(&world, || with(&world, when_spooled(folder.path()))).await;
            last.wait_connected().await.unwrap();
            delivered(&last).await;
            assert_eq!(payloads(&world).await, numbers(48..1000));
            last.close(LONG).await.unwrap();
        });
    }
}

#[test]
fn a_receipt_whose_time_is_up_says_that_the_message_is_on_disk_and_it_is_delivered_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    sim::run(12, async |network| {
        let world = World::new(network, link()).await;
        let producer = spooling(&world, folder.path())
            .delivery_timeout(Duration::from_secs(60))
            .connect()
            .await
            .unwrap();
        cut(&world, &producer).await;
        let calls: Vec<_> = (0..200)
            .map(|n| begun(producer.send(n.to_string())))
            .collect();
        on_disk(&producer, 100).await;
        let outcomes = join_all(calls).await;
        for (n, outcome) in outcomes.into_iter().enumerate() {
            let error = outcome.unwrap_err();
            assert_eq!(error.kind(), SendErrorKind::Expired);
            let expected = if n < 48 {
                Fate::NotStored
            } else {
                Fate::Spooled
            };
            assert_eq!(error.fate(), expected, "{n}");
        }
        heal(&world);
        delivered(&producer).await;
        assert_eq!(payloads(&world).await, numbers(48..200));
        producer.close(LONG).await.unwrap();
    });
}

#[test]
fn a_folder_serves_one_producer_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    sim::run(13, async |network| {
        let world = World::new(network, link()).await;
        let first = spooling(&world, folder.path()).build().unwrap();
        let error = spooling(&world, folder.path()).build().unwrap_err();
        let told = std::error::Error::source(&error).unwrap().to_string();
        assert!(told.contains("in use"), "{told}");
        first.close(LONG).await.unwrap();
    });
}
