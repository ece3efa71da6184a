//! Sans-I/O: which streams a pool has, who waits for one, and what is to be done next.
//!
//! Streams (`S`) and waiters (`W`) are only stored and moved, so the tests use integers. A stream has one owner at a time:
//! [`PoolState`] while it is idle, the holder of its [`Slot`] while it is in use, and the holder of its [`Probing`] while it is
//! probed. A [`Permit`] represents a stream that is being opened. Each of these three tokens comes back through one of the
//! `on_` methods.
//!
//! ```text
//!   Permit               Slot
//!   opening ──▶ idle ──▶ in use ──▶ returning ──▶ idle
//!      │        │  ▲        │           │
//!      │        ▼  │        │           │  Probing
//!      │      checking      │           │
//!      ▼          ▼         ▼           ▼
//!     evicted: handed to `discard`, with an EvictReason
//! ```
//!
//! After every change the driver calls two methods until they return `None`. [`PoolState::poll`] returns what any thread
//! can do at once. [`PoolState::poll_work`] returns what needs a task, and is for the maintenance task alone.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use super::{
    config::Config,
    open_backoff::OpenBackoff,
    slot::{Permit, Probing, Slot},
    status::{Counts, EvictReason, Status, StreamId},
};

/// A waiter's place in the queue. Tickets are ordered by arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

/// A waiter that was taken from the queue, with the place it had.
#[derive(Debug)]
pub(super) struct Dequeued<W> {
    ticket: Ticket,
    pub(super) waiter: W,
}

/// What the caller of [`PoolState::poll`] must do.
#[derive(Debug)]
pub(super) enum Action<S, W> {
    /// Discard the stream, then call [`PoolState::on_discarded`].
    Discard(S, EvictReason),
    /// Check that the stream is not broken, then hand it to the waiter.
    Deliver(Dequeued<W>, Slot<S>),
    /// Tell the waiter that the pool is closed.
    RejectClosed(W),
}

/// What the maintenance task must start.
#[derive(Debug)]
pub(super) enum Work<S> {
    /// Open a stream and probe it.
    Open(Permit),
    /// Probe a stream of the pool.
    Probe(Probing<S>),
}

/// How an open failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OpenFailure {
    /// The peer permits no further stream.
    AtPeerLimit,
    /// No stream was opened.
    NotOpened,
    /// A stream was opened and discarded because its first probe failed.
    Unproven(EvictReason),
}

/// What [`PoolState::next_work`] chose.
enum Choice {
    ProbeReturned,
    ProbeIdle(usize),
    Open,
}

/// All that one pool knows, without its lock and its tasks.
#[derive(Debug)]
pub(super) struct PoolState<S, W> {
    config: Config,
    closed: bool,
    /// Idle streams in the order of last use, the latest at the back. Streams are handed out from the back, so that those
    /// at the front reach their idle timeout.
    idle: VecDeque<Slot<S>>,
    /// Streams that were given back and must be probed before they are idle. Probes of them have not begun.
    returned: VecDeque<Slot<S>>,
    /// Streams that were evicted and wait to be discarded.
    evicted: VecDeque<(S, EvictReason)>,
    /// Streams that the manager is discarding. They count against `max` until it has, so that the peer never sees more.
    discarding: usize,
    waiters: BTreeMap<Ticket, W>,
    in_use: usize,
    opening: usize,
    /// Returned streams that are being probed.
    probing_returned: usize,
    /// Idle streams that are being probed.
    checking: usize,
    backoff: OpenBackoff,
    /// When the maintenance task wakes by itself. Written when it goes to sleep.
    scheduled: Option<Instant>,
    next_id: u64,
    next_ticket: u64,
    counts: Counts,
}

impl<S, W> PoolState<S, W> {
    pub(super) fn new(config: Config) -> Self {
        Self {
            backoff: OpenBackoff::new(config.open_retry),
            config,
            closed: false,
            idle: VecDeque::new(),
            returned: VecDeque::new(),
            evicted: VecDeque::new(),
            discarding: 0,
            waiters: BTreeMap::new(),
            in_use: 0,
            opening: 0,
            probing_returned: 0,
            checking: 0,
            scheduled: None,
            next_id: 0,
            next_ticket: 0,
            counts: Counts::default(),
        }
    }

    // The queue of waiters.

    /// Adds a waiter at the end of the queue.
    pub(super) fn enqueue(&mut self, waiter: W) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.waiters.insert(ticket, waiter);
        ticket
    }

    /// Puts a waiter back at the place that it had, because its stream was broken.
    pub(super) fn requeue(&mut self, dequeued: Dequeued<W>) {
        self.waiters.insert(dequeued.ticket, dequeued.waiter);
    }

    /// Removes a waiter from the queue. Returns `None` if it was served in the meantime.
    pub(super) fn cancel(&mut self, ticket: Ticket) -> Option<W> {
        self.waiters.remove(&ticket)
    }

    // What happened to tokens.

    /// Enters a stream that was opened and answered its first probe.
    pub(super) fn on_opened(&mut self, permit: Permit, stream: S, now: Instant) {
        let Permit(()) = permit;
        self.opening -= 1;
        self.counts.opened += 1;
        self.backoff.on_opened();
        let id = StreamId(self.next_id);
        self.next_id += 1;
        self.make_idle(Slot::new(id, stream, now));
    }

    /// Ends an open that brought no stream. Returns the waiter that must be told why.
    ///
    /// That is the first in the queue. There is none if the opens and probes under way are enough for the whole queue, or
    /// if the peer's limit is the reason and a stream in use may come back.
    pub(super) fn on_open_failed(
        &mut self,
        permit: Permit,
        failure: OpenFailure,
        now: Instant,
    ) -> Option<W> {
        let Permit(()) = permit;
        self.opening -= 1;
        if let OpenFailure::Unproven(reason) = failure {
            self.counts.opened += 1;
            self.counts.on_evicted(reason);
        }
        if self.closed {
            return None;
        }
        if failure == OpenFailure::AtPeerLimit {
            self.backoff.on_refused(self.total(), now);
            if self.total() > 0 {
                return None;
            }
        } else {
            self.backoff.on_failed(now);
        }
        match self.unserved() {
            0 => None,
            _ => self.waiters.pop_first().map(|(_, waiter)| waiter),
        }
    }

    /// Ends the probe of a stream that answered it. The stream becomes idle.
    pub(super) fn on_probe_passed(&mut self, probing: Probing<S>, now: Instant) {
        let mut slot = self.end_probing(probing);
        slot.probed_at = now;
        self.make_idle(slot);
    }

    /// Ends the probe of a stream that failed it. The stream is evicted.
    pub(super) fn on_probe_failed(&mut self, probing: Probing<S>, reason: EvictReason) {
        let slot = self.end_probing(probing);
        self.evict(slot, reason);
    }

    /// Takes back a stream that its holder left between two frames. It is probed before it is idle, unless its last answered
    /// probe is still valid.
    pub(super) fn on_returned(&mut self, mut slot: Slot<S>, now: Instant) {
        self.in_use -= 1;
        slot.idle_since = now;
        if self.closed {
            self.evict(slot, EvictReason::Closed);
        } else if slot.is_aged(&self.config, now) {
            self.evict(slot, EvictReason::Aged);
        } else if slot.is_probe_valid(&self.config, now) {
            self.make_idle(slot);
        } else {
            self.returned.push_back(slot);
        }
    }

    /// Takes back a stream whose caller had gone before it was delivered. It is idle again, with the times that it had.
    pub(super) fn on_unused(&mut self, slot: Slot<S>) {
        self.in_use -= 1;
        self.make_idle(slot);
    }

    /// Takes back a stream that is of no further use, and evicts it.
    pub(super) fn on_unusable(&mut self, slot: Slot<S>, reason: EvictReason) {
        self.in_use -= 1;
        self.evict(slot, reason);
    }

    /// Frees the room of a stream that the manager has discarded.
    pub(super) const fn on_discarded(&mut self) {
        self.discarding -= 1;
    }

    /// Evicts all streams that no caller holds, and from now on every stream that comes back.
    pub(super) fn close(&mut self) {
        self.closed = true;
        while let Some(slot) = self.idle.pop_front().or_else(|| self.returned.pop_front()) {
            self.evict(slot, EvictReason::Closed);
        }
    }

    // What to do next.

    /// Returns the next thing that can be done at once, by any thread.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Action<S, W>> {
        self.evict_expired(now);
        if let Some((stream, reason)) = self.evicted.pop_front() {
            self.discarding += 1;
            return Some(Action::Discard(stream, reason));
        }
        let head = self.waiters.first_entry()?;
        if self.closed {
            return Some(Action::RejectClosed(head.remove()));
        }
        let slot = self.take_ready(now)?;
        let (ticket, waiter) = self.waiters.pop_first()?;
        Some(Action::Deliver(Dequeued { ticket, waiter }, slot))
    }

    /// Returns the next thing that needs a task.
    pub(super) fn poll_work(&mut self, now: Instant) -> Option<Work<S>> {
        Some(match self.next_work(now)? {
            Choice::ProbeReturned => {
                self.probing_returned += 1;
                let slot = self.returned.pop_front()?;
                Work::Probe(Probing {
                    slot,
                    returned: true,
                })
            }
            Choice::ProbeIdle(at) => {
                self.checking += 1;
                let slot = self.idle.remove(at)?;
                Work::Probe(Probing {
                    slot,
                    returned: false,
                })
            }
            Choice::Open => {
                self.opening += 1;
                Work::Open(Permit(()))
            }
        })
    }

    /// Returns when the maintenance task must wake if nothing else happens, and remembers that it will. `None` means that
    /// nothing becomes due by time alone.
    pub(super) fn schedule(&mut self) -> Option<Instant> {
        self.scheduled = self.next_due();
        self.scheduled
    }

    /// Whether the maintenance task must wake before the time that it was [scheduled](Self::schedule) for.
    pub(super) fn needs_maintenance(&self, now: Instant) -> bool {
        let sooner = match (self.next_due(), self.scheduled) {
            (Some(due), Some(scheduled)) => due < scheduled,
            (Some(_), None) => true,
            (None, _) => false,
        };
        sooner || self.next_work(now).is_some()
    }

    fn next_due(&self) -> Option<Instant> {
        if self.closed {
            return None;
        }
        let may_check = self.may_check();
        let surplus = self.waiters.is_empty() && self.total() > self.config.min;
        let deadlines = self.idle.iter().flat_map(|slot| {
            [
                slot.check_due_at(&self.config).filter(|_| may_check),
                slot.aged_at(&self.config),
                slot.idled_out_at(&self.config).filter(|_| surplus),
            ]
        });
        let wants_open = self.has_room() && (self.total() < self.config.min || self.unserved() > 0);
        let retry = self.backoff.opens_at(self.opening).filter(|_| wants_open);
        deadlines.flatten().chain(retry).min()
    }

    #[cfg(test)]
    pub(super) const fn scheduled(&self) -> Option<Instant> {
        self.scheduled
    }

    pub(super) const fn at_limit(&self) -> bool {
        self.backoff.limit().is_some()
    }

    pub(super) fn status(&self) -> Status {
        Status {
            idle: self.idle.len(),
            in_use: self.in_use,
            returning: self.returned.len() + self.probing_returned,
            checking: self.checking,
            opening: self.opening,
            waiting: self.waiters.len(),
            min: self.config.min,
            max: self.config.max,
            limit: self.backoff.limit(),
            closed: self.closed,
            counts: self.counts,
        }
    }

    // Parts of the above.

    /// Counts the streams that are, or may become, usable.
    fn total(&self) -> usize {
        self.idle.len()
            + self.returned.len()
            + self.probing_returned
            + self.checking
            + self.opening
            + self.in_use
    }

    /// Whether one more stream may be opened without passing `max`.
    fn has_room(&self) -> bool {
        self.total() + self.evicted.len() + self.discarding < self.config.max
    }

    /// Counts the waiters for whom no open and no probe is under way.
    fn unserved(&self) -> usize {
        let coming = self.opening + self.probing_returned + self.checking + self.returned.len();
        self.waiters.len().saturating_sub(coming)
    }

    fn next_work(&self, now: Instant) -> Option<Choice> {
        if self.closed {
            return None;
        }
        if !self.returned.is_empty() {
            return Some(Choice::ProbeReturned);
        }
        if self.unserved() > 0 {
            // An idle stream that was not handed to a waiter has exceeded `max_idle` and must be probed first.
            if let Some(last) = self.idle.len().checked_sub(1) {
                return Some(Choice::ProbeIdle(last));
            }
            if self.has_room() && self.may_open_for_waiter(now) {
                return Some(Choice::Open);
            }
        }
        let below_min = self.total() < self.config.min && self.has_room();
        if below_min && self.backoff.may_open(self.opening, now) {
            return Some(Choice::Open);
        }
        let due = |slot: &Slot<S>| slot.is_check_due(&self.config, now);
        match self.may_check() {
            true => self.idle.iter().position(due).map(Choice::ProbeIdle),
            false => None,
        }
    }

    /// Whether a stream may be opened for a waiter. No pause applies, except at the peer's limit while a stream in use may
    /// come back instead.
    fn may_open_for_waiter(&self, now: Instant) -> bool {
        self.backoff.limit().is_none()
            || self.total() == 0
            || self.backoff.may_open(self.opening, now)
    }

    /// Whether another idle stream may be probed. At least half of them stay ready.
    fn may_check(&self) -> bool {
        self.checking == 0 || self.checking < self.idle.len()
    }

    /// Evicts idle streams over `max_age`, and those above `min` that were unused for `idle_timeout`.
    fn evict_expired(&mut self, now: Instant) {
        let mut at = 0;
        while let Some(slot) = self.idle.get(at) {
            let unneeded = self.waiters.is_empty()
                && self.total() > self.config.min
                && slot.is_idled_out(&self.config, now);
            let reason = if slot.is_aged(&self.config, now) {
                EvictReason::Aged
            } else if unneeded {
                EvictReason::Idle
            } else {
                at += 1;
                continue;
            };
            if let Some(slot) = self.idle.remove(at) {
                self.evict(slot, reason);
            }
        }
    }

    /// Takes the most recently used of the streams that may be handed out without a probe.
    fn take_ready(&mut self, now: Instant) -> Option<Slot<S>> {
        let ready = |slot: &Slot<S>| slot.is_ready(&self.config, now);
        let at = self.idle.iter().rposition(ready)?;
        let slot = self.idle.remove(at)?;
        self.in_use += 1;
        Some(slot)
    }

    fn end_probing(&mut self, probing: Probing<S>) -> Slot<S> {
        match probing.returned {
            true => self.probing_returned -= 1,
            false => self.checking -= 1,
        }
        probing.slot
    }

    /// Inserts a stream among the idle ones, in the order of last use.
    fn make_idle(&mut self, slot: Slot<S>) {
        if self.closed {
            return self.evict(slot, EvictReason::Closed);
        }
        let at = self
            .idle
            .partition_point(|other| other.idle_since <= slot.idle_since);
        self.idle.insert(at, slot);
    }

    fn evict(&mut self, slot: Slot<S>, reason: EvictReason) {
        self.counts.on_evicted(reason);
        self.evicted.push_back((slot.stream, reason));
    }
}

#[cfg(test)]
mod tests;
