//! A history under faults: producers that come and go over one folder, a link that is cut, a broker that dies. Then: what
//! has a fate has met it, nothing is there twice, and every order that was promised holds.
//!
//! `ANABRANCH_SEED=7 cargo test --all-features --test spool history` runs that seed alone; `ANABRANCH_SEEDS=200` that number of seeds.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    time::Duration,
};

use anabranch::{
    Ack, Message, Producer, SendError,
    producer::{Fate, spool},
    sim::{self, LinkConfig, Loss, Rate},
};

use futures_util::future::BoxFuture;

use crate::{
    delivered, heal, payloads, restart, with,
    world::{LONG, World, begun},
};

fn seeds(few: u64) -> Vec<u64> {
    let variable = |name| std::env::var(name).ok()?.parse().ok();
    match (variable("ANABRANCH_SEED"), variable("ANABRANCH_SEEDS")) {
        (Some(seed), _) => vec![seed],
        (None, Some(many)) => (0..many).collect(),
        (None, None) => (0..few).collect(),
    }
}

type Call = BoxFuture<'static, Result<Ack, SendError>>;

/// What became of messages, by number.
#[derive(Default)]
struct Told {
    stored: HashMap<u64, u64>,
    fates: HashMap<u64, Fate>,
}

impl Told {
    fn note(&mut self, number: u64, outcome: Result<Ack, SendError>) {
        let twice = match outcome {
            Ok(ack) => match ack.offset() {
                Some(offset) => self.stored.insert(number, offset.0).is_some(),
                None => self.fates.insert(number, Fate::Spooled).is_some(),
            },
            Err(error) => self.fates.insert(number, error.fate()).is_some(),
        };
        assert!(!twice, "{number} has two outcomes");
    }
}

fn send(producer: &Producer, key: u64, number: u64) -> Call {
    // Key 0 is `send`, which has an order of its own.
    if key == 0 {
        return begun(producer.send(number.to_string()));
    }
    let entering =
        producer.send_async(Message::new(number.to_string()).with_key(format!("k{key}")));
    begun(async move { entering.await?.await })
}

async fn life(
    world: &mut World,
    dice: &mut fastrand::Rng,
    producer: Producer,
    keys: &mut BTreeMap<u64, Vec<u64>>,
    told: &mut Told,
    number: &mut u64,
) {
    let mut calls = Vec::new();
    for _ in 0..dice.usize(3..8) {
        for _ in 0..dice.usize(1..150) {
            let key = dice.u64(0..5);
            keys.entry(key).or_default().push(*number);
            calls.push((*number, send(&producer, key, *number)));
            *number += 1;
        }
        let pause = Duration::from_millis(dice.u64(0..20_000));
        match dice.u8(0..6) {
            0 | 1 => {
                world.there.cut();
                world.back.cut();
            }
            2 => world.back.cut(),
            3 => world.crash().await,
            _ => heal(world),
        }
        world.network.sleep(pause).await;
    }
    if dice.bool() {
        heal(world);
        world.network.sleep(Duration::from_secs(1)).await;
    }
    // What waits for room is told that there is none, what is in memory what is known of it.
    let _ = producer
        .clone()
        .close(Duration::from_millis(dice.u64(0..2000)))
        .await;
    for (number, call) in calls {
        told.note(number, call.await);
    }
}

async fn history(network: sim::Network, seed: u64, folder: &Path) {
    let mut dice = fastrand::Rng::with_seed(seed);
    let link = LinkConfig::default()
        .delay(Duration::from_millis(dice.u64(1..40)))
        .rate(Rate::mbit(dice.u64(5..50)))
        .loss(Loss::Random(f64::from(dice.u8(0..3)) / 100.0));
    let mut world = World::new(network, link).await;
    let mut keys = BTreeMap::new();
    let mut told = Told::default();
    let mut number = 0;
    for _ in 0..dice.usize(2..5) {
        let mut config = spool::Config::new(folder);
        config.policy = match dice.u8(0..3) {
            0 => spool::Policy::Overflow,
            1 => spool::Policy::Outage,
            _ => spool::Policy::Always,
        };
        if dice.bool() {
            config.receipts = spool::Receipts::WhenSpooled;
        }
        let producer =
            restart::as_soon_as_it_is_free(&world, || with(&world, config.clone())).await;
        life(
            &mut world,
            &mut dice,
            producer,
            &mut keys,
            &mut told,
            &mut number,
        )
        .await;
    }
    heal(&world);
    let last =
        restart::as_soon_as_it_is_free(&world, || with(&world, spool::Config::new(folder))).await;
    last.wait_connected().await.unwrap();
    delivered(&last).await;
    last.close(LONG).await.unwrap();

    let there: Vec<u64> = payloads(&world)
        .await
        .iter()
        .map(|p| p.parse().unwrap())
        .collect();
    let mut places: HashMap<u64, Vec<u64>> = HashMap::new();
    for (offset, number) in (0..).zip(&there) {
        places.entry(*number).or_default().push(offset);
    }
    for n in 0..number {
        let places = places.remove(&n).unwrap_or_default();
        match (told.stored.get(&n), told.fates.get(&n)) {
            (Some(offset), None) => assert_eq!(places, [*offset], "{n} is acknowledged"),
            (None, Some(Fate::Spooled)) => assert_eq!(places.len(), 1, "{n} was on disk"),
            (None, Some(Fate::NotStored)) => assert_eq!(places.len(), 0, "{n} is not stored"),
            (None, Some(Fate::Unknown)) => assert!(places.len() <= 1, "{n} is stored twice"),
            other => panic!("{n} has no outcome, or two: {other:?}"),
        }
    }
    assert!(places.is_empty());
    for (key, called) in keys {
        let called: std::collections::HashSet<_> = called.into_iter().collect();
        let of_key = there.iter().filter(|n| called.contains(n));
        assert!(of_key.is_sorted(), "key {key}");
    }
}

#[test]
fn whatever_happens_each_message_meets_the_fate_that_was_told() {
    for seed in seeds(8) {
        println!("ANABRANCH_SEED={seed}");
        fastrand::seed(seed);
        let folder = tempfile::tempdir().unwrap();
        sim::run(seed, async |network| {
            history(network, seed, folder.path()).await
        });
    }
}
