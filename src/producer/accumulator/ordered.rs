//! The road of `send`: one line, one lane, one stream, never scaled. What goes in first is stored first.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Notify;

use crate::producer::{
    accumulator::chunk::{Chunk, ChunkLimits, ChunkQueue, ChunkStart, Entry},
    accumulator::key_shards::Fifo as _,
    accumulator::queue::Run,
    receipt::Receipt,
};

#[derive(Debug)]
pub(crate) struct OrderedQueue {
    line: Mutex<ChunkQueue>,
    /// Messages in it. Written under its lock.
    len: AtomicUsize,
    door: Notify,
}

impl OrderedQueue {
    pub(crate) fn new() -> Self {
        Self {
            line: Mutex::default(),
            len: AtomicUsize::new(0),
            door: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, ChunkQueue> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
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
        let mut line = self.lock();
        let receipt = line.push(entry, limits, open);
        let before = self.len();
        self.len.store(before + 1, Ordering::Relaxed);
        drop(line);
        // Whoever finds the line empty waits at the door; a push into a line that is not empty finds it awake.
        if before == 0 {
            self.door.notify_one();
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
        let mut line = self.lock();
        let chunk = line.pop()?;
        let left = self.len().saturating_sub(chunk.messages());
        self.len.store(left, Ordering::Relaxed);
        Some(chunk)
    }

    pub(crate) fn wake(&self) {
        self.door.notify_one();
    }

    pub(crate) async fn wait(&self) {
        self.door.notified().await;
    }

    pub(crate) fn drain(&self) -> Vec<Chunk> {
        std::iter::from_fn(|| self.pop()).collect()
    }
}
