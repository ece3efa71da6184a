//! Compares the laboratory with real sockets: a broker and a producer in this process, and a UDP relay between them that
//! delays and drops packets. Prints the figures of both.
//!
//! ```sh
//! cargo run --release -p anabranch-lab --example relayed_link
//! ```
#![allow(
    clippy::disallowed_methods,
    reason = "an example reads the clock and starts tasks"
)]

#[path = "../../../../examples/common/mod.rs"]
mod common;

use std::{num::NonZeroUsize, time::Duration};

use anabranch::{conn::Congestion, producer::Strategy};
use anabranch_cli::relay::Relay;
use anabranch_lab::{Quantiles, Scenario};
use anyhow::Context as _;
use tokio::time::{Instant, interval};

const RTT: Duration = Duration::from_millis(50);
const LOSS: f64 = 0.01;
/// Messages per second, of 1 KiB: 8 Mbit/s.
const RATE: u32 = 1000;
const WARM_UP: Duration = Duration::from_secs(2);
const TIME: Duration = Duration::from_secs(4);
const NAMES: [&str; 3] = ["1", "16", "adaptive"];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    println!("50 ms, 1 % loss, 1000 messages of 1 KiB per second; time to the receipt, in ms");
    println!("{:<10} {:>24}   {:>24}", "", "sockets", "laboratory");
    println!(
        "{:<10} {:>8}{:>8}{:>8}   {:>8}{:>8}{:>8}",
        "lanes", "p50", "p90", "p99", "p50", "p90", "p99"
    );
    for name in NAMES {
        let real = measured(name).await?;
        let simulated = tokio::task::spawn_blocking(move || simulated(name)).await??;
        println!(
            "{name:<10} {:>8.1}{:>8.1}{:>8.1}   {:>8.1}{:>8.1}{:>8.1}",
            real[0], real[1], real[2], simulated.p50, simulated.p90, simulated.p99
        );
    }
    Ok(())
}

/// Sends over the relay. Returns the 50th, 90th and 99th percentile of the times to the receipt, in milliseconds.
async fn measured(name: &str) -> anyhow::Result<[f64; 3]> {
    let far = common::Far::start().await?;
    let relay = Relay::start(far.broker.local_addr(), RTT / 2, LOSS, 7).await?;
    let strategy = match name.parse::<NonZeroUsize>() {
        Ok(lanes) => Strategy::Fixed(lanes),
        Err(_) => Strategy::Adaptive,
    };
    let producer = far
        .producer_through(relay.address(), "relayed")
        .congestion(Congestion::Thalweg);
    let producer = producer.strategy(strategy).connect().await?;

    let began = Instant::now();
    let mut ticks = interval(Duration::from_secs(1) / RATE);
    let mut waiting = tokio::task::JoinSet::new();
    while began.elapsed() < WARM_UP + TIME {
        ticks.tick().await;
        let sent = Instant::now();
        let receipt = producer.send_async(vec![7; 1024]).await?;
        if began.elapsed() >= WARM_UP {
            waiting.spawn(async move { receipt.await.map(|_| sent.elapsed().as_secs_f64() * 1e3) });
        }
    }
    let mut took = Vec::new();
    while let Some(one) = waiting.join_next().await {
        took.push(one?.context("a message without a receipt")?);
    }
    took.sort_by(f64::total_cmp);
    producer.close(Duration::from_secs(5)).await?;
    let at = |percent: usize| took[(took.len() - 1) * percent / 100];
    Ok([at(50), at(90), at(99)])
}

/// Runs the same link and load in the laboratory.
fn simulated(name: &str) -> anyhow::Result<Quantiles> {
    let mut scenario = Scenario::default();
    for (field, value) in [
        ("rtt", "50ms"),
        ("loss", "1%"),
        ("congestion", "thalweg"),
        ("load", "8192kbit"),
        ("rate", "1gbit"),
        ("warm-up", "2s"),
        ("duration", "20s"),
    ] {
        scenario.set(field, value)?;
    }
    let strategy = name.parse().map_err(anyhow::Error::msg)?;
    Ok(anabranch_lab::run(&scenario, strategy)?.receipt_ms)
}
