//! A history under faults: many messages by `send` and `send_async`, with and without keys, while the link is cut, blackholed one
//! way, stalled, loses, repeats and reorders, and the broker dies. Then: every message has one outcome, every
//! acknowledged one is stored once, where its receipt says, and every order that was promised holds.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    num::NonZeroUsize,
    time::Duration,
};

use anabranch::{
    Message, Offset, Receipt,
    producer::Strategy,
    sim::{self, Change, LinkConfig, Loss, Rate},
};

use crate::world::{LONG, TOPIC, World, begun, text};

/// `ANABRANCH_SEED=7 cargo test --all-features --test promises` runs that seed alone; `ANABRANCH_SEEDS=1000` that number of seeds.
fn seeds(few: u64) -> Vec<u64> {
    let variable = |name| std::env::var(name).ok()?.parse().ok();
    match (variable("ANABRANCH_SEED"), variable("ANABRANCH_SEEDS")) {
        (Some(seed), _) => vec![seed],
        (None, Some(many)) => (0..many).collect(),
        (None, None) => (0..few).collect(),
    }
}

#[derive(Default)]
struct Sent {
    receipts: Vec<(String, Receipt)>,
    /// Payloads in the order of the calls, by key; those of `send` are under the empty key.
    calls: BTreeMap<String, Vec<String>>,
}

async fn history(network: sim::Network, seed: u64) {
    let mut dice = fastrand::Rng::with_seed(seed);
    let link = LinkConfig::default()
        .delay(Duration::from_millis(dice.u64(1..40)))
        .jitter(Duration::from_millis(dice.u64(0..5)))
        .rate(Rate::mbit(dice.u64(5..50)))
        .loss(Loss::Random(f64::from(dice.u8(0..4)) / 100.0))
        .duplicate(0.01)
        .reorder(0.01, Duration::from_millis(3));
    let mut world = World::new(network, link).await;
    let lanes = NonZeroUsize::new(dice.usize(1..8)).unwrap();
    let strategy = match dice.u8(0..4) {
        0 => Strategy::PerMessage(lanes),
        1 => Strategy::Fixed(lanes),
        _ => Strategy::Adaptive,
    };
    let producer = world.producer().strategy(strategy).connect().await.unwrap();

    let mut sent = Sent::default();
    let mut ordered = Vec::new();
    let mut number = 0;
    for _ in 0..dice.usize(5..12) {
        for _ in 0..dice.usize(1..200) {
            number += 1;
            let payload = number.to_string();
            match dice.u8(0..8) {
                0 => {
                    let calls = sent.calls.entry(String::new()).or_default();
                    calls.push(payload.clone());
                    ordered.push(begun(producer.send(payload)));
                }
                1..4 => {
                    let key = format!("k{}", dice.u8(0..6));
                    let calls = sent.calls.entry(key.clone()).or_default();
                    calls.push(payload.clone());
                    let message = Message::new(payload.clone()).with_key(key);
                    let receipt = producer.send_async(message).await.unwrap();
                    sent.receipts.push((payload, receipt));
                }
                _ => {
                    let receipt = producer.send_async(payload.clone()).await.unwrap();
                    sent.receipts.push((payload, receipt));
                }
            }
        }
        world
            .network
            .sleep(Duration::from_millis(dice.u64(0..300)))
            .await;
        let pause = Duration::from_millis(dice.u64(10..15_000));
        match dice.u8(0..6) {
            0 => {
                world.there.cut();
                world.back.cut();
                world.network.sleep(pause).await;
                world.there.restore();
                world.back.restore();
            }
            // What is stored is not answered: the next connection must not store it again.
            1 => {
                world.back.cut();
                world.network.sleep(pause).await;
                world.back.restore();
            }
            2 => {
                world.there.cut();
                world.network.sleep(pause).await;
                world.there.restore();
            }
            3 => world
                .there
                .apply(&Change::LoseNext(dice.u64(1..30)))
                .unwrap(),
            4 => world.crash().await,
            _ => {}
        }
    }
    let mut outcomes = HashMap::new();
    for (payload, receipt) in sent.receipts {
        let ack = receipt.await.unwrap();
        assert_eq!(ack.topic().as_str(), TOPIC);
        outcomes.insert(payload, ack.offset().unwrap());
    }
    let calls = sent.calls.get("").into_iter().flatten();
    for (payload, call) in calls.zip(ordered) {
        outcomes.insert(payload.clone(), call.await.unwrap().offset().unwrap());
    }
    producer.close(LONG).await.unwrap();
    check(&world, number, &outcomes, &sent.calls).await;
}

async fn check(
    world: &World,
    sent: u64,
    outcomes: &HashMap<String, Offset>,
    calls: &BTreeMap<String, Vec<String>>,
) {
    let stored = world.stored().await;
    let payloads: Vec<_> = stored
        .iter()
        .map(|(offset, record)| (*offset, text(&record.payload)))
        .collect();
    let distinct: HashSet<_> = payloads.iter().map(|(_, p)| p).collect();
    assert_eq!(distinct.len(), payloads.len(), "something is stored twice");
    assert_eq!(payloads.len() as u64, sent, "something is lost");
    for (offset, payload) in &payloads {
        assert_eq!(outcomes.get(payload), Some(offset), "{payload}");
    }
    for (key, expected) in calls {
        let among: HashSet<_> = expected.iter().collect();
        let there: Vec<_> = payloads
            .iter()
            .map(|(_, p)| p)
            .filter(|p| among.contains(p))
            .collect();
        assert_eq!(there, expected.iter().collect::<Vec<_>>(), "key {key:?}");
    }
}

#[test]
fn whatever_the_link_and_the_broker_do_each_message_is_stored_once_and_in_its_order() {
    for seed in seeds(12) {
        println!("ANABRANCH_SEED={seed}");
        fastrand::seed(seed);
        sim::run(seed, async |network| history(network, seed).await);
    }
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let finish = || {
        fastrand::seed(3);
        sim::run(3, async |network| {
            let link = LinkConfig::default()
                .delay(Duration::from_millis(20))
                .rate(Rate::mbit(10))
                .loss(Loss::Random(0.02));
            let world = World::new(network, link).await;
            let producer = world.producer().connect().await.unwrap();
            for n in 0..2000 {
                drop(producer.send_async(n.to_string()).await.unwrap());
            }
            producer.flush(LONG).await.unwrap();
            let sent = world.there.counters().sent.packets;
            let took = world.network.elapsed();
            producer.close(LONG).await.unwrap();
            (sent, took)
        })
    };
    assert_eq!(finish(), finish());
}
