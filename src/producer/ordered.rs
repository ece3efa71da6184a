//! The road of `send`: one queue, one lane, one stream, never scaled. What goes in first is stored first.

use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_queue::SegQueue;
use tokio::sync::Notify;

use super::queue::{Queued, Run};

#[derive(Debug)]
pub(crate) struct OrderedQueue {
    messages: SegQueue<Queued>,
    len: AtomicUsize,
    door: Notify,
}

impl OrderedQueue {
    pub(crate) fn new() -> Self {
        Self {
            messages: SegQueue::new(),
            len: AtomicUsize::new(0),
            door: Notify::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    pub(crate) fn push(&self, message: Queued) {
        self.messages.push(message);
        // Whoever finds the queue empty waits at the door; a push into a queue that is not empty finds it awake.
        if self.len.fetch_add(1, Ordering::SeqCst) == 0 {
            self.door.notify_one();
        }
    }

    pub(crate) fn pull(&self, run: Run, mut taker: impl FnMut(Queued)) -> u64 {
        let mut bytes = 0;
        let mut messages = 0;
        while messages < run.messages && bytes < run.bytes {
            let Some(message) = self.messages.pop() else {
                break;
            };
            messages += 1;
            bytes += message.len;
            taker(message);
        }
        self.len.fetch_sub(messages, Ordering::SeqCst);
        bytes
    }

    pub(crate) fn wake(&self) {
        self.door.notify_one();
    }

    pub(crate) async fn wait(&self) {
        self.door.notified().await;
    }

    pub(crate) fn drain(&self) -> Vec<Queued> {
        let mut all = Vec::new();
        let everything = Run {
            bytes: u64::MAX,
            messages: usize::MAX,
        };
        self.pull(everything, |m| all.push(m));
        all
    }
}
