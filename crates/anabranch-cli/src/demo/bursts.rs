//! Sending in bursts, with a look at backlog and lanes.

use std::time::{Duration, Instant};

use anabranch::{Message, Producer};
use indicatif::HumanCount;

use super::{
    check::Check,
    stage::{NUMBER, Stage},
    text::Text,
};
use crate::{
    progress::{self, Live},
    units,
};

/// How many bursts.
const BURSTS: u64 = 5;
/// What lies between them.
const PAUSE: Duration = Duration::from_millis(300);
/// The longest bar of a backlog, in characters.
const BAR: usize = 30;

/// What was seen while it was sent.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// Messages that the broker acknowledged.
    pub(super) acknowledged: u64,
    /// From the first message to the last acknowledgement, pauses included.
    pub(super) took: Duration,
}

/// Sends `messages` messages, as fast as they are taken in each burst, and waits for every acknowledgement before the
/// pause that follows.
///
/// # Errors
/// The first message that was not stored.
pub(super) async fn send(
    stage: &Stage,
    text: &Text,
    messages: u64,
    check: &mut Check,
) -> anyhow::Result<Sent> {
    let producer = &stage.producer;
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
            "burst {} of {BURSTS}: {} messages stored in {:.2} s, {} a second",
            burst + 1,
            HumanCount(count),
            took.as_secs_f64(),
            HumanCount(units::whole(units::per_second(count, took))),
        ));
        if burst + 1 < BURSTS {
            tokio::time::sleep(PAUSE).await;
        }
    }
    sent.took = began.elapsed();
    Ok(sent)
}

/// A line that shows backlog and lanes.
pub(super) fn live(producer: &Producer, messages: u64) -> Live {
    let producer = producer.clone();
    Live::begin(move || now(&producer, messages / BURSTS))
}

fn now(producer: &Producer, most: u64) -> String {
    let (held, lanes) = (producer.stats(), producer.lanes().open);
    let backlog = held.queued_messages + held.in_flight_messages;
    let most = usize::try_from(most).unwrap_or(usize::MAX).max(1);
    let filled = (backlog.saturating_mul(BAR) / most).min(BAR);
    format!(
        "backlog {:<BAR$} {:>7}  lanes {} {lanes}",
        "█".repeat(filled),
        HumanCount(backlog as u64).to_string(),
        "═".repeat(lanes),
    )
}
