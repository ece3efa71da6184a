//! The queue of `send`: one lane takes from it, on one stream, and it is never scaled. Messages are stored in its order.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Notify;

use super::{
    chunk::{Chunk, ChunkLimits, ChunkQueue, ChunkStart, Entry},
    key_shards::Fifo as _,
    queue::Run,
};
use crate::producer::receipt::Receipt;

/// The messages of `send` that the ordered lane has not taken yet.
#[derive(Debug)]
pub(crate) struct OrderedQueue {
    chunks: Mutex<ChunkQueue>,
    /// The number of messages. Written under the lock.
    len: AtomicUsize,
    /// Wakes the ordered lane.
    notify: Notify,
}

impl OrderedQueue {
    pub(crate) fn new() -> Self {
        Self {
            chunks: Mutex::default(),
            len: AtomicUsize::new(0),
            notify: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, ChunkQueue> {
        self.chunks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    pub(crate) fn push(
        &self,
        entry: &Entry<'_>,
        limits: &ChunkLimits,
        open: impl FnOnce() -> ChunkStart,
    ) -> Receipt {
        let mut chunks = self.lock();
        let receipt = chunks.push(entry, limits, open);
        let before = self.len();
        self.len.store(before + 1, Ordering::Relaxed);
        drop(chunks);
        // The lane waits only while the queue is empty.
        if before == 0 {
            self.notify.notify_one();
        }
        receipt
    }

    pub(crate) fn pull(&self, run: Run, mut taker: impl FnMut(Chunk)) -> u64 {
        let mut bytes = 0;
        let mut messages = 0;
        while messages < run.messages && bytes < run.bytes {
            let Some(chunk) = self.pop() else {
                break;
            };
            messages += chunk.messages();
            bytes += chunk.len() as u64;
            taker(chunk);
        }
        bytes
    }

    fn pop(&self) -> Option<Chunk> {
        let mut chunks = self.lock();
        let chunk = chunks.pop()?;
        let left = self.len().saturating_sub(chunk.messages());
        self.len.store(left, Ordering::Relaxed);
        Some(chunk)
    }

    pub(crate) fn wake(&self) {
        self.notify.notify_one();
    }

    pub(crate) async fn wait(&self) {
        self.notify.notified().await;
    }

    pub(crate) fn drain(&self) -> Vec<Chunk> {
        std::iter::from_fn(|| self.pop()).collect()
    }
}
