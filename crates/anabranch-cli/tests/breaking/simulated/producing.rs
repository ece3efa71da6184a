//! Producers: random calls in bursts, and a check at the end that all room is free again.

use std::{num::NonZeroUsize, pin::Pin, time::Duration};

use anabranch::{
    Producer, Receipt,
    producer::{self, SendError, SendErrorKind, SendFuture, Strategy, WhenFull},
};
use fastrand::Rng;
use futures_util::FutureExt as _;

use super::{
    log::{Log, PAYLOAD},
    world::{Client, LONG, TOPIC, World},
};
use crate::{
    history::{Event, MessageId, Order, ProducerNumber},
    tally::Part,
};

type Sending = Pin<Box<SendFuture>>;

/// Produces under one name, with one producer or sometimes two, one after another.
pub async fn produce(world: &World, client: &Client, name: &str, log: &Log, mut rng: Rng) {
    let lives = 1 + u8::from(rng.u8(0..4) == 0);
    for life in 0..lives {
        let options = Options::draw(&mut rng);
        let producer = options.builder(client, name).build().unwrap();
        let number = log.next_producer();
        let last = life + 1 == lives;
        let mut working = Working {
            producer: &producer,
            number,
            log,
            receipts: Vec::new(),
            sending: Vec::new(),
        };
        working.work(world, &mut rng).await;
        if last {
            working.finish(&options).await;
            working.outcomes().await;
            producer.clone().close(LONG).await.unwrap();
        } else {
            // Receipts report all outcomes. The outcomes that a close hands back must agree with them.
            let patience = Duration::from_millis(rng.u64(0..3000));
            let closed = producer.clone().close(patience).await;
            log.count(Part::Operations, "close with a short deadline");
            for left in closed.err().into_iter().flat_map(|left| left.undelivered) {
                log.handed_back(&left.message, left.fate);
            }
            working.outcomes().await;
        }
    }
}

/// Sends one more message, after all faults.
pub async fn send_last(client: &Client, log: &Log) {
    let mut config = producer::Config::default();
    config.connection = client.connection();
    let producer = Producer::builder().config(config).topic(TOPIC);
    let producer = producer.build().unwrap();
    let (id, message) = log.call(log.next_producer(), Order::OfCalls, PAYLOAD);
    log.ended(id, &producer.send(message).await);
    producer.close(LONG).await.unwrap();
}

struct Options {
    strategy: Strategy,
    messages: u32,
    when_full: WhenFull,
    delivery_timeout: Duration,
}

impl Options {
    fn draw(rng: &mut Rng) -> Self {
        let lanes = NonZeroUsize::new(rng.usize(1..6)).unwrap();
        Self {
            strategy: match rng.u8(0..5) {
                0 => Strategy::PerMessage(lanes),
                1 | 2 => Strategy::Fixed(lanes),
                _ => Strategy::Adaptive,
            },
            messages: rng.u32(4..200),
            when_full: match rng.u8(0..6) {
                0 => WhenFull::Error,
                1 => WhenFull::WaitFor(Duration::from_millis(rng.u64(1..2000))),
                _ => WhenFull::Wait,
            },
            delivery_timeout: match rng.u8(0..4) {
                0 => Duration::from_millis(rng.u64(500..20_000)),
                _ => LONG,
            },
        }
    }

    fn builder(&self, client: &Client, name: &str) -> producer::Builder {
        let mut config = producer::Config::default();
        config.connection = client.connection();
        config.delivery_timeout = self.delivery_timeout;
        let strategy = match &self.strategy {
            Strategy::PerMessage(n) => Strategy::PerMessage(*n),
            Strategy::Fixed(n) => Strategy::Fixed(*n),
            _ => Strategy::Adaptive,
        };
        Producer::builder()
            .config(config)
            .topic(TOPIC)
            .name(name)
            .strategy(strategy)
            .buffer_messages(self.messages as usize)
            .buffer_bytes(64 << 20)
            .when_full(self.when_full)
    }
}

struct Working<'a> {
    producer: &'a Producer,
    number: ProducerNumber,
    log: &'a Log,
    receipts: Vec<(MessageId, Receipt)>,
    sending: Vec<(MessageId, Sending)>,
}

impl Working<'_> {
    async fn work(&mut self, world: &World, rng: &mut Rng) {
        for _ in 0..rng.usize(2..7) {
            for _ in 0..rng.usize(1..40) {
                self.call(rng).await;
            }
            if rng.u8(0..4) == 0 {
                self.flush(Duration::from_millis(rng.u64(0..2000))).await;
            }
            let pause = Duration::from_micros(rng.u64(0..2_000_000));
            world.network.sleep(pause).await;
        }
    }

    async fn call(&mut self, rng: &mut Rng) {
        let len = match rng.u8(0..12) {
            0 => rng.usize(1000..8000),
            _ => PAYLOAD,
        };
        match rng.u8(0..8) {
            0 | 1 => {
                let (id, message) = self.log.call(self.number, Order::OfCalls, len);
                self.log.count(Part::Operations, "send");
                let mut sending = Box::pin(self.producer.send(message));
                // The first poll hands the message over.
                match sending.as_mut().now_or_never() {
                    Some(outcome) => self.log.ended(id, &outcome),
                    None => self.sending.push((id, sending)),
                }
            }
            2..5 => {
                let key = Order::OfKey(rng.u64(0..5));
                let (id, message) = self.log.call(self.number, key, len);
                self.log.count(Part::Operations, "send_async with a key");
                let entered = self.producer.send_async(message).await;
                self.entered(id, entered);
            }
            5 | 6 => {
                let (id, message) = self.log.call(self.number, Order::None, len);
                self.log.count(Part::Operations, "send_async");
                let entered = self.producer.send_async(message).await;
                self.entered(id, entered);
            }
            _ => {
                self.try_send(len);
            }
        }
    }

    fn try_send(&mut self, len: usize) -> bool {
        let (id, message) = self.log.call(self.number, Order::None, len);
        self.log.count(Part::Operations, "try_send_async");
        let entered = self.producer.try_send_async(message);
        let has_room = entered.is_ok();
        if let Err(error) = &entered {
            assert_eq!(error.kind(), SendErrorKind::Full);
        }
        self.entered(id, entered);
        has_room
    }

    fn entered(&mut self, id: MessageId, entered: Result<Receipt, SendError>) {
        match entered {
            Ok(receipt) => self.receipts.push((id, receipt)),
            Err(error) => self.log.ended(id, &Err(error)),
        }
    }

    /// Flushes, and records how many receipts have no outcome if it succeeds.
    async fn flush(&self, patience: Duration) -> bool {
        self.log.count(Part::Operations, "flush");
        let before = self.receipts.len();
        let flushed = self.producer.flush(patience).await.is_ok();
        if flushed {
            let accepted = self.receipts.iter().take(before);
            let open = accepted.filter(|(_, receipt)| receipt.try_outcome().is_none());
            self.log.push(Event::Flushed {
                producer: self.number,
                open: open.count() as u64,
            });
        }
        flushed
    }

    /// Records the outcome of each `send`. The history shows a missing one.
    async fn sent(&mut self) {
        for (id, sending) in self.sending.drain(..) {
            if let Ok(outcome) = tokio::time::timeout(LONG, sending).await {
                self.log.ended(id, &outcome);
            }
        }
    }

    /// Records every outcome once.
    async fn outcomes(&mut self) {
        self.sent().await;
        for (id, receipt) in self.receipts.drain(..) {
            if let Ok(outcome) = tokio::time::timeout(LONG, receipt).await {
                self.log.ended(id, &outcome);
            }
        }
    }

    /// Checks, after every outcome, that the producer accepts exactly as many messages as its budget allows.
    async fn finish(&mut self, options: &Options) {
        // Calls that wait for room are accepted only now.
        self.sent().await;
        assert!(self.flush(LONG).await, "the flush does not end");
        let mut free = 0;
        while free <= u64::from(options.messages) && self.try_send(PAYLOAD) {
            free += 1;
        }
        self.log.push(Event::Room {
            producer: self.number,
            free,
            of: u64::from(options.messages),
        });
        assert!(self.flush(LONG).await, "the flush does not end");
    }
}
