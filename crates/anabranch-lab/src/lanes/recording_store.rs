//! A store in memory that records when each message was stored, and that can be slow.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};

use crate::stats::nanos;

use anabranch::{
    TopicName,
    sim::{Network, Rate},
    store::{Append, Appended, DelegateStore, MemoryStore, Store, StoreError, Trim},
    wire::internals::Batch,
};

/// Limit of stored bytes. No consumer reads them.
const RETAINED: u64 = 16 << 20;
/// The time of an event that did not happen.
pub(super) const NEVER: u64 = u64::MAX;

/// When each message was stored, in nanoseconds since the start of the run, or [`NEVER`].
pub(super) type Deliveries = Arc<Mutex<Vec<u64>>>;

/// Returns a payload of `size` bytes with the number of its message.
pub(super) fn payload(number: u64, size: usize) -> Bytes {
    let mut payload = vec![0; size.max(8)];
    payload[..8].copy_from_slice(&number.to_be_bytes());
    payload.into()
}

fn number(payload: &[u8]) -> Option<usize> {
    let number = payload.first_chunk::<8>()?;
    usize::try_from(u64::from_be_bytes(*number)).ok()
}

/// A [`MemoryStore`] that records what is appended, with a delay.
#[derive(Debug)]
pub(super) struct RecordingStore {
    inner: MemoryStore,
    network: Network,
    /// Delay of each group of batches.
    delay: Duration,
    /// Rate of appends.
    rate: Option<Rate>,
    deliveries: Deliveries,
    /// Bytes since the last trim.
    retained: Mutex<u64>,
}

impl RecordingStore {
    pub(super) fn new(
        network: Network,
        delay: Duration,
        rate: Option<Rate>,
        deliveries: Deliveries,
    ) -> Self {
        Self {
            inner: MemoryStore::default(),
            network,
            delay,
            rate,
            deliveries,
            retained: Mutex::default(),
        }
    }

    /// Records the messages of the batches as stored now.
    fn record(&self, batches: &[Bytes]) {
        let now = nanos(self.network.elapsed());
        let mut deliveries = self
            .deliveries
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for batch in batches {
            // The broker has checked the batch.
            let Ok(batch) = Batch::decode(batch.clone()) else {
                continue;
            };
            for record in batch.records() {
                let place = number(&record.payload).and_then(|place| deliveries.get_mut(place));
                if let Some(at) = place {
                    *at = now.min(*at);
                }
            }
        }
    }

    /// Trims the topic now and then, because a run may store more than fits into memory.
    async fn trim(&self, topic: &TopicName, bytes: u64) {
        let full = {
            let mut retained = self.retained.lock().unwrap_or_else(PoisonError::into_inner);
            *retained += bytes;
            *retained > RETAINED && std::mem::take(&mut *retained) > 0
        };
        if full {
            let trim = Trim {
                max_bytes: Some(0),
                ..Trim::default()
            };
            // An unknown topic has nothing to trim.
            let _ = self.inner.trim(topic, trim).await;
        }
    }
}

impl DelegateStore for RecordingStore {
    fn inner(&self) -> &dyn Store {
        &self.inner
    }

    fn append(&self, group: Vec<Append>) -> BoxFuture<'_, Vec<Result<Appended, StoreError>>> {
        async move {
            let batches: Vec<_> = group.iter().map(|append| append.batch.clone()).collect();
            let bytes = batches.iter().map(|batch| batch.len() as u64).sum();
            let topic = group.first().map(|append| append.topic.clone());
            let writing = self
                .rate
                .map_or(Duration::ZERO, |rate| rate.time_for(bytes));
            if !(self.delay + writing).is_zero() {
                self.network.sleep(self.delay + writing).await;
            }
            let answers = self.inner.append(group).await;
            self.record(&batches);
            if let Some(topic) = topic {
                self.trim(&topic, bytes).await;
            }
            answers
        }
        .boxed()
    }
}
