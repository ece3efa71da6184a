//! Pure: one stream with its papers, and the tokens that stand for it while it is away from the books.
//!
//! None of them can be copied, and only the books make them; so a stream that is in one pair of hands is in no other.

use std::time::Instant;

use super::{config::Config, status::StreamId};

/// The right to open one stream. There are never more of them than room.
#[derive(Debug)]
#[must_use = "a permit that is lost keeps its room for ever"]
pub(super) struct Permit(pub(super) ());

/// A stream with its papers, in the hands of one holder.
#[derive(Debug)]
#[must_use = "a slot that is lost keeps its room for ever"]
pub(super) struct Slot<S> {
    pub(super) id: StreamId,
    /// When it entered the pool.
    pub(super) born: Instant,
    /// When it last answered a probe.
    pub(super) proved: Instant,
    /// When it was last given back, or entered.
    pub(super) since: Instant,
    pub(super) stream: S,
}

/// A stream that is being probed, and where it came from.
#[derive(Debug)]
#[must_use = "a trial that is lost keeps its room for ever"]
pub(super) struct Trial<S> {
    pub(super) slot: Slot<S>,
    /// Given back by a holder, or idle for too long when someone asked; otherwise taken for a check.
    pub(super) returned: bool,
}

impl<S> Slot<S> {
    /// A stream that has just answered its first probe.
    pub(super) const fn new(id: StreamId, stream: S, now: Instant) -> Self {
        Self {
            id,
            born: now,
            proved: now,
            since: now,
            stream,
        }
    }

    /// Whether it may be handed out without a probe.
    pub(super) fn is_ready(&self, config: &Config, now: Instant) -> bool {
        now.saturating_duration_since(self.since.max(self.proved)) <= config.max_idle
    }

    /// Whether it may go back without a probe.
    pub(super) fn is_trusted(&self, config: &Config, now: Instant) -> bool {
        let unproved_for = now.saturating_duration_since(self.proved);
        !config.probe_validity.is_zero() && unproved_for <= config.probe_validity
    }

    pub(super) fn is_aged(&self, config: &Config, now: Instant) -> bool {
        self.aged_at(config).is_some_and(|at| at <= now)
    }

    pub(super) fn is_idled_out(&self, config: &Config, now: Instant) -> bool {
        self.idled_out_at(config).is_some_and(|at| at <= now)
    }

    pub(super) fn is_check_due(&self, config: &Config, now: Instant) -> bool {
        self.check_due_at(config).is_some_and(|at| at <= now)
    }

    pub(super) fn aged_at(&self, config: &Config) -> Option<Instant> {
        self.born.checked_add(config.max_age?)
    }

    pub(super) fn idled_out_at(&self, config: &Config) -> Option<Instant> {
        self.since.checked_add(config.idle_timeout?)
    }

    pub(super) fn check_due_at(&self, config: &Config) -> Option<Instant> {
        self.proved.checked_add(config.check_interval?)
    }
}

impl<S> Trial<S> {
    pub(super) const fn id(&self) -> StreamId {
        self.slot.id
    }

    pub(super) const fn stream(&mut self) -> &mut S {
        &mut self.slot.stream
    }
}
