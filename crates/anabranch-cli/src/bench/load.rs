//! The load: tasks that send and await receipts.
//!
//! To cost little, all messages share one payload, and receipts go in chunks to another task, which awaits all of them.
//! Latency is sampled: each sampled receipt has its own task, so that its time is taken when the receipt resolves.

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
    producer::{Receipt, SendFuture},
};
use bytes::Bytes;
use hdrhistogram::Histogram;
use tokio::{runtime::Handle, sync::mpsc, task::JoinSet};

use super::{Args, Mode};
use crate::stats::as_f64;

/// Receipts per chunk.
const CHUNK: usize = 1024;
/// Capacity of the channel of chunks.
const CHUNKS: usize = 1024;
/// Limit of concurrent calls of `send` in mode ordered.
const CALLS: usize = 32 << 10;
/// Number of calls after which completed ones are collected.
const COLLECT_EVERY: u64 = 64;
/// Smallest distance between two messages whose latency is sampled.
const MIN_STRIDE: u64 = 16;
/// Approximate limit of samples in a run. A sample spawns a task, which allocates: few where allocations are counted.
const SAMPLES: u64 = if cfg!(feature = "count-allocations") {
    1 << 7
} else {
    1 << 11
};

/// A histogram of times in nanoseconds, with three significant digits.
pub(super) type Times = Histogram<u64>;

/// Returns an empty histogram of times up to an hour.
pub(super) fn times() -> Times {
    Histogram::new_with_bounds(1, 3_600_000_000_000, 3).expect("the bounds are valid")
}

/// Converts a time for [`Times`].
pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Returns incompressible bytes, the same for each call.
pub(super) fn noise(len: usize) -> Bytes {
    let mut bytes = vec![0; len];
    fastrand::Rng::with_seed(5).fill(&mut bytes);
    bytes.into()
}

/// The messages of each run.
#[derive(Debug)]
pub(super) struct Load {
    mode: Mode,
    size: usize,
    /// Number of messages, over all tasks.
    pub(super) messages: u64,
    /// Topics used in turn. Empty for one topic.
    topics: Vec<TopicName>,
    /// Number of tasks, or threads, for each producer.
    tasks: u32,
    /// Whether each task has a thread of its own.
    threads: bool,
    /// Limit of messages per second, over all tasks.
    rate: Option<u32>,
    /// Distance between two messages whose latency is sampled.
    stride: u64,
}

/// The measurement of a run.
#[derive(Debug)]
pub(super) struct Sent {
    /// Time from the first call to the last receipt.
    pub(super) took: Duration,
    /// Sampled times from call to receipt.
    pub(super) acks: Times,
}

/// The messages of one task.
struct Share {
    producer: Producer,
    payload: Bytes,
    topics: Vec<TopicName>,
    messages: u64,
    stride: u64,
    pacer: Option<Pacer>,
}

impl Load {
    /// Reads the load from the flags.
    ///
    /// # Errors
    /// When the name of a topic is not valid.
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
            tasks: args.threads.unwrap_or(args.tasks),
            threads: args.threads.is_some(),
            rate: args.rate,
            stride: (messages / SAMPLES).max(MIN_STRIDE),
        })
    }

    /// Sends all messages, and waits for every receipt.
    ///
    /// # Errors
    /// The first message that was not acknowledged.
    pub(super) async fn run(&self, producers: &[Producer]) -> anyhow::Result<Sent> {
        let shares = self.shares(producers);
        let mut tasks = JoinSet::new();
        let began = Instant::now();
        for share in shares {
            let sending = share.run(self.mode);
            if self.threads {
                let runtime = Handle::current();
                tasks.spawn_blocking(move || runtime.block_on(sending));
            } else {
                tasks.spawn(sending);
            }
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
            pacer: self.rate.map(|rate| Pacer::new(rate, count)),
        };
        (0..).zip(&tasks).map(share).collect()
    }
}

impl Share {
    async fn run(self, mode: Mode) -> anyhow::Result<Times> {
        match mode {
            Mode::Async => self.send_async().await,
            Mode::Ordered => self.send().await,
            Mode::Ping => self.ping().await,
        }
    }

    /// Returns whether the latency of this message is sampled. The first one always is.
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
            if let Some(pacer) = &self.pacer {
                pacer.wait(number).await;
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
                    // The collector failed; its error is returned below.
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
            if let Some(pacer) = &self.pacer {
                pacer.wait(number).await;
            }
            let called = self.samples(number).then(Instant::now);
            let call = self.producer.send(self.message(number));
            calls.begin(call, called).await?;
            if number % COLLECT_EVERY == 0 || self.pacer.is_some() {
                calls.collect_done(CALLS).await?;
            }
        }
        calls.collect_done(0).await?;
        Ok(calls.acks)
    }

    async fn ping(self) -> anyhow::Result<Times> {
        let mut acks = times();
        for number in 0..self.messages {
            if let Some(pacer) = &self.pacer {
                pacer.wait(number).await;
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

/// Awaits one receipt, and records its latency.
async fn sample(called: Instant, receipt: Receipt, acks: Arc<Mutex<Times>>) -> anyhow::Result<()> {
    receipt.await?;
    let time = nanos(called.elapsed());
    let mut acks = acks.lock().unwrap_or_else(PoisonError::into_inner);
    acks.saturating_record(time);
    Ok(())
}

/// Pending calls of `send`, in order.
struct Calls {
    open: VecDeque<(SendFuture, Option<Instant>)>,
    acks: Times,
}

impl Default for Calls {
    fn default() -> Self {
        Self {
            open: VecDeque::with_capacity(CALLS),
            acks: times(),
        }
    }
}

impl Calls {
    /// Polls a call for the first time, which hands its message over.
    async fn begin(&mut self, mut call: SendFuture, called: Option<Instant>) -> anyhow::Result<()> {
        match poll_fn(|cx| Poll::Ready(Pin::new(&mut call).poll(cx))).await {
            Poll::Ready(outcome) => drop(outcome?),
            Poll::Pending => self.open.push_back((call, called)),
        }
        Ok(())
    }

    /// Removes completed calls from the front, and waits while more than `max_open` are pending.
    async fn collect_done(&mut self, max_open: usize) -> anyhow::Result<()> {
        poll_fn(|cx| {
            while let Some((call, called)) = self.open.front_mut() {
                match Pin::new(call).poll(cx) {
                    Poll::Ready(outcome) => outcome?,
                    Poll::Pending if self.open.len() <= max_open => break,
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

/// Pacers messages to a rate. Late messages are caught up.
#[derive(Debug)]
struct Pacer {
    began: Instant,
    /// Time from one message of this task to the next.
    gap: Duration,
}

impl Pacer {
    fn new(rate: u32, tasks: u64) -> Self {
        let gap = Duration::from_secs(1).mul_f64(as_f64(tasks)) / rate;
        Self {
            began: Instant::now(),
            gap,
        }
    }

    /// Waits until a message is due. The timer has a resolution of a millisecond, so messages due in the same one are sent
    /// together.
    async fn wait(&self, number: u64) {
        let due = self.began + self.gap.mul_f64(as_f64(number));
        if Instant::now() < due {
            tokio::time::sleep_until(due.into()).await;
        }
    }
}
