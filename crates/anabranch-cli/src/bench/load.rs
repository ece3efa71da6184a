//! The load: tasks that send, and what becomes of the receipts.
//!
//! What is sent costs as little as it can: clones of one payload. The receipts go in chunks to another task, which
//! awaits all of them. Latency is taken of some messages only, each by a task of its own, so that none is told later
//! than it was known.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::{Duration, Instant},
};

use anabranch::{
    Message, Producer, TopicName,
    producer::{Receipt, Send},
};
use bytes::Bytes;
use hdrhistogram::Histogram;
use tokio::{sync::mpsc, task::JoinSet};

use super::{Args, Mode};

/// Receipts that go to the other task at once.
const CHUNK: usize = 1024;
/// Chunks that may wait there. More are outstanding only if the producer holds more.
const CHUNKS: usize = 1024;
/// Calls of `send` at a time in mode ordered.
const CALLS: usize = 32 << 10;
/// After so many calls, those that are done are looked for.
const LOOK: u64 = 64;
/// Latency is taken of one message in so many, at most.
const STRIDE: u64 = 16;
/// And of about so many in a run, at most. A sample is a task, which allocates: few, where allocations are counted.
const SAMPLES: u64 = if cfg!(feature = "count-allocations") {
    1 << 7
} else {
    1 << 11
};

/// Times in nanoseconds, to three digits.
pub(super) type Times = Histogram<u64>;

/// None yet, of up to an hour.
pub(super) fn times() -> Times {
    Histogram::new_with_bounds(1, 3_600_000_000_000, 3).expect("these bounds are in order")
}

/// A time for [`Times`].
pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Bytes that nobody can compress.
pub(super) fn noise(len: usize) -> Bytes {
    let mut bytes = vec![0; len];
    fastrand::Rng::with_seed(5).fill(&mut bytes);
    bytes.into()
}

/// What is sent in each run.
#[derive(Debug)]
pub(super) struct Load {
    mode: Mode,
    size: usize,
    /// Over all tasks.
    pub(super) messages: u64,
    /// Where there are several: they take turns.
    topics: Vec<TopicName>,
    /// For each producer.
    tasks: u32,
    /// A second, over all tasks.
    rate: Option<u32>,
    stride: u64,
}

/// How it went.
#[derive(Debug)]
pub(super) struct Sent {
    /// From the first call to the last receipt.
    pub(super) took: Duration,
    /// From call to receipt.
    pub(super) acks: Times,
}

/// The part of one task.
struct Share {
    producer: Producer,
    payload: Bytes,
    topics: Vec<TopicName>,
    messages: u64,
    stride: u64,
    pace: Option<Pace>,
}

impl Load {
    /// # Errors
    /// Where a topic cannot have its name.
    pub(super) fn new(args: &Args) -> anyhow::Result<Self> {
        let messages = args.messages();
        Ok(Self {
            mode: args.mode,
            size: usize::try_from(args.size).unwrap_or(usize::MAX),
            messages,
            topics: match args.topics {
                0 | 1 => Vec::new(),
                n => (0..n)
                    .map(|n| TopicName::new(&format!("{}-{n}", args.topic)))
                    .collect::<Result<_, _>>()?,
            },
            tasks: args.tasks,
            rate: args.rate,
            stride: (messages / SAMPLES).max(STRIDE),
        })
    }

    /// Sends all of it, and waits for every receipt.
    ///
    /// # Errors
    /// The first message that was not acknowledged.
    pub(super) async fn run(&self, producers: &[Producer]) -> anyhow::Result<Sent> {
        let shares = self.shares(producers);
        let mut tasks = JoinSet::new();
        let began = Instant::now();
        for share in shares {
            match self.mode {
                Mode::Async => tasks.spawn(share.send_async()),
                Mode::Ordered => tasks.spawn(share.send()),
                Mode::Ping => tasks.spawn(share.ping()),
            };
        }
        let mut acks = times();
        while let Some(done) = tasks.join_next().await {
            acks.add(done??)?;
        }
        let took = began.elapsed();
        Ok(Sent { took, acks })
    }

    fn shares(&self, producers: &[Producer]) -> Vec<Share> {
        let tasks: Vec<&Producer> = (0..self.tasks).flat_map(|_| producers).collect();
        let count = u64::try_from(tasks.len()).unwrap_or(u64::MAX);
        let share = |(place, producer): (u64, &&Producer)| Share {
            producer: Producer::clone(producer),
            payload: noise(self.size),
            topics: self.topics.clone(),
            messages: self.messages * (place + 1) / count - self.messages * place / count,
            stride: self.stride,
            pace: self.rate.map(|rate| Pace::new(rate, count)),
        };
        (0..).zip(&tasks).map(share).collect()
    }
}

impl Share {
    /// Whether latency is taken of this message. Where there are few, of the first at least.
    fn samples(&self, number: u64) -> bool {
        number.is_multiple_of(self.stride)
    }

    fn message(&self, number: u64) -> Message {
        let message = Message::new(self.payload.clone());
        let place = usize::try_from(number).unwrap_or(0);
        match self.topics.len() {
            0 => message,
            topics => message.with_topic(self.topics[place % topics].clone()),
        }
    }

    async fn send_async(self) -> anyhow::Result<Times> {
        let (chunks, waiting) = mpsc::channel::<Vec<Receipt>>(CHUNKS);
        let collector = tokio::spawn(collect(waiting));
        let acks = Arc::new(Mutex::new(times()));
        let mut samples = JoinSet::new();
        let mut chunk = Vec::with_capacity(CHUNK);
        for number in 0..self.messages {
            if let Some(pace) = &self.pace {
                pace.wait(number).await;
            }
            if self.samples(number) {
                let called = Instant::now();
                let receipt = self.producer.send_async(self.message(number)).await?;
                samples.spawn(sample(called, receipt, Arc::clone(&acks)));
                continue;
            }
            chunk.push(self.producer.send_async(self.message(number)).await?);
            if chunk.len() == CHUNK {
                let full = std::mem::replace(&mut chunk, Vec::with_capacity(CHUNK));
                if chunks.send(full).await.is_err() {
                    // It has found a message that was not acknowledged, and tells below.
                    break;
                }
            }
        }
        let _ = chunks.send(chunk).await;
        drop(chunks);
        collector.await??;
        while let Some(sampled) = samples.join_next().await {
            sampled??;
        }
        let acks = acks.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(acks.clone())
    }

    async fn send(self) -> anyhow::Result<Times> {
        let mut calls = Calls::default();
        for number in 0..self.messages {
            if let Some(pace) = &self.pace {
                pace.wait(number).await;
            }
            let called = self.samples(number).then(Instant::now);
            let call = self.producer.send(self.message(number));
            calls.open.push_back((call, called));
            if number % LOOK == 0 || self.pace.is_some() {
                calls.settle(CALLS).await?;
            }
        }
        calls.settle(0).await?;
        Ok(calls.acks)
    }

    async fn ping(self) -> anyhow::Result<Times> {
        let mut acks = times();
        for number in 0..self.messages {
            if let Some(pace) = &self.pace {
                pace.wait(number).await;
            }
            let called = Instant::now();
            let receipt = self.producer.send_async(self.message(number)).await?;
            receipt.await?;
            acks.saturating_record(nanos(called.elapsed()));
        }
        Ok(acks)
    }
}

/// Awaits receipts in their order.
async fn collect(mut waiting: mpsc::Receiver<Vec<Receipt>>) -> anyhow::Result<()> {
    while let Some(chunk) = waiting.recv().await {
        for receipt in chunk {
            receipt.await?;
        }
    }
    Ok(())
}

/// Awaits one receipt and keeps its time.
async fn sample(called: Instant, receipt: Receipt, acks: Arc<Mutex<Times>>) -> anyhow::Result<()> {
    receipt.await?;
    let time = nanos(called.elapsed());
    let mut acks = acks.lock().unwrap_or_else(PoisonError::into_inner);
    acks.saturating_record(time);
    Ok(())
}

/// Calls of `send` that have not returned, in their order.
struct Calls<'a> {
    open: VecDeque<(Send<'a>, Option<Instant>)>,
    acks: Times,
}

impl Default for Calls<'_> {
    fn default() -> Self {
        Self {
            open: VecDeque::with_capacity(CALLS),
            acks: times(),
        }
    }
}

impl Calls<'_> {
    /// Takes those from the front that are done, and waits while more than `most` are not.
    async fn settle(&mut self, most: usize) -> anyhow::Result<()> {
        poll_fn(|cx| {
            while let Some((call, called)) = self.open.front_mut() {
                match Pin::new(call).poll(cx) {
                    Poll::Ready(outcome) => outcome?,
                    Poll::Pending if self.open.len() <= most => break,
                    Poll::Pending => return Poll::Pending,
                };
                if let Some(called) = called {
                    self.acks.saturating_record(nanos(called.elapsed()));
                }
                self.open.pop_front();
            }
            Poll::Ready(Ok(()))
        })
        .await
    }
}

/// So many messages a second. What was late is made up for.
#[derive(Debug)]
struct Pace {
    began: Instant,
    /// From one message of this task to the next.
    apart: Duration,
}

impl Pace {
    fn new(rate: u32, tasks: u64) -> Self {
        let apart = Duration::from_secs(1).mul_f64(super::count(tasks)) / rate;
        Self {
            began: Instant::now(),
            apart,
        }
    }

    /// Waits until it is the turn of a message. The timer counts milliseconds, so that those of one come together.
    async fn wait(&self, number: u64) {
        let due = self.began + self.apart.mul_f64(super::count(number));
        if Instant::now() < due {
            tokio::time::sleep_until(due.into()).await;
        }
    }
}
