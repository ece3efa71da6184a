//! Pure: the pool's books: which streams there are, who waits for one, and what to do next.
//!
//! A stream (`S`) and a waiter (`W`) are only carried, so tests use integers. A stream is moved, never copied:
//! while it is idle the books hold it, while it is in use its holder has the [`Slot`], while it is probed
//! the prober has the [`Trial`], and while it is being opened there is a [`Permit`] in its place. Each of
//! the three has to come back through one of the `on_` methods, and so none is handed out twice.
//!
//! ```text
//!            Permit                 Slot
//!   room ──▶ opening ──▶ idle ────▶ out ──▶ returning ──▶ back to idle
//!                │       │  ▲ Trial  │          │ Trial
//!                │       ▼  │        │          │
//!                │      testing      │          │
//!                ▼          ▼        ▼          ▼
//!              leaving: discarded, each with its reason
//! ```
//!
//! Two questions follow every change: [`Slots::poll`], which anyone may ask and carry out on the spot, and
//! [`Slots::poll_work`], which takes tasks and belongs to the keeper. Both are asked until they say `None`;
//! then [`Slots::poll_wake`] tells when time alone will have something to do.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use super::{
    config::Config,
    pace::Pace,
    slot::{Permit, Slot, Trial},
    status::{Counts, EvictReason, Status, StreamId},
};

/// A caller's place in the line, in the order of asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

/// A waiter that was taken out of the line, with its place.
#[derive(Debug)]
pub(super) struct Waiting<W> {
    ticket: Ticket,
    pub(super) waiter: W,
}

/// To be done at once, by whoever asked.
#[derive(Debug)]
pub(super) enum Action<S, W> {
    /// Throw the stream away, then call [`Slots::on_discarded`].
    Discard(S, EvictReason),
    /// Test the stream cheaply, then give it to the waiter.
    Hand(Waiting<W>, Slot<S>),
    /// Tell the waiter that the pool is closed.
    TellClosed(W),
}

/// To be done in a task.
#[derive(Debug)]
pub(super) enum Work<S> {
    /// Open a stream and probe it.
    Open(Permit),
    /// Probe a stream.
    Test(Trial<S>),
}

/// How an open failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The peer permits no further stream.
    Refused,
    /// No stream came of it.
    NotOpened,
    /// A stream came of it and was thrown away before it entered.
    Unproved(EvictReason),
}

/// What [`Slots::next_work`] chose.
enum Choice {
    TestReturned,
    TestIdle(usize),
    Open,
}

/// The books of one pool.
#[derive(Debug)]
pub(super) struct Slots<S, W> {
    config: Config,
    closed: bool,
    /// Ready streams, the one used last at the back. Handed out from there, so that the others grow old and go.
    idle: VecDeque<Slot<S>>,
    /// Given back, or idle for too long when someone asked; to be probed before anything else.
    returned: VecDeque<Slot<S>>,
    /// Counted out already, not yet handed to the manager.
    leaving: VecDeque<(S, EvictReason)>,
    /// With the manager to be discarded. They take room until they are gone, so that `max` holds for the peer too.
    discarding: usize,
    line: BTreeMap<Ticket, W>,
    in_use: usize,
    opening: usize,
    /// Trials under way of streams that were given back.
    proving: usize,
    /// Trials under way of streams that were idle.
    testing: usize,
    pace: Pace,
    next_id: u64,
    next_ticket: u64,
    counts: Counts,
}

impl<S, W> Slots<S, W> {
    pub(super) fn new(config: Config) -> Self {
        Self {
            pace: Pace::new(config.open_retry),
            config,
            closed: false,
            idle: VecDeque::new(),
            returned: VecDeque::new(),
            leaving: VecDeque::new(),
            discarding: 0,
            line: BTreeMap::new(),
            in_use: 0,
            opening: 0,
            proving: 0,
            testing: 0,
            next_id: 0,
            next_ticket: 0,
            counts: Counts::default(),
        }
    }

    // The line.

    /// Joins the end of the line.
    pub(super) fn join(&mut self, waiter: W) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.line.insert(ticket, waiter);
        ticket
    }

    /// Goes back to the place in the line that the waiter had: its stream turned out to be broken.
    pub(super) fn rejoin(&mut self, waiting: Waiting<W>) {
        self.line.insert(waiting.ticket, waiting.waiter);
    }

    /// Leaves the line; `None` where the waiter was served in the meantime.
    pub(super) fn leave(&mut self, ticket: Ticket) -> Option<W> {
        self.line.remove(&ticket)
    }

    /// The next ready stream for a caller who does not wait, unless others do. Where only a stream that lay
    /// for too long is there, it is sent to be probed, so that a later call finds it.
    pub(super) fn try_take(&mut self, now: Instant) -> Option<Slot<S>> {
        if self.closed || !self.line.is_empty() {
            return None;
        }
        self.sweep(now);
        if let Some(slot) = self.take_ready(now) {
            return Some(slot);
        }
        if self.proving + self.testing + self.returned.len() == 0 {
            self.returned.extend(self.idle.pop_back());
        }
        None
    }

    // What became of what was handed out.

    /// A stream was opened and answered its first probe: it enters.
    pub(super) fn on_opened(&mut self, permit: Permit, stream: S, now: Instant) {
        let Permit(()) = permit;
        self.opening -= 1;
        self.counts.opened += 1;
        self.pace.on_opened();
        let id = StreamId(self.next_id);
        self.next_id += 1;
        self.settle(Slot::new(id, stream, now));
    }

    /// No stream entered. Returns the waiter who is to be told why: the head of the line, unless what is
    /// still on its way is enough for the whole line, or the peer's limit is the reason and a stream may come
    /// back.
    pub(super) fn on_open_failed(
        &mut self,
        permit: Permit,
        failure: Failure,
        now: Instant,
    ) -> Option<W> {
        let Permit(()) = permit;
        self.opening -= 1;
        if let Failure::Unproved(why) = failure {
            self.counts.opened += 1;
            self.counts.retire(why);
        }
        if self.closed {
            return None;
        }
        if failure == Failure::Refused {
            self.counts.refused += 1;
            self.pace.on_refused(self.total(), now);
            if self.total() > 0 {
                return None;
            }
        } else {
            self.counts.open_failed += 1;
            self.pace.on_failed(now);
        }
        match self.unserved() {
            0 => None,
            _ => self.line.pop_first().map(|(_, waiter)| waiter),
        }
    }

    /// A stream answered its probe and is idle.
    pub(super) fn on_passed(&mut self, trial: Trial<S>, now: Instant) {
        let mut slot = self.end_trial(trial);
        slot.proved = now;
        self.settle(slot);
    }

    /// A stream did not pass its test and leaves.
    pub(super) fn on_failed(&mut self, trial: Trial<S>, why: EvictReason) {
        let slot = self.end_trial(trial);
        self.dismiss(slot, why);
    }

    /// A holder gave the stream back clean. It is probed before it is idle, unless its last proof is recent
    /// enough to be trusted.
    pub(super) fn on_returned(&mut self, mut slot: Slot<S>, now: Instant) {
        self.in_use -= 1;
        slot.since = now;
        if self.closed {
            self.dismiss(slot, EvictReason::Closed);
        } else if slot.is_aged(&self.config, now) {
            self.dismiss(slot, EvictReason::Aged);
        } else if slot.is_trusted(&self.config, now) {
            self.settle(slot);
        } else {
            self.returned.push_back(slot);
        }
    }

    /// The stream was handed out and never reached its caller: as it was before.
    pub(super) fn on_unused(&mut self, slot: Slot<S>) {
        self.in_use -= 1;
        self.settle(slot);
    }

    /// The stream reached its caller.
    pub(super) fn on_delivered(&mut self, waited: Duration) {
        self.counts.checkouts += 1;
        self.counts.checkout_wait = self.counts.checkout_wait.saturating_add(waited);
    }

    /// A caller went away unserved.
    pub(super) fn on_gave_up(&mut self) {
        self.counts.gave_up += 1;
    }

    /// A stream in somebody's hands leaves.
    pub(super) fn retire(&mut self, slot: Slot<S>, why: EvictReason) {
        self.in_use -= 1;
        self.dismiss(slot, why);
    }

    /// The manager is done with a stream that was to be discarded.
    pub(super) const fn on_discarded(&mut self) {
        self.discarding -= 1;
    }

    /// Nothing enters any more, and everything leaves.
    pub(super) fn close(&mut self) {
        self.closed = true;
        while let Some(slot) = self.idle.pop_front().or_else(|| self.returned.pop_front()) {
            self.dismiss(slot, EvictReason::Closed);
        }
    }

    // What to do next.

    /// What can be done on the spot.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Action<S, W>> {
        self.sweep(now);
        if let Some((stream, why)) = self.leaving.pop_front() {
            self.discarding += 1;
            return Some(Action::Discard(stream, why));
        }
        let head = self.line.first_entry()?;
        if self.closed {
            return Some(Action::TellClosed(head.remove()));
        }
        let slot = self.take_ready(now)?;
        let (ticket, waiter) = self.line.pop_first()?;
        Some(Action::Hand(Waiting { ticket, waiter }, slot))
    }

    /// What takes a task.
    pub(super) fn poll_work(&mut self, now: Instant) -> Option<Work<S>> {
        Some(match self.next_work(now)? {
            Choice::TestReturned => {
                self.proving += 1;
                let slot = self.returned.pop_front()?;
                Work::Test(Trial {
                    slot,
                    returned: true,
                })
            }
            Choice::TestIdle(at) => {
                self.testing += 1;
                let slot = self.idle.remove(at)?;
                Work::Test(Trial {
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

    /// Whether [`Slots::poll_work`] has something.
    pub(super) fn has_work(&self, now: Instant) -> bool {
        self.next_work(now).is_some()
    }

    /// When to ask again if nothing else happens; `None` when time alone changes nothing.
    pub(super) fn poll_wake(&self) -> Option<Instant> {
        if self.closed {
            return None;
        }
        let may_check = self.may_check();
        let surplus = self.line.is_empty() && self.total() > self.config.min;
        let deadlines = self.idle.iter().flat_map(|slot| {
            [
                slot.check_due_at(&self.config).filter(|_| may_check),
                slot.aged_at(&self.config),
                slot.idled_out_at(&self.config).filter(|_| surplus),
            ]
        });
        let wants_open = self.has_room() && (self.total() < self.config.min || self.unserved() > 0);
        let retry = self.pace.opens_at(self.opening).filter(|_| wants_open);
        deadlines.flatten().chain(retry).min()
    }

    pub(super) const fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) const fn at_limit(&self) -> bool {
        self.pace.limit().is_some()
    }

    pub(super) fn status(&self) -> Status {
        Status {
            idle: self.idle.len(),
            in_use: self.in_use,
            returning: self.returned.len() + self.proving,
            testing: self.testing,
            opening: self.opening,
            waiting: self.line.len(),
            min: self.config.min,
            max: self.config.max,
            limit: self.pace.limit(),
            closed: self.closed,
            counts: self.counts,
        }
    }

    // The parts.

    /// All that is or will be of use.
    fn total(&self) -> usize {
        self.idle.len()
            + self.returned.len()
            + self.proving
            + self.testing
            + self.opening
            + self.in_use
    }

    /// Whether one more stream may exist.
    fn has_room(&self) -> bool {
        self.total() + self.leaving.len() + self.discarding < self.config.max
    }

    /// Waiters for whom nothing is on its way.
    fn unserved(&self) -> usize {
        let coming = self.opening + self.proving + self.testing + self.returned.len();
        self.line.len().saturating_sub(coming)
    }

    fn next_work(&self, now: Instant) -> Option<Choice> {
        if self.closed {
            return None;
        }
        if !self.returned.is_empty() {
            return Some(Choice::TestReturned);
        }
        if self.unserved() > 0 {
            // What is idle while someone waits lay for too long to be handed out untested.
            if let Some(last) = self.idle.len().checked_sub(1) {
                return Some(Choice::TestIdle(last));
            }
            if self.has_room() && self.may_open_for_waiter(now) {
                return Some(Choice::Open);
            }
        }
        let below_min = self.total() < self.config.min && self.has_room();
        if below_min && self.pace.may_open(self.opening, now) {
            return Some(Choice::Open);
        }
        let due = |slot: &Slot<S>| slot.is_check_due(&self.config, now);
        match self.may_check() {
            true => self.idle.iter().position(due).map(Choice::TestIdle),
            false => None,
        }
    }

    /// A waiter's open needs no pause, except at the peer's limit while a stream may come back instead.
    fn may_open_for_waiter(&self, now: Instant) -> bool {
        self.pace.limit().is_none() || self.total() == 0 || self.pace.may_open(self.opening, now)
    }

    /// At most half of the idle streams are away for a check.
    fn may_check(&self) -> bool {
        self.testing == 0 || self.testing < self.idle.len()
    }

    /// Sends away what is over age, and what nobody used for too long and `min` does not need.
    fn sweep(&mut self, now: Instant) {
        let mut at = 0;
        while let Some(slot) = self.idle.get(at) {
            let unneeded = self.line.is_empty()
                && self.total() > self.config.min
                && slot.is_idled_out(&self.config, now);
            let why = if slot.is_aged(&self.config, now) {
                EvictReason::Aged
            } else if unneeded {
                EvictReason::Idle
            } else {
                at += 1;
                continue;
            };
            if let Some(slot) = self.idle.remove(at) {
                self.dismiss(slot, why);
            }
        }
    }

    /// Takes out the stream that was used last among those that may be handed out without a probe.
    fn take_ready(&mut self, now: Instant) -> Option<Slot<S>> {
        let ready = |slot: &Slot<S>| slot.is_ready(&self.config, now);
        let at = self.idle.iter().rposition(ready)?;
        let slot = self.idle.remove(at)?;
        self.in_use += 1;
        Some(slot)
    }

    fn end_trial(&mut self, trial: Trial<S>) -> Slot<S> {
        match trial.returned {
            true => self.proving -= 1,
            false => self.testing -= 1,
        }
        trial.slot
    }

    /// Puts a stream among the idle ones, in the order of last use.
    fn settle(&mut self, slot: Slot<S>) {
        if self.closed {
            return self.dismiss(slot, EvictReason::Closed);
        }
        let at = self.idle.partition_point(|other| other.since <= slot.since);
        self.idle.insert(at, slot);
    }

    fn dismiss(&mut self, slot: Slot<S>, why: EvictReason) {
        self.counts.retire(why);
        self.leaving.push_back((slot.stream, why));
    }
}

#[cfg(test)]
mod tests;
