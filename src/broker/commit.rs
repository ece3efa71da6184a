//! The group committer, which alone appends to the store.
//!
//! ```text
//! stream ─┐
//! stream ─┼─▶ queue (bounded) ─▶ committer ─▶ Store::append(group) ─▶ answers to each stream
//! stream ─┘        the next group gathers here meanwhile              ends of topics to their readers
//! ```
//!
//! While the store makes one group durable, the next one gathers. So groups grow under load, and without load a batch
//! does not wait. The queue is first in, first out: what one stream submits is appended in that order. It is bounded
//! in bytes and batches. A slow store makes [`Committer::submit`] wait; then the stream is not read, and QUIC's flow
//! control holds up the producer.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{config::Limits, failure, time_check::TimeCheck, topic::Topic};
use crate::{
    Offset, ProducerId, RequestId, Timestamp,
    metrics::broker as metrics,
    store::{Append, Appended, Store, StoreError, StoreState},
    tasks::Tasks,
    time,
    wire::{Batch, Packet, Produce, Refused, Stored},
};

/// How many milliseconds the wall clock may go back before the time of a group does.
const CLOCK_TOLERANCE: u64 = 10_000;

/// A batch on its way to the store.
#[derive(Debug)]
pub(super) struct PendingBatch {
    pub(super) producer: ProducerId,
    pub(super) produce: Produce,
    pub(super) topic: Arc<Topic>,
    pub(super) count: u32,
    /// When its last byte was read.
    pub(super) received: Instant,
    /// The slot reserved for the answer, so that sending it never waits.
    pub(super) answer: mpsc::OwnedPermit<Packet>,
    /// Its index among the batches of its stream.
    pub(super) index: u64,
    /// The first rejected batch of its stream.
    pub(super) rejected: Arc<FirstRejected>,
    /// Its bytes in the budgets of the stream and of the connection, released with the answer.
    pub(super) buffered: [OwnedSemaphorePermit; 2],
}

impl PendingBatch {
    /// Answers that the batch is not stored.
    fn refuse(self, error: &StoreError) {
        self.answer.send(Packet::Refused(Refused {
            request: self.produce.request,
            failure: failure::store(error),
        }));
        self.rejected.record(self.index);
    }
}

/// The index of the first rejected batch of a stream. No later batch of the stream is stored: the client sends those
/// again on another stream.
#[derive(Debug)]
pub(super) struct FirstRejected(AtomicU64);

impl FirstRejected {
    pub(super) const fn new() -> Self {
        Self(AtomicU64::new(u64::MAX))
    }

    /// Records that the batch at `index` is rejected.
    pub(super) fn record(&self, index: u64) {
        self.0.fetch_min(index, Ordering::Relaxed);
    }

    /// Returns whether a batch before `index` was rejected.
    pub(super) fn is_before(&self, index: u64) -> bool {
        self.0.load(Ordering::Relaxed) < index
    }
}

/// Returns the answer to a batch that follows a rejected one.
pub(super) fn after_rejected(request: RequestId) -> Packet {
    let failure = failure::store(&StoreError::AfterRejected);
    Packet::Refused(Refused { request, failure })
}

/// What the committer's task does next.
#[derive(Debug)]
enum Job {
    Append(PendingBatch, OwnedSemaphorePermit),
    Delete(Arc<Topic>, oneshot::Sender<Result<(), StoreError>>),
}

/// Submits batches to the committer's task. Each stream has a clone.
#[derive(Debug, Clone)]
pub(super) struct Committer {
    queue: mpsc::Sender<Job>,
    bytes: Arc<Semaphore>,
}

/// The committer's task has ended.
#[derive(Debug)]
pub(super) struct CommitterStopped;

impl Committer {
    /// Starts the task. It ends when every clone of the returned committer is dropped and the queue is empty, or,
    /// when `tasks` is told to stop, after the group that it is storing.
    pub(super) fn start(
        store: Arc<dyn Store>,
        limits: &Limits,
        clock: Arc<Mutex<TimeCheck>>,
        tasks: &Tasks,
    ) -> Self {
        let (queue, incoming) = mpsc::channel(limits.commit_queue_batches);
        let task = CommitTask {
            store,
            incoming,
            next: None,
            group_bytes: limits.commit_group_bytes,
            group_batches: limits.commit_group_batches,
            last: Timestamp(0),
            clock,
        };
        tasks.spawn(task.run(tasks.stopped().clone()));
        Self {
            queue,
            bytes: Arc::new(Semaphore::new(limits.commit_queue_bytes)),
        }
    }

    /// Submits a batch. Waits while the queue is full.
    pub(super) async fn submit(&self, batch: PendingBatch) -> Result<(), CommitterStopped> {
        let len = u32::try_from(batch.produce.batch.len()).unwrap_or(u32::MAX);
        let bytes = Arc::clone(&self.bytes).acquire_many_owned(len);
        let bytes = bytes.await.map_err(|_| CommitterStopped)?;
        self.queue
            .send(Job::Append(batch, bytes))
            .await
            .map_err(|_| CommitterStopped)
    }

    /// Deletes a topic, after all batches that were submitted before. Those submitted later are refused.
    pub(super) async fn delete(
        &self,
        topic: Arc<Topic>,
    ) -> Result<Result<(), StoreError>, CommitterStopped> {
        let (done, answer) = oneshot::channel();
        let sent = self.queue.send(Job::Delete(topic, done)).await;
        sent.map_err(|_| CommitterStopped)?;
        answer.await.map_err(|_| CommitterStopped)
    }
}

/// The task.
struct CommitTask {
    store: Arc<dyn Store>,
    incoming: mpsc::Receiver<Job>,
    /// A job that was taken from the queue and did not fit into the last group.
    next: Option<Job>,
    group_bytes: usize,
    group_batches: usize,
    /// The time of the last group. The next one is not earlier if the wall clock goes back a little. After a clock that was
    /// far ahead was set right, it is.
    last: Timestamp,
    clock: Arc<Mutex<TimeCheck>>,
}

/// What answers a batch once the store has returned.
struct PendingAnswer {
    request: RequestId,
    topic: Arc<Topic>,
    count: u32,
    bytes: u64,
    received: Instant,
    answer: mpsc::OwnedPermit<Packet>,
    index: u64,
    rejected: Arc<FirstRejected>,
    _buffered: ([OwnedSemaphorePermit; 2], OwnedSemaphorePermit),
}

impl CommitTask {
    async fn run(mut self, stopped: CancellationToken) {
        // A group that was begun is finished: a store's write that is cut off could leave any state.
        while let Some(Some(first)) = stopped.run_until_cancelled(self.take()).await {
            let (first, permit) = match first {
                Job::Append(first, permit) => (first, permit),
                Job::Delete(topic, done) => {
                    // An error means that whoever asked is gone.
                    let _ = done.send(self.delete(&topic).await);
                    continue;
                }
            };
            let (group, pending) = self.gather((first, permit));
            if group.is_empty() {
                continue;
            }
            let began = time::now();
            let mut results = self.append(group).await.into_iter();
            let now = time::now();
            metrics::committed(pending.len(), now.duration_since(began));
            metrics::store_read_only(self.store.state() != StoreState::Ready);
            tracing::trace!(batches = pending.len(), took = ?now.duration_since(began), "group stored");
            for answer in pending {
                answer.send(results.next().unwrap_or_else(missing_result), now);
            }
        }
    }

    /// Waits for the next job. Cancel safe.
    async fn take(&mut self) -> Option<Job> {
        match self.next.take() {
            Some(job) => Some(job),
            None => self.incoming.recv().await,
        }
    }

    /// Takes the next batch, if one is queued and nothing is to be done before it.
    fn take_batch(&mut self) -> Option<(PendingBatch, OwnedSemaphorePermit)> {
        match self.incoming.try_recv().ok()? {
            Job::Append(batch, permit) => Some((batch, permit)),
            job @ Job::Delete(..) => {
                self.next = Some(job);
                None
            }
        }
    }

    async fn delete(&self, topic: &Topic) -> Result<(), StoreError> {
        self.store.delete_topic(topic.name()).await?;
        topic.set_deleted();
        Ok(())
    }

    /// Takes what is queued, up to the size of a group. Batches that follow a rejected one are answered at once.
    fn gather(
        &mut self,
        first: (PendingBatch, OwnedSemaphorePermit),
    ) -> (Vec<Append>, Vec<PendingAnswer>) {
        let now = time::timestamp();
        self.last = match self.last.0.saturating_sub(now.0) {
            ..=CLOCK_TOLERANCE => self.last.max(now),
            _ => now,
        };
        let (mut group, mut pending) = (Vec::new(), Vec::new());
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some((batch, permit)) = next {
            if batch.rejected.is_before(batch.index) {
                batch.answer.send(after_rejected(batch.produce.request));
                next = self.take_batch();
                continue;
            }
            if batch.topic.is_deleted() {
                batch.refuse(&StoreError::UnknownTopic);
                next = self.take_batch();
                continue;
            }
            let len = batch.produce.batch.len();
            if group.is_empty() {
                let of_producer = Batch::stated_base_time(&batch.produce.batch);
                let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
                clock.on_time(of_producer, now);
            }
            bytes += len;
            group.push(Append {
                producer: batch.producer,
                request: batch.produce.request,
                answered_below: batch.produce.answered_below,
                topic: batch.topic.name().clone(),
                count: batch.count,
                batch: batch.produce.batch,
                time: self.last,
            });
            pending.push(PendingAnswer {
                request: batch.produce.request,
                topic: batch.topic,
                count: batch.count,
                bytes: u64::try_from(len).unwrap_or(u64::MAX),
                received: batch.received,
                answer: batch.answer,
                index: batch.index,
                rejected: batch.rejected,
                _buffered: (batch.buffered, permit),
            });
            let full = bytes >= self.group_bytes || group.len() >= self.group_batches;
            next = if full { None } else { self.take_batch() };
        }
        (group, pending)
    }

    /// Calls the store once. After a panic in the store, it is not known whether the group is stored.
    async fn append(&self, group: Vec<Append>) -> Vec<Result<Appended, StoreError>> {
        let append = AssertUnwindSafe(async { self.store.append(group).await });
        append.catch_unwind().await.unwrap_or_else(|_| {
            tracing::error!("the store panicked");
            Vec::new()
        })
    }
}

/// The result of a batch for which the store returned none.
fn missing_result() -> Result<Appended, StoreError> {
    Err(StoreError::Failed("the store gave no answer".to_owned()))
}

impl PendingAnswer {
    fn send(self, result: Result<Appended, StoreError>, now: Instant) {
        let failed = result.is_err();
        let packet = match result {
            Ok(appended) => {
                if appended.repeat {
                    metrics::duplicate();
                } else {
                    metrics::stored(u64::from(self.count), self.bytes);
                }
                let end = appended.base.0.saturating_add(u64::from(self.count));
                self.topic.advance(Offset(end));
                Packet::Stored(Stored {
                    request: self.request,
                    base: appended.base,
                    time: appended.time,
                    processing_us: micros(now.duration_since(self.received)),
                })
            }
            Err(error) => Packet::Refused(Refused {
                request: self.request,
                failure: failure::store(&error),
            }),
        };
        self.answer.send(packet);
        // After the answer is sent, so that no later batch is answered before it.
        if failed {
            self.rejected.record(self.index);
        }
    }
}

fn micros(d: Duration) -> u32 {
    u32::try_from(d.as_micros()).unwrap_or(u32::MAX)
}
