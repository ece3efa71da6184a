//! A group: batches on their way to the store, and what each of them is answered.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{
    store::{Append, Appended, StoreError},
    topics::Topic,
};
use crate::{
    Offset, ProducerId, RequestId, Timestamp,
    metrics::broker as metrics,
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
    let failure = failure(&StoreError::Behind);
    Packet::Refused(Refused { request, failure })
}

/// What is left of a job while the store has its batch.
#[derive(Debug)]
pub(super) struct Waiting {
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

/// Batches that are stored together.
#[derive(Debug)]
pub(super) struct Group {
    time: Timestamp,
    appends: Vec<Append>,
    waiting: Vec<Waiting>,
    bytes: usize,
}

impl Group {
    /// An empty group that is stored at `time`.
    pub(super) const fn at(time: Timestamp) -> Self {
        Self {
            time,
            appends: Vec::new(),
            waiting: Vec::new(),
            bytes: 0,
        }
    }

    /// Takes a batch in. What lies behind a refused one is answered at once instead.
    pub(super) fn take(&mut self, job: Job, permit: OwnedSemaphorePermit) {
        if job.refused.is_before(job.place) {
            job.answer.send(behind(job.produce.request));
            return;
        }
        let len = job.produce.batch.len();
        self.bytes += len;
        self.appends.push(Append {
            producer: job.producer,
            request: job.produce.request,
            answered_below: job.produce.answered_below,
            topic: job.topic.name().clone(),
            count: job.count,
            batch: job.produce.batch,
            time: self.time,
        });
        self.waiting.push(Waiting {
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
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.appends.is_empty()
    }

    pub(super) const fn len(&self) -> usize {
        self.appends.len()
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// What goes to the store, and what waits for it.
    pub(super) fn into_parts(self) -> (Vec<Append>, Vec<Waiting>) {
        (self.appends, self.waiting)
    }
}

/// An answer, and the place that was kept for it.
#[derive(Debug)]
pub(super) struct Answered {
    packet: Packet,
    place: mpsc::OwnedPermit<Packet>,
    /// What to note behind the answer, so that nobody hears before of what lies behind it.
    refused: Option<(u64, Arc<FirstRefused>)>,
}

impl Answered {
    /// Whether the batch is stored.
    pub(super) const fn is_stored(&self) -> bool {
        self.refused.is_none()
    }

    /// The answer, and its place.
    pub(super) fn into_parts(self) -> (Packet, mpsc::OwnedPermit<Packet>) {
        (self.packet, self.place)
    }

    /// Puts it in the place that was kept.
    pub(super) fn send(self) {
        self.place.send(self.packet);
        if let Some((place, refused)) = self.refused {
            refused.note(place);
        }
    }
}

impl Waiting {
    /// What the store's `result` means to the client, at `now`.
    pub(super) fn answer(self, result: Result<Appended, StoreError>, now: Instant) -> Answered {
        let failed = result.is_err();
        let packet = match result {
            Ok(appended) => {
                if appended.repeat {
                    metrics::repeated();
                } else {
                    metrics::stored(u64::from(self.count), self.bytes);
                }
                let end = appended.base.0.saturating_add(u64::from(self.count));
                self.topic.advance(Offset(end));
                Packet::Stored(Stored {
                    request: self.request,
                    base: appended.base,
                    time: appended.time,
                    held_us: micros(now.duration_since(self.received)),
                })
            }
            Err(error) => Packet::Refused(Refused {
                request: self.request,
                failure: failure(&error),
            }),
        };
        Answered {
            packet,
            place: self.answer,
            refused: failed.then_some((self.place, self.refused)),
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
        StoreError::Behind => FailureCode::Behind,
    };
    super::failure(code, error)
}
