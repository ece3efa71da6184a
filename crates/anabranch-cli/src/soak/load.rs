//! The load: half of it in bursts, by every road.

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

/// From one burst to the next.
const CYCLE: Duration = Duration::from_secs(5);
/// The parts of a cycle; the first one is the burst.
const PARTS: u32 = 50;
/// Keys, each with its order.
const KEYS: u64 = 64;
/// The order of `send`.
const OF_CALLS: u64 = KEYS;
/// Receipts, and calls of `send`, that are waited for at a time.
const WAITING: usize = 4096;

/// The order that the message of this number is promised, if any.
pub(super) const fn order_of(number: u64) -> Option<u64> {
    match number % 4 {
        0 => Some(OF_CALLS),
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
        let (receipts, waiting) = mpsc::channel(WAITING);
        let (sends, sending) = mpsc::channel(WAITING);
        let calling = Calling {
            producer: producer.clone(),
            size,
            number: 0,
            receipts,
            sends,
            ledger: Arc::clone(&ledger),
        };
        let tasks = vec![
            tokio::spawn(calling.run(rate, stop.clone())),
            tokio::spawn(await_receipts(waiting, Arc::clone(&ledger))),
            tokio::spawn(send_in_order(producer, sending, ledger)),
        ];
        Self { stop, tasks }
    }

    /// No more calls; waits for every outcome.
    pub(super) async fn end(self, deadline: Duration) -> anyhow::Result<()> {
        self.stop.cancel();
        for task in self.tasks {
            let ended = tokio::time::timeout(deadline, task).await;
            ended.context("there are calls without an outcome")??;
        }
        Ok(())
    }
}

struct Calling {
    producer: Producer,
    size: usize,
    number: u64,
    receipts: mpsc::Sender<(u64, Receipt)>,
    sends: mpsc::Sender<(u64, Message)>,
    ledger: Arc<Mutex<Ledger>>,
}

impl Calling {
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
                // A call that has begun is seen through, or its outcome would be lost.
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
            Some(OF_CALLS) => return self.sends.send((number, message)).await.ok(),
            Some(key) => message.with_key(key.to_string()),
            None => message,
        };
        match self.producer.send_async(message).await {
            Ok(receipt) => self.receipts.send((number, receipt)).await.ok(),
            Err(error) => {
                tell(&self.ledger, number, Err(error));
                Some(())
            }
        }
    }
}

async fn await_receipts(mut waiting: mpsc::Receiver<(u64, Receipt)>, ledger: Arc<Mutex<Ledger>>) {
    while let Some((number, receipt)) = waiting.recv().await {
        tell(&ledger, number, receipt.await);
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
            Some((number, outcome)) = pending.next() => tell(&ledger, number, outcome),
            next = sending.recv(), if pending.len() < WAITING => match next {
                Some((number, message)) => {
                    let sent = producer.send(message);
                    pending.push(async move { (number, sent.await) });
                }
                None => break,
            },
        }
    }
    while let Some((number, outcome)) = pending.next().await {
        tell(&ledger, number, outcome);
    }
}

fn tell(ledger: &Mutex<Ledger>, number: u64, outcome: Result<Ack, SendError>) {
    let outcome = match outcome {
        Ok(ack) => Outcome::Stored(ack.offset().0),
        Err(error) => match error.fate() {
            Fate::NotStored => Outcome::NotStored,
            // Nothing is spooled here.
            Fate::Unknown | Fate::Spooled => Outcome::Unknown,
        },
    };
    lock(ledger).on_outcome(number, outcome);
}
