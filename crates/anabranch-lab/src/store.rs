//! The broker's memory in the laboratory: notes when each message got there, and can be slow.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};

use anabranch::{
    TopicName,
    sim::{Network, Rate},
    store::{Append, Appended, DelegateStore, MemoryStore, Store, StoreError, Trim},
    wire::Batch,
};

/// What is kept at most, in bytes: nobody reads it.
const KEPT: u64 = 16 << 20;
/// No such moment.
pub(super) const NEVER: u64 = u64::MAX;

/// When each message was stored, in nanoseconds since the run began; [`NEVER`] while it is not.
pub(super) type Deliveries = Arc<Mutex<Vec<u64>>>;

/// A payload of `size` bytes that carries the number of its message.
pub(super) fn payload(number: u64, size: usize) -> Bytes {
    let mut payload = vec![0; size.max(8)];
    payload[..8].copy_from_slice(&number.to_be_bytes());
    payload.into()
}

fn number(payload: &[u8]) -> Option<usize> {
    let number = payload.first_chunk::<8>()?;
    usize::try_from(u64::from_be_bytes(*number)).ok()
}

/// A [`MemoryStore`] with a look at what comes in, and a delay.
#[derive(Debug)]
pub(super) struct Tap {
    inner: MemoryStore,
    network: Network,
    /// For each group of batches.
    delay: Duration,
    /// How much is taken in.
    rate: Option<Rate>,
    deliveries: Deliveries,
    kept: Mutex<u64>,
}

impl Tap {
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
            kept: Mutex::default(),
        }
    }

    fn note(&self, batches: &[Bytes]) {
        let now = u64::try_from(self.network.elapsed().as_nanos()).unwrap_or(NEVER);
        let mut deliveries = self
            .deliveries
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for batch in batches {
            // The broker has checked it.
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

    /// Forgets old batches: a run may bring more than fits into memory.
    async fn forget(&self, topic: &TopicName, bytes: u64) {
        let full = {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            *kept += bytes;
            *kept > KEPT && std::mem::take(&mut *kept) > 0
        };
        if full {
            let trim = Trim {
                max_bytes: Some(0),
                ..Trim::default()
            };
            // A topic that does not exist has nothing to forget.
            let _ = self.inner.trim(topic, trim).await;
        }
    }
}

impl DelegateStore for Tap {
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
            self.note(&batches);
            if let Some(topic) = topic {
                self.forget(&topic, bytes).await;
            }
            answers
        }
        .boxed()
    }
}
