//! The spool: what a producer cannot hold while no server can be reached goes to disk, and from there to the broker.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    dead_code,
    reason = "a test may panic, and has no public names"
)]

mod boundary;
mod history;
mod killed;
mod limits;
mod outage;
mod refused;
mod restart;
#[path = "../common/world.rs"]
mod world;

use std::{path::Path, time::Duration};

use anabranch::{
    Producer,
    producer::{Builder, spool},
    sim::LinkConfig,
};
use world::World;

/// A spool in `folder` for what a buffer of 64 messages has no room for.
pub fn spooling(world: &World, folder: &Path) -> Builder {
    with(world, overflowing(folder))
}

pub fn overflowing(folder: &Path) -> spool::Config {
    let mut config = spool::Config::new(folder);
    config.policy = spool::Policy::Overflow;
    config
}

pub fn when_spooled(folder: &Path) -> spool::Config {
    let mut config = overflowing(folder);
    config.receipts = spool::Receipts::WhenSpooled;
    config
}

pub fn with(world: &World, config: spool::Config) -> Builder {
    world
        .producer()
        .buffer_messages(64)
        .buffer_bytes(1 << 20)
        .spool(config)
}

pub fn link() -> LinkConfig {
    LinkConfig::default().delay(Duration::from_millis(10))
}

/// Cuts the link, and returns when the producer knows it.
pub async fn cut(world: &World, producer: &Producer) {
    world.there.cut();
    world.back.cut();
    let mut link = producer.watch_connection_state();
    link.wait_for(|link| !matches!(link, anabranch::conn::ConnectionState::Connected(_)))
        .await
        .unwrap();
}

pub fn heal(world: &World) {
    world.there.restore();
    world.back.restore();
}

/// Waits until everything that is on disk was delivered.
pub async fn delivered(producer: &Producer) {
    let mut state = producer.watch_spool_state().unwrap();
    state
        .wait_for(|state| state.phase == spool::Phase::Memory)
        .await
        .unwrap();
}

/// Waits until this number of messages is on disk.
pub async fn on_disk(producer: &Producer, messages: u64) {
    let mut state = producer.watch_spool_state().unwrap();
    state
        .wait_for(|state| state.messages >= messages)
        .await
        .unwrap();
}

pub async fn payloads(world: &World) -> Vec<String> {
    world.payloads().await
}

pub fn numbers(range: std::ops::Range<u64>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}
