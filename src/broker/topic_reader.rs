//! Reads a topic for one subscription: from the store in bounded chunks, to the client as far as its credit goes.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::{failure, packets::WRITE_BYTES, topic::Topic};
use crate::{
    Offset,
    metrics::broker as metrics,
    store::{Store, StoreError, StoredBatch},
    wire::{Failure, delivery_head},
};

/// The batches that one subscription is to get.
pub(super) struct TopicReader {
    store: Arc<dyn Store>,
    topic: Arc<Topic>,
    /// The most bytes of one read from the store.
    chunk: usize,
    /// The offset after the last delivered batch.
    next: Offset,
    /// The topic's end.
    end: watch::Receiver<Offset>,
    /// The sum of all credit granted, in bytes.
    credit: watch::Receiver<u64>,
    /// The sum of all bytes delivered.
    spent: u64,
    /// Batches that are read and not yet delivered.
    ready: VecDeque<StoredBatch>,
    /// The read that is under way. Kept here, so that a `ready` that is dropped and called again does not read anew.
    reading: Option<BoxFuture<'static, Result<Vec<StoredBatch>, StoreError>>>,
}

impl TopicReader {
    /// Reads `topic` from `next` on, at most `chunk` bytes at a time. `credit` holds the sum of all credit granted.
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

    /// Waits until there is a batch and credit for it. Cancel safe: dropping the future loses nothing.
    pub(super) async fn ready(&mut self) -> Result<(), Failure> {
        let spent = self.spent;
        if self
            .credit
            .wait_for(|granted| *granted > spent)
            .await
            .is_err()
        {
            // The client has finished its half, so no more credit can come.
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
                failure::store(&error)
            })?;
            // Nothing although the end is further on: retention dropped it. Read again after the next append.
            if read.is_empty() && self.end.changed().await.is_err() {
                return std::future::pending().await;
            }
            // What the store returns is stored, even if the committer has not moved the end yet. The client may
            // acknowledge it at once, so the end moves here.
            if let Some(last) = read.last() {
                self.topic.advance(last.end());
            }
            self.ready.extend(read);
        }
        Ok(())
    }

    /// Returns the next batch, if one is ready and there is credit. A batch may overdraw the credit, so that one
    /// larger than the client's whole credit is delivered too.
    fn pop(&mut self) -> Option<StoredBatch> {
        if *self.credit.borrow() <= self.spent {
            return None;
        }
        let batch = self.ready.pop_front()?;
        self.next = Offset(batch.base.0.saturating_add(u64::from(batch.count)));
        metrics::delivered(u64::from(batch.count));
        let len = u64::try_from(batch.batch.len()).unwrap_or(u64::MAX);
        self.spent = self.spent.saturating_add(len);
        Some(batch)
    }

    /// Returns the frames that can be delivered now, enough for one write.
    pub(super) fn take_frames(&mut self) -> Vec<Bytes> {
        let (mut parts, mut bytes) = (Vec::new(), 0);
        while bytes < WRITE_BYTES
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
