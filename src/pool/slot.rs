//! Sans-I/O: one stream with its times, and the tokens that represent it while it is opened, held or probed.
//!
//! No token can be copied, and only [`PoolState`](super::state::PoolState) makes them. So no stream has two holders.

use std::time::Instant;

use super::{config::Config, status::StreamId};

/// The right to open one stream. It counts against `max` until it is returned.
#[derive(Debug)]
#[must_use = "a lost permit counts against `max` for ever"]
pub(super) struct Permit(pub(super) ());

/// A stream and its times. Whoever has the slot has the stream.
#[derive(Debug)]
#[must_use = "a lost slot counts against `max` for ever"]
pub(super) struct Slot<S> {
    pub(super) id: StreamId,
    /// When the stream entered the pool.
    pub(super) entered_at: Instant,
    /// When it last answered a probe.
    pub(super) probed_at: Instant,
    /// When it was last given back, or entered.
    pub(super) idle_since: Instant,
    pub(super) stream: S,
}

/// A stream that is being probed, and which count it belongs to.
#[derive(Debug)]
#[must_use = "a lost stream counts against `max` for ever"]
pub(super) struct Probing<S> {
    pub(super) slot: Slot<S>,
    /// True for a stream that a holder gave back, false for one that was idle.
    pub(super) returned: bool,
}

impl<S> Slot<S> {
    /// Makes the slot of a stream that has just answered its first probe.
    pub(super) const fn new(id: StreamId, stream: S, now: Instant) -> Self {
        Self {
            id,
            entered_at: now,
            probed_at: now,
            idle_since: now,
            stream,
        }
    }

    /// Whether it may be handed out without a probe.
    pub(super) fn is_ready(&self, config: &Config, now: Instant) -> bool {
        now.saturating_duration_since(self.idle_since.max(self.probed_at)) <= config.max_idle
    }

    /// Whether its last answered probe is recent enough for it to go back without another.
    pub(super) fn is_probe_valid(&self, config: &Config, now: Instant) -> bool {
        let age = now.saturating_duration_since(self.probed_at);
        !config.probe_validity.is_zero() && age <= config.probe_validity
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
        self.entered_at.checked_add(config.max_age?)
    }

    pub(super) fn idled_out_at(&self, config: &Config) -> Option<Instant> {
        self.idle_since.checked_add(config.idle_timeout?)
    }

    pub(super) fn check_due_at(&self, config: &Config) -> Option<Instant> {
        self.probed_at.checked_add(config.check_interval?)
    }
}

impl<S> Probing<S> {
    pub(super) const fn id(&self) -> StreamId {
        self.slot.id
    }

    pub(super) const fn stream(&mut self) -> &mut S {
        &mut self.slot.stream
    }
}
