//! The load: half of it in bursts, by `send` and by `send_async` with and without keys.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use anabranch::{
    Message, Producer, Receipt,
    producer::{Ack, Fate, SendError},
};
use anyhow::Context;
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{
    ledger::{Ledger, Outcome},
    lock,
};

/// Time from one burst to the next.
const CYCLE: Duration = Duration::from_secs(5);
/// Parts of a cycle. The first one is the burst.
const PARTS: u32 = 50;
/// Number of keys. Messages of a key are an ordered sequence.
const KEYS: u64 = 64;
/// The ordered sequence of calls of `send`.
const SENDS: u64 = KEYS;
/// Limit of pending receipts, and of pending calls of `send`.
const PENDING: usize = 4096;

/// Returns the ordered sequence that the message of this number belongs to, if any.
pub(super) const fn order_of(number: u64) -> Option<u64> {
    match number % 4 {
        0 => Some(SENDS),
        1 | 2 => Some((number / 4) % KEYS),
        _ => None,
    }
}

pub(super) struct Load {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    pub(super) fn start(
        producer: Producer,
        rate: u32,
        size: usize,
        ledger: Arc<Mutex<Ledger>>,
    ) -> Self {
        let stop = CancellationToken::new();
        let (receipts, waiting) = mpsc::channel(PENDING);
        let (sends, sending) = mpsc::channel(PENDING);
        let caller = Caller {
            producer: producer.clone(),
            size,
            number: 0,
            receipts,
            sends,
            ledger: Arc::clone(&ledger),
        };
        let tasks = vec![
            tokio::spawn(caller.run(rate, stop.clone())),
            tokio::spawn(await_receipts(waiting, Arc::clone(&ledger))),
            tokio::spawn(send_in_order(producer, sending, ledger)),
        ];
        Self { stop, tasks }
    }

    /// Stops the calls, and waits for every outcome.
    pub(super) async fn end(self, deadline: Duration) -> anyhow::Result<()> {
        self.stop.cancel();
        for task in self.tasks {
            let ended = tokio::time::timeout(deadline, task).await;
            ended.context("some calls have no outcome")??;
        }
        Ok(())
    }
}

struct Caller {
    producer: Producer,
    size: usize,
    number: u64,
    receipts: mpsc::Sender<(u64, Receipt)>,
    sends: mpsc::Sender<(u64, Message)>,
    ledger: Arc<Mutex<Ledger>>,
}

impl Caller {
    async fn run(mut self, rate: u32, stop: CancellationToken) {
        let cycle = u64::from(rate) * CYCLE.as_secs();
        let burst = cycle / 2;
        let mut parts = tokio::time::interval(CYCLE / PARTS);
        for part in (0..PARTS).cycle() {
            tokio::select! { biased;
                () = stop.cancelled() => return,
                _ = parts.tick() => {}
            }
            let share = |part: u32| (cycle - burst) * u64::from(part) / u64::from(PARTS - 1);
            let calls = match part {
                0 => burst,
                _ => share(part) - share(part - 1),
            };
            for _ in 0..calls {
                // A call is never cancelled, or its outcome would be unknown.
                if stop.is_cancelled() || self.call().await.is_none() {
                    return;
                }
            }
        }
    }

    async fn call(&mut self) -> Option<()> {
        let number = self.number;
        self.number += 1;
        let mut payload = number.to_be_bytes().to_vec();
        payload.resize(self.size.max(payload.len()), b'.');
        let message = Message::new(payload);
        lock(&self.ledger).on_sent(number);
        let message = match order_of(number) {
            Some(SENDS) => return self.sends.send((number, message)).await.ok(),
            Some(key) => message.with_key(key.to_string()),
            None => message,
        };
        match self.producer.send_async(message).await {
            Ok(receipt) => self.receipts.send((number, receipt)).await.ok(),
            Err(error) => {
                record(&self.ledger, number, Err(error));
                Some(())
            }
        }
    }
}

async fn await_receipts(mut waiting: mpsc::Receiver<(u64, Receipt)>, ledger: Arc<Mutex<Ledger>>) {
    while let Some((number, receipt)) = waiting.recv().await {
        record(&ledger, number, receipt.await);
    }
}

async fn send_in_order(
    producer: Producer,
    mut sending: mpsc::Receiver<(u64, Message)>,
    ledger: Arc<Mutex<Ledger>>,
) {
    let mut pending = FuturesUnordered::new();
    loop {
        tokio::select! { biased;
            Some((number, outcome)) = pending.next() => record(&ledger, number, outcome),
            next = sending.recv(), if pending.len() < PENDING => match next {
                Some((number, message)) => {
                    let sent = producer.send(message);
                    pending.push(async move { (number, sent.await) });
                }
                None => break,
            },
        }
    }
    while let Some((number, outcome)) = pending.next().await {
        record(&ledger, number, outcome);
    }
}

fn record(ledger: &Mutex<Ledger>, number: u64, outcome: Result<Ack, SendError>) {
    let outcome = match outcome {
        Ok(ack) => match ack.offset() {
            Some(offset) => Outcome::Stored(offset.0),
            // Nothing is spooled here.
            None => Outcome::Unknown,
        },
        Err(error) => match error.fate() {
            Fate::NotStored => Outcome::NotStored,
            Fate::Unknown | Fate::Spooled => Outcome::Unknown,
        },
    };
    lock(ledger).on_outcome(number, outcome);
}
