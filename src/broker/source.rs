//! A topic as one reader gets it: from the store in bounded chunks, to the client as far as its credit goes.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::{commit, outgoing::GATHER, topics::Topic};
use crate::{
    Offset,
    store::{Store, StoreError, StoredBatch},
    wire::{Failure, delivery_head},
};

/// What is to be delivered to one reader.
pub(super) struct Source {
    store: Arc<dyn Store>,
    topic: Arc<Topic>,
    chunk: usize,
    /// Behind the last batch that was delivered.
    next: Offset,
    end: watch::Receiver<Offset>,
    /// All credit that was ever granted.
    credit: watch::Receiver<u64>,
    /// All bytes that were ever delivered.
    spent: u64,
    /// Read and not yet delivered.
    ready: VecDeque<StoredBatch>,
    /// Under way; kept here so that waiting for it can be interrupted without reading anew.
    reading: Option<BoxFuture<'static, Result<Vec<StoredBatch>, StoreError>>>,
}

impl Source {
    /// What lies in `topic` from `next` on, read in chunks of so many bytes, as far as `credit` goes: all that was
    /// ever granted.
    pub(super) fn new(
        store: Arc<dyn Store>,
        topic: Arc<Topic>,
        next: Offset,
        chunk: usize,
        credit: watch::Receiver<u64>,
    ) -> Self {
        Self {
            store,
            chunk,
            end: topic.end(),
            topic,
            next,
            credit,
            spent: 0,
            ready: VecDeque::new(),
            reading: None,
        }
    }

    /// Waits until there is a batch and credit for it. Loses nothing when it is dropped.
    pub(super) async fn ready(&mut self) -> Result<(), Failure> {
        let spent = self.spent;
        if self
            .credit
            .wait_for(|granted| *granted > spent)
            .await
            .is_err()
        {
            // The client has ended its half: what was granted is what there is.
            return std::future::pending().await;
        }
        while self.ready.is_empty() {
            let next = self.next;
            let reading = match &mut self.reading {
                Some(reading) => reading,
                None => {
                    if self.end.wait_for(|end| *end > next).await.is_err() {
                        return std::future::pending().await;
                    }
                    self.reading.insert(self.read())
                }
            };
            let read = reading.await;
            self.reading = None;
            let read = read.map_err(|error| {
                tracing::error!(topic = %self.topic.name(), %next, %error, "reading failed");
                commit::failure(&error)
            })?;
            // Nothing, although the end is further on: retention took it. The next message is worth another look.
            if read.is_empty() && self.end.changed().await.is_err() {
                return std::future::pending().await;
            }
            // What the store gives is stored, even where the committer is still on its way to saying so; and who is
            // given it may acknowledge it at once.
            if let Some(last) = read.last() {
                self.topic.advance(last.end());
            }
            self.ready.extend(read);
        }
        Ok(())
    }

    /// The next batch if it is at hand and there is credit. A batch goes while any credit is left, and may overdraw
    /// it: one larger than the client's whole credit must get through too.
    fn pop(&mut self) -> Option<StoredBatch> {
        if *self.credit.borrow() <= self.spent {
            return None;
        }
        let batch = self.ready.pop_front()?;
        self.next = Offset(batch.base.0.saturating_add(u64::from(batch.count)));
        crate::metrics::broker::delivered(u64::from(batch.count));
        let len = u64::try_from(batch.batch.len()).unwrap_or(u64::MAX);
        self.spent = self.spent.saturating_add(len);
        Some(batch)
    }

    /// What can be delivered now, up to what is worth a write.
    pub(super) fn gather(&mut self) -> Vec<Bytes> {
        let (mut parts, mut bytes) = (Vec::new(), 0);
        while bytes < GATHER
            && let Some(StoredBatch {
                base, time, batch, ..
            }) = self.pop()
        {
            bytes += batch.len();
            parts.push(delivery_head(base, time, batch.len()));
            parts.push(batch);
        }
        parts
    }

    fn read(&self) -> BoxFuture<'static, Result<Vec<StoredBatch>, StoreError>> {
        let (store, topic) = (Arc::clone(&self.store), Arc::clone(&self.topic));
        let (next, chunk) = (self.next, self.chunk);
        Box::pin(async move { store.read(topic.name(), next, chunk).await })
    }
}
