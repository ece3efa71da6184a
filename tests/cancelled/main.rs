//! Every public future may be dropped at any moment: polled `k` times and then dropped, for every `k` until it completes.
//! Whatever `k` is, nothing that was accepted is lost, nothing is there twice, and the budget is whole.
//!
//! Between two polls a few milliseconds pass, woken or not, so the moments lie close together over all that the future
//! waits for.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    dead_code,
    reason = "a test may panic, start tasks, and has no public names"
)]

mod consumers;
mod producers;
#[cfg(feature = "spool")]
mod spools;
#[path = "../common/world.rs"]
mod world;

use std::{pin::pin, time::Duration};

use anabranch::{
    Producer, TopicName,
    producer::{Builder, SendErrorKind},
    sim::{self, LinkConfig, Network},
};
use futures_util::poll;
use world::{LONG, TOPIC, World};

/// Between two polls: less than any trip over the link.
const STEP: Duration = Duration::from_millis(2);
/// The most polls of a future: one that is not done after them hangs.
const MOST: usize = 1000;

/// Polls at most `k` times, then drops. `None` where that was too early.
pub async fn cut<F: Future>(network: &Network, k: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    for _ in 0..k {
        if let std::task::Poll::Ready(output) = poll!(&mut future) {
            return Some(output);
        }
        network.sleep(STEP).await;
    }
    None
}

/// Runs a scenario, which is told after how many polls to drop, until it says that its future has completed.
pub fn for_all_k(scenario: impl AsyncFn(World, usize) -> bool) {
    for k in 0..MOST {
        let completed = sim::run(5, async |network| {
            let link = LinkConfig::default().delay(Duration::from_millis(5));
            scenario(World::new(network, link).await, k).await
        });
        if completed {
            assert!(k > 0, "a future completed without a poll");
            println!("completed at the {k}th poll");
            return;
        }
    }
    panic!("not done after {MOST} polls");
}

/// The most messages that a producer of these tests holds.
pub const ROOM: u64 = 4;

pub fn small(world: &World) -> Builder {
    let room = usize::try_from(ROOM).unwrap();
    world
        .producer()
        .name("p")
        .buffer_messages(room)
        .buffer_bytes(1 << 20)
}

/// Everything that was accepted has its outcome, and the whole budget can be taken again, and no more.
pub async fn assert_whole(world: &World, producer: &Producer) {
    producer.flush(LONG).await.unwrap();
    let held = producer.stats();
    assert_eq!((held.queued_messages, held.queued_bytes), (0, 0));
    assert_eq!((held.in_flight_messages, held.in_flight_bytes), (0, 0));
    assert_eq!(held.waiting, 0);
    let before = payloads(world).await.len() as u64;
    for n in 0..ROOM {
        drop(producer.try_send_async(format!("whole {n}")).unwrap());
    }
    let full = producer.try_send_async("one more").unwrap_err();
    assert_eq!(full.kind(), SendErrorKind::Full);
    producer.flush(LONG).await.unwrap();
    let stored = payloads(world).await;
    assert_eq!(stored.len() as u64, before + ROOM);
    let distinct: std::collections::HashSet<_> = stored.iter().collect();
    assert_eq!(distinct.len(), stored.len(), "something is stored twice");
}

pub async fn payloads(world: &World) -> Vec<String> {
    let topic = TopicName::new(TOPIC).unwrap();
    if world.store.topic(&topic).await.unwrap().is_none() {
        return Vec::new();
    }
    world.payloads().await
}

/// Takes all room, so that the next call waits for an answer.
pub fn fill(producer: &Producer) {
    for n in 0..ROOM {
        drop(producer.try_send_async(format!("filling {n}")).unwrap());
    }
}
