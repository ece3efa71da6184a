//! What lanes are worth: the same messages over a link that loses packets, with one lane and with as many as the policy
//! opens.

use std::{
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use anabranch::{Message, producer::Strategy};
use anyhow::Context;
use serde::Serialize;
use tokio::task::JoinSet;

use super::{setup::Setup, text::Text};
use crate::{
    progress,
    relay::Relay,
    stats::{millis, rounded},
};

const RTT: Duration = Duration::from_millis(50);
const LOSS: f64 = 0.01;
/// Messages per second.
const RATE: u32 = 1000;
/// Part of the time after which messages count: the lanes are open then.
const WARM_UP: u32 = 3;

/// How long messages took, with one lane and with lanes as they help.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Comparison {
    pub(super) one_lane: Times,
    pub(super) lanes: Times,
}

/// Times from the call to the receipt, in milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Times {
    /// Half of the messages took at most this.
    pub(super) p50_ms: f64,
    /// 99 of 100 messages took at most this.
    pub(super) p99_ms: f64,
    /// Largest number of lanes open at once.
    pub(super) lanes_max: usize,
}

/// Sends over two links at the same time, for `time`. Both lose the same share of packets.
pub(super) async fn compare(
    setup: &Setup,
    text: &Text,
    time: Duration,
) -> anyhow::Result<Comparison> {
    progress::say(format_args!(
        "now over a link of {} ms that loses {:.0} % of its packets, {RATE} messages per second for {:.0} s",
        RTT.as_millis(),
        LOSS * 100.0,
        time.as_secs_f64()
    ));
    let (one_lane, lanes) = tokio::try_join!(
        send(setup, text, Strategy::Fixed(NonZeroUsize::MIN), time),
        send(setup, text, Strategy::Adaptive, time),
    )?;
    Ok(Comparison { one_lane, lanes })
}

async fn send(
    setup: &Setup,
    text: &Text,
    strategy: Strategy,
    time: Duration,
) -> anyhow::Result<Times> {
    let relay = Relay::start(setup.address(), RTT / 2, LOSS, 7).await?;
    let producer = setup.producer_through(relay.address(), strategy).await?;
    let began = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / RATE);
    let mut waiting = JoinSet::new();
    let mut number = 0;
    while began.elapsed() < time {
        ticks.tick().await;
        let sent = Instant::now();
        let receipt = producer.send_async(Message::new(text.line(number))).await?;
        number += 1;
        if sent.duration_since(began) >= time / WARM_UP {
            waiting.spawn(async move { receipt.await.map(|_| sent.elapsed()) });
        }
    }
    let mut took = Vec::new();
    while let Some(one) = waiting.join_next().await {
        took.push(one.context("a task failed")??);
    }
    took.sort_unstable();
    let lanes_max = producer.lanes().peak;
    setup.close(producer).await?;
    let at = |percent: usize| {
        let index = took.len().saturating_sub(1) * percent / 100;
        took.get(index).copied().unwrap_or_default()
    };
    Ok(Times {
        p50_ms: rounded(millis(at(50))),
        p99_ms: rounded(millis(at(99))),
        lanes_max,
    })
}
