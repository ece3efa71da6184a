//! Sans-I/O: the queue of a link, which is emptied at the link's rate.
//!
//! A tail-drop queue and a policer are the same machine with different parameters (GCRA, the virtual scheduling form of a
//! leaky bucket). Both keep a *virtual clock*: when all accepted packets would have been sent, without a pause. A packet
//! advances it by its transmission time. In a tail-drop queue a packet departs at that time; with a policer it departs
//! earlier, by the time that a full bucket is worth.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::config::{Queue, Rate};

/// A packet in the queue.
#[derive(Debug, Clone)]
pub(crate) struct Entry<T> {
    /// When the packet departs.
    pub(crate) departs: Instant,
    /// What the caller has to know about the packet.
    pub(crate) packet: T,
    len: u64,
    /// The virtual clock, this packet included.
    virtual_end: Instant,
}

/// A queue and the rate at which it is emptied.
#[derive(Debug)]
pub(crate) struct Bottleneck<T> {
    rate: Option<Rate>,
    queue: Queue,
    virtual_end: Option<Instant>,
    /// No packet departs before this time.
    stalled_until: Option<Instant>,
    entries: VecDeque<Entry<T>>,
    depth: u64,
    max_depth: u64,
}

impl<T> Bottleneck<T> {
    pub(crate) fn new(rate: Option<Rate>, queue: Queue) -> Self {
        Self {
            rate,
            queue,
            virtual_end: None,
            stalled_until: None,
            entries: VecDeque::new(),
            depth: 0,
            max_depth: 0,
        }
    }

    /// Returns the bytes in the queue, as of the last call with a time.
    pub(crate) fn depth(&self) -> u64 {
        self.depth
    }

    /// Returns the maximum of bytes that were in the queue.
    pub(crate) fn max_depth(&self) -> u64 {
        self.max_depth
    }

    /// Removes and returns the next packet that has departed by `now`.
    pub(crate) fn poll_departed(&mut self, now: Instant) -> Option<Entry<T>> {
        if self.entries.front()?.departs > now {
            return None;
        }
        let departed = self.entries.pop_front()?;
        self.depth -= departed.len;
        Some(departed)
    }

    /// Plans a packet that comes now; `None` if there is no room for it. Departed packets must have been removed before.
    pub(crate) fn plan(&self, now: Instant, len: u64) -> Option<Plan> {
        let start = self.start(now);
        let virtual_end = self.virtual_end.map_or(start, |end| end.max(start)) + self.cost(len);
        let departs = self.departure(start, virtual_end);
        let fits = departs <= now || self.depth.saturating_add(len) <= self.limit();
        fits.then_some(Plan {
            departs,
            len,
            virtual_end,
        })
    }

    /// Adds the packet that was just planned.
    pub(crate) fn accept(&mut self, plan: Plan, packet: T) {
        let Plan {
            departs,
            len,
            virtual_end,
        } = plan;
        self.virtual_end = Some(virtual_end);
        self.depth += len;
        self.max_depth = self.max_depth.max(self.depth);
        self.entries.push_back(Entry {
            departs,
            packet,
            len,
            virtual_end,
        });
    }

    /// Changes the rate and the queue. Packets in the queue keep their order and depart at the new rate, even where the new
    /// queue would not have had room for them.
    pub(crate) fn change(&mut self, now: Instant, rate: Option<Rate>, queue: Queue) {
        let start = self.start(now);
        let scale = |work: Duration| match (self.rate, rate) {
            (Some(old), Some(new)) => {
                let nanos = work.as_nanos() * u128::from(old.as_bits()) / u128::from(new.as_bits());
                u64::try_from(nanos).map_or(Duration::MAX, Duration::from_nanos)
            }
            _ => Duration::ZERO,
        };
        // The first packet may have been sent in part, and a policer may be in debt.
        let first_end = self.entries.front().map(|first| first.virtual_end);
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

    /// Stops the queue until `until`.
    pub(crate) fn stall(&mut self, now: Instant, until: Instant) {
        let start = self.start(now);
        let first_end = self.entries.front().map(|first| first.virtual_end);
        let left_over = first_end
            .or(self.virtual_end)
            .map_or(Duration::ZERO, |end| end.saturating_duration_since(start));
        self.stalled_until = Some(until.max(start));
        self.reschedule(self.start(now), left_over, false);
    }

    /// Returns the departure of each packet in the queue, in order.
    pub(crate) fn entries_mut(&mut self) -> impl Iterator<Item = (Instant, &mut T)> {
        self.entries
            .iter_mut()
            .map(|entry| (entry.departs, &mut entry.packet))
    }

    /// Computes the departures anew. Transmission begins at `start`, and the first packet needs `left_over` more; without a
    /// rate before (`first_is_whole`), all of its transmission time.
    fn reschedule(&mut self, start: Instant, left_over: Duration, first_is_whole: bool) {
        let mut end = start + left_over;
        let mut entries = std::mem::take(&mut self.entries);
        for (index, entry) in entries.iter_mut().enumerate() {
            if index > 0 || first_is_whole {
                end += self.cost(entry.len);
            }
            entry.virtual_end = end;
            entry.departs = self.departure(start, end);
        }
        self.entries = entries;
        self.virtual_end = Some(end);
    }

    fn start(&self, now: Instant) -> Instant {
        self.stalled_until.map_or(now, |until| until.max(now))
    }

    fn cost(&self, len: u64) -> Duration {
        self.rate.map_or(Duration::ZERO, |rate| rate.time_for(len))
    }

    fn departure(&self, start: Instant, virtual_end: Instant) -> Instant {
        let ahead = match self.queue {
            Queue::DropTail { .. } => Duration::ZERO,
            Queue::Policer { burst, .. } => self.cost(burst),
        };
        virtual_end
            .checked_sub(ahead)
            .map_or(start, |departs| departs.max(start))
    }

    fn limit(&self) -> u64 {
        match self.queue {
            Queue::DropTail { bytes } => bytes,
            Queue::Policer { queue, .. } => queue,
        }
    }
}

/// A packet that would fit into the queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// When the packet departs, if it is accepted.
    pub(crate) departs: Instant,
    len: u64,
    virtual_end: Instant,
}

#[cfg(test)]
mod tests;
