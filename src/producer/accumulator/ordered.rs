//! The queue of `send`: one lane takes from it, on one stream, and it is never scaled. Messages are stored in its order,
//! which is that of the calls.

use crossbeam_queue::SegQueue;

#[cfg(test)]
use super::pause::{self, Point};
use super::{count::Count, queue::Run, queue_reader::Take, queued::Queued, sleeper::Sleeper};

/// The messages of `send` that the ordered lane has not taken yet.
#[derive(Debug)]
pub(crate) struct OrderedQueue {
    messages: SegQueue<Queued>,
    waiting: Count,
    /// The ordered lane.
    lane: Sleeper,
}

impl OrderedQueue {
    pub(crate) fn new() -> Self {
        Self {
            messages: SegQueue::new(),
            waiting: Count::new(),
            lane: Sleeper::new(),
        }
    }

    /// Returns the number of messages that wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.get().0
    }

    /// Returns about how many bytes they will take in batches.
    pub(crate) fn bytes(&self) -> u64 {
        self.waiting.get().1
    }

    /// Returns whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Appends a message, and wakes the lane if it sleeps.
    pub(crate) fn push(&self, message: Queued) {
        self.waiting.add(1, message.encoded_len() as u64);
        #[cfg(test)]
        pause::at(Point::NotQueued);
        self.messages.push(message);
        #[cfg(test)]
        pause::at(Point::NobodyWoken);
        self.lane.wake();
    }

    /// Hands messages to `taker` until the run is full or nothing is left. Returns the bytes taken.
    pub(crate) fn pull(&self, run: Run, mut taker: impl FnMut(Queued)) -> u64 {
        let mut bytes = 0;
        let mut messages = 0;
        while messages < run.messages && bytes < run.bytes {
            let Some(message) = self.pop() else {
                break;
            };
            messages += 1;
            bytes += message.encoded_len() as u64;
            taker(message);
        }
        bytes
    }

    fn pop(&self) -> Option<Queued> {
        let message = self.messages.pop()?;
        self.waiting.sub(1, message.encoded_len() as u64);
        Some(message)
    }

    /// Tells the lane to look again.
    pub(crate) fn tell(&self) {
        self.lane.tell();
    }

    /// Waits until the lane is told to look again or has messages that it may take.
    pub(crate) async fn wait(&self, take: Take) {
        match take {
            Take::Nothing => self.lane.told().await,
            Take::OwnShards | Take::Any => self.lane.sleep(|| !self.is_empty()).await,
        }
    }

    /// Removes everything. Only for a producer that has ended.
    pub(crate) fn drain(&self) -> impl Iterator<Item = Queued> {
        std::iter::from_fn(|| self.pop())
    }
}
