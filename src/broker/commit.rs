//! The group committer: the one place that appends.
//!
//! ```text
//! stream ─┐
//! stream ─┼─▶ queue (bounded) ─▶ committer ─▶ Store::append(group) ─▶ answers to each stream
//! stream ─┘        the next group gathers here meanwhile              ends of topics to their readers
//! ```
//!
//! While the store makes one group durable, the next one gathers by itself: under load groups grow, without
//! load nobody waits. The queue is first in, first out, so what one stream submits is appended in that order.
//! It is bounded in bytes and batches: a slow store makes [`Committer::submit`] wait, with it the stream's
//! reader, and through QUIC's flow control the producer.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::{config::Limits, topics::Topic};
use crate::{
    Offset, ProducerId, RequestId, Timestamp,
    metrics::broker as metrics,
    store::{Append, Appended, Store, StoreError, StoreState},
    tasks::Tasks,
    time,
    wire::{Failure, FailureCode, Packet, Produce, Refused, Stored},
};

/// A batch on its way to the store.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) producer: ProducerId,
    pub(super) produce: Produce,
    pub(super) topic: Arc<Topic>,
    pub(super) count: u32,
    /// When the last byte of it was read.
    pub(super) received: Instant,
    /// The place that is kept for the answer: sending it never waits.
    pub(super) answer: mpsc::OwnedPermit<Packet>,
    /// Its place on its stream, and what was refused there.
    pub(super) place: u64,
    pub(super) refused: Arc<FirstRefused>,
    /// The stream's and the connection's share of buffered bytes, given back with the answer.
    pub(super) buffered: [OwnedSemaphorePermit; 2],
}

/// The first batch of a stream that was refused. Nothing behind it is stored: the client, when it has heard of it,
/// sends that again on another stream.
#[derive(Debug)]
pub(super) struct FirstRefused(AtomicU64);

impl FirstRefused {
    pub(super) const fn new() -> Self {
        Self(AtomicU64::new(u64::MAX))
    }

    /// The batch at `place` is refused.
    pub(super) fn note(&self, place: u64) {
        self.0.fetch_min(place, Ordering::SeqCst);
    }

    /// Whether the batch at `place` lies behind one that was refused.
    pub(super) fn is_before(&self, place: u64) -> bool {
        self.0.load(Ordering::SeqCst) < place
    }
}

/// What a batch behind a refused one is told.
pub(super) fn behind(request: RequestId) -> Packet {
    let failure = failure(&StoreError::AfterRejected);
    Packet::Refused(Refused { request, failure })
}

/// The way to the committer, for every stream.
#[derive(Debug, Clone)]
pub(super) struct Committer {
    queue: mpsc::Sender<(Job, OwnedSemaphorePermit)>,
    bytes: Arc<Semaphore>,
}

/// The committer has ended.
#[derive(Debug)]
pub(super) struct Ended;

impl Committer {
    /// Starts the committer. It ends when every clone of the answer is dropped and the queue is empty, or, when
    /// `tasks` is told to stop, behind the group it is at.
    pub(super) fn start(store: Arc<dyn Store>, limits: &Limits, tasks: &Tasks) -> Self {
        let (queue, incoming) = mpsc::channel(limits.commit_queue_batches);
        let committing = Committing {
            store,
            incoming,
            group_bytes: limits.commit_group_bytes,
            group_batches: limits.commit_group_batches,
            last: Timestamp(0),
        };
        tasks.spawn(committing.run(tasks.stopped().clone()));
        Self {
            queue,
            bytes: Arc::new(Semaphore::new(limits.commit_queue_bytes)),
        }
    }

    /// Hands a batch over, and waits while the queue is full.
    pub(super) async fn submit(&self, job: Job) -> Result<(), Ended> {
        let len = u32::try_from(job.produce.batch.len()).unwrap_or(u32::MAX);
        let bytes = Arc::clone(&self.bytes).acquire_many_owned(len);
        let bytes = bytes.await.map_err(|_| Ended)?;
        self.queue.send((job, bytes)).await.map_err(|_| Ended)
    }
}

/// The task.
struct Committing {
    store: Arc<dyn Store>,
    incoming: mpsc::Receiver<(Job, OwnedSemaphorePermit)>,
    group_bytes: usize,
    group_batches: usize,
    /// The time of the last group: the next one is never earlier, whatever the wall clock does.
    last: Timestamp,
}

/// What is left of a job while the store has its batch.
struct Waiting {
    request: RequestId,
    topic: Arc<Topic>,
    count: u32,
    bytes: u64,
    received: Instant,
    answer: mpsc::OwnedPermit<Packet>,
    place: u64,
    refused: Arc<FirstRefused>,
    _buffered: ([OwnedSemaphorePermit; 2], OwnedSemaphorePermit),
}

impl Committing {
    async fn run(mut self, stopped: CancellationToken) {
        // A group that was begun is seen through: cutting off the store's write could leave anything.
        while let Some(Some(first)) = stopped.run_until_cancelled(self.incoming.recv()).await {
            let (group, waiting) = self.gather(first);
            if group.is_empty() {
                continue;
            }
            let began = time::now();
            let mut answers = self.append(group).await.into_iter();
            let now = time::now();
            metrics::committed(waiting.len(), now.duration_since(began));
            metrics::store_read_only(self.store.state() != StoreState::Ready);
            tracing::trace!(batches = waiting.len(), took = ?now.duration_since(began), "group stored");
            for job in waiting {
                job.answer(answers.next().unwrap_or_else(unanswered), now);
            }
        }
    }

    /// Takes what is there, up to the size of a group. What lies behind a refused batch is answered at once.
    fn gather(&mut self, first: (Job, OwnedSemaphorePermit)) -> (Vec<Append>, Vec<Waiting>) {
        self.last = self.last.max(time::timestamp());
        let (mut group, mut waiting) = (Vec::new(), Vec::new());
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some((job, permit)) = next {
            if job.refused.is_before(job.place) {
                job.answer.send(behind(job.produce.request));
                next = self.incoming.try_recv().ok();
                continue;
            }
            let len = job.produce.batch.len();
            bytes += len;
            group.push(Append {
                producer: job.producer,
                request: job.produce.request,
                answered_below: job.produce.answered_below,
                topic: job.topic.name().clone(),
                count: job.count,
                batch: job.produce.batch,
                time: self.last,
            });
            waiting.push(Waiting {
                request: job.produce.request,
                topic: job.topic,
                count: job.count,
                bytes: u64::try_from(len).unwrap_or(u64::MAX),
                received: job.received,
                answer: job.answer,
                place: job.place,
                refused: job.refused,
                _buffered: (job.buffered, permit),
            });
            let full = bytes >= self.group_bytes || group.len() >= self.group_batches;
            next = if full {
                None
            } else {
                self.incoming.try_recv().ok()
            };
        }
        (group, waiting)
    }

    /// One call of the store. A store that panics has failed, and what it did is not known.
    async fn append(&self, group: Vec<Append>) -> Vec<Result<Appended, StoreError>> {
        let append = AssertUnwindSafe(async { self.store.append(group).await });
        append.catch_unwind().await.unwrap_or_else(|_| {
            tracing::error!("the store panicked");
            Vec::new()
        })
    }
}

/// The store owed an answer for each batch and gave fewer.
fn unanswered() -> Result<Appended, StoreError> {
    Err(StoreError::Failed("the store gave no answer".to_owned()))
}

impl Waiting {
    fn answer(self, result: Result<Appended, StoreError>, now: Instant) {
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
                failure: failure(&error),
            }),
        };
        self.answer.send(packet);
        // Behind the answer, so that nobody hears of what lies behind before.
        if failed {
            self.refused.note(self.place);
        }
    }
}

fn micros(d: Duration) -> u32 {
    u32::try_from(d.as_micros()).unwrap_or(u32::MAX)
}

/// What a client is told of a store's error.
pub(super) fn failure(error: &StoreError) -> Failure {
    let code = match error {
        StoreError::Fenced => FailureCode::Fenced,
        StoreError::OutOfWindow => FailureCode::OutOfWindow,
        StoreError::Refuses(_) => FailureCode::StoreRefuses,
        StoreError::Failed(_) | StoreError::Corrupt(_) => FailureCode::StoreFailed,
        StoreError::Limit(_) => FailureCode::Limit,
        StoreError::UnknownTopic => FailureCode::UnknownTopic,
        StoreError::AfterRejected => FailureCode::AfterRejected,
    };
    super::failure(code, error)
}
