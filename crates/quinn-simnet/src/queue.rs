//! Pure: where packets wait for their turn at the rate of the link.
//!
//! A tail-drop queue and a policer are the same machine with different patience. Both keep a *virtual clock*: the
//! moment at which all that was accepted would have been sent, had it been sent without a pause (GCRA, the leaky
//! bucket as a clock). A packet moves it on by its own sending time. The tail-drop queue lets a packet go when
//! the virtual clock says so; the policer lets it go earlier by what a full bucket is worth in time.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::config::{Queue, Rate};

/// A packet that waits, with whatever its owner wants to know about it.
#[derive(Debug, Clone)]
pub(super) struct Waiting<T> {
    /// When it leaves the queue.
    pub(super) leaves: Instant,
    /// What the owner gave with it.
    pub(super) carried: T,
    len: u64,
    /// The virtual clock with this packet counted in.
    virtual_end: Instant,
}

/// The queue, empty at the start, and the rate at which it is emptied.
#[derive(Debug)]
pub(super) struct Bottleneck<T> {
    rate: Option<Rate>,
    queue: Queue,
    virtual_end: Option<Instant>,
    /// Nothing leaves before this.
    stalled_until: Option<Instant>,
    waiting: VecDeque<Waiting<T>>,
    depth: u64,
    deepest: u64,
}

impl<T> Bottleneck<T> {
    pub(super) fn new(rate: Option<Rate>, queue: Queue) -> Self {
        Self {
            rate,
            queue,
            virtual_end: None,
            stalled_until: None,
            waiting: VecDeque::new(),
            depth: 0,
            deepest: 0,
        }
    }

    /// Bytes waiting, as of the last call that was told the time.
    pub(super) fn depth(&self) -> u64 {
        self.depth
    }

    /// The most bytes that ever waited.
    pub(super) fn deepest(&self) -> u64 {
        self.deepest
    }

    /// The next packet that has left by `now`, in the order of leaving.
    pub(super) fn poll_left(&mut self, now: Instant) -> Option<Waiting<T>> {
        if self.waiting.front()?.leaves > now {
            return None;
        }
        let left = self.waiting.pop_front()?;
        self.depth -= left.len;
        Some(left)
    }

    /// When a packet that comes now would leave, or `None` where there is no room for it. All that has left by
    /// `now` must have been polled out.
    pub(super) fn plan(&self, now: Instant, len: u64) -> Option<Plan> {
        let start = self.start(now);
        let virtual_end = self.virtual_end.map_or(start, |end| end.max(start)) + self.cost(len);
        let leaves = self.leaves(start, virtual_end);
        let fits = leaves <= now || self.depth.saturating_add(len) <= self.limit();
        fits.then_some(Plan {
            leaves,
            len,
            virtual_end,
        })
    }

    /// Accepts the packet that was just planned.
    pub(super) fn accept(&mut self, plan: Plan, carried: T) {
        let Plan {
            leaves,
            len,
            virtual_end,
        } = plan;
        self.virtual_end = Some(virtual_end);
        self.depth += len;
        self.deepest = self.deepest.max(self.depth);
        self.waiting.push_back(Waiting {
            leaves,
            carried,
            len,
            virtual_end,
        });
    }

    /// From now on another rate and another queue. What waits keeps its place and leaves at the new rate, even
    /// where the new queue would not have had room for it.
    pub(super) fn change(&mut self, now: Instant, rate: Option<Rate>, queue: Queue) {
        let start = self.start(now);
        let scale = |work: Duration| match (self.rate, rate) {
            (Some(old), Some(new)) => {
                let nanos = work.as_nanos() * u128::from(old.as_bits()) / u128::from(new.as_bits());
                u64::try_from(nanos).map_or(Duration::MAX, Duration::from_nanos)
            }
            _ => Duration::ZERO,
        };
        // The first in line may have been sent in part, and the policer may be in debt: both are work left over.
        let first_end = self.waiting.front().map(|first| first.virtual_end);
        let left_over = first_end
            .or(self.virtual_end)
            .map_or(Duration::ZERO, |end| {
                scale(end.saturating_duration_since(start))
            });
        let was_unlimited = self.rate.is_none();
        self.rate = rate;
        self.queue = queue;
        self.reschedule(start, left_over, was_unlimited);
    }

    /// Nothing leaves before `until`; then everything goes on where it stopped.
    pub(super) fn stall(&mut self, now: Instant, until: Instant) {
        let start = self.start(now);
        let first_end = self.waiting.front().map(|first| first.virtual_end);
        let left_over = first_end
            .or(self.virtual_end)
            .map_or(Duration::ZERO, |end| end.saturating_duration_since(start));
        self.stalled_until = Some(until.max(start));
        self.reschedule(self.start(now), left_over, false);
    }

    /// Everything that waits, in the order of leaving.
    pub(super) fn waiting_mut(&mut self) -> impl Iterator<Item = (Instant, &mut T)> {
        self.waiting
            .iter_mut()
            .map(|waiting| (waiting.leaves, &mut waiting.carried))
    }

    /// Gives everything that waits a new time to leave: service starts at `start`, and the first in line needs
    /// `left_over` more (all of its own sending time where there was no rate before).
    fn reschedule(&mut self, start: Instant, left_over: Duration, first_is_whole: bool) {
        let mut end = start + left_over;
        let mut waiting = std::mem::take(&mut self.waiting);
        for (place, packet) in waiting.iter_mut().enumerate() {
            if place > 0 || first_is_whole {
                end += self.cost(packet.len);
            }
            packet.virtual_end = end;
            packet.leaves = self.leaves(start, end);
        }
        self.waiting = waiting;
        self.virtual_end = Some(end);
    }

    fn start(&self, now: Instant) -> Instant {
        self.stalled_until.map_or(now, |until| until.max(now))
    }

    fn cost(&self, len: u64) -> Duration {
        self.rate.map_or(Duration::ZERO, |rate| rate.time_for(len))
    }

    fn leaves(&self, start: Instant, virtual_end: Instant) -> Instant {
        let ahead = match self.queue {
            Queue::DropTail { .. } => Duration::ZERO,
            Queue::Policer { burst, .. } => self.cost(burst),
        };
        virtual_end
            .checked_sub(ahead)
            .map_or(start, |leaves| leaves.max(start))
    }

    fn limit(&self) -> u64 {
        match self.queue {
            Queue::DropTail { bytes } => bytes,
            Queue::Policer { queue, .. } => queue,
        }
    }
}

/// A place in the queue, not yet taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    /// When the packet leaves the queue, if it is accepted.
    pub(super) leaves: Instant,
    len: u64,
    virtual_end: Instant,
}

#[cfg(test)]
mod tests;
