//! Sends in bursts, and shows backlog and lanes.

use std::time::{Duration, Instant};

use anabranch::{Message, Producer};
use indicatif::HumanCount;

use super::{
    check::Check,
    setup::{NUMBER, Setup},
    text::Text,
};
use crate::{
    progress::{self, Live},
    stats::{per_second, whole},
};

/// Number of bursts.
const BURSTS: u64 = 5;
/// Pause between bursts.
const PAUSE: Duration = Duration::from_millis(700);
/// Length of a full backlog bar, in characters.
const BAR: usize = 30;

/// What was measured while sending.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// Number of acknowledged messages.
    pub(super) acknowledged: u64,
    /// Time from the first message to the last acknowledgement, including pauses.
    pub(super) took: Duration,
}

/// Sends `messages` messages in bursts. In a burst, sends as fast as the producer accepts; before each pause, waits for
/// every acknowledgement.
///
/// # Errors
/// The first message that was not stored.
pub(super) async fn send(
    setup: &Setup,
    text: &Text,
    messages: u64,
    check: &mut Check,
) -> anyhow::Result<Sent> {
    let producer = &setup.producer;
    let began = Instant::now();
    let mut sent = Sent::default();
    let mut receipts = Vec::new();
    for burst in 0..BURSTS {
        let numbers = messages * burst / BURSTS..messages * (burst + 1) / BURSTS;
        let (count, began) = (numbers.end - numbers.start, Instant::now());
        for number in numbers {
            let line = text.line(number);
            check.on_sent(number, &line);
            let message = Message::new(line).with_header(NUMBER, number.to_be_bytes().to_vec());
            receipts.push(producer.send_async(message).await?);
        }
        for receipt in receipts.drain(..) {
            receipt.await?;
            sent.acknowledged += 1;
        }
        let took = began.elapsed();
        progress::say(format_args!(
            "burst {} of {BURSTS}: {} messages stored in {:.2} s, {} per second",
            burst + 1,
            HumanCount(count),
            took.as_secs_f64(),
            HumanCount(whole(per_second(count, took))),
        ));
        if burst + 1 < BURSTS {
            tokio::time::sleep(PAUSE).await;
        }
    }
    sent.took = began.elapsed();
    Ok(sent)
}

/// Shows backlog and lanes in a live line.
pub(super) fn live(producer: &Producer, messages: u64) -> Live {
    let producer = producer.clone();
    Live::begin(move || backlog_line(&producer, messages / BURSTS))
}

fn backlog_line(producer: &Producer, full: u64) -> String {
    let (held, lanes) = (producer.stats(), producer.lanes().open);
    let backlog = held.queued_messages + held.in_flight_messages;
    let full = usize::try_from(full).unwrap_or(usize::MAX).max(1);
    let filled = (backlog.saturating_mul(BAR) / full).min(BAR);
    format!(
        "backlog {:<BAR$} {:>7}  lanes {} {lanes}",
        "█".repeat(filled),
        HumanCount(backlog as u64).to_string(),
        "═".repeat(lanes),
    )
}
