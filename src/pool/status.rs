//! Pure: what can be seen of a pool from outside: numbers now, counts since the start, and why streams left.

use std::{fmt, time::Duration};

/// Names one stream of one pool, never used twice. Says nothing about the stream's number on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub(super) u64);

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a stream left the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EvictReason {
    /// [`is_broken`](super::ManageStream::is_broken) said so.
    Broken,
    /// A probe came back with an error.
    ProbeFailed,
    /// A probe was not answered in time.
    ProbeTimedOut,
    /// It lay unused above `min` for [`Config::idle_timeout`](super::Config::idle_timeout).
    Idle,
    /// It was older than [`Config::max_age`](super::Config::max_age).
    Aged,
    /// Its guard was dropped within a frame, or by a panic.
    Dirty,
    /// Its holder asked for it: [`PooledStream::discard`](super::PooledStream::discard).
    Discarded,
    /// The pool was closed.
    Closed,
}

impl EvictReason {
    /// Every reason, in the order of declaration.
    pub const ALL: [Self; 8] = [
        Self::Broken,
        Self::ProbeFailed,
        Self::ProbeTimedOut,
        Self::Idle,
        Self::Aged,
        Self::Dirty,
        Self::Discarded,
        Self::Closed,
    ];

    /// A name for labels: lower case, words joined by underscores.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::ProbeFailed => "probe_failed",
            Self::ProbeTimedOut => "probe_timed_out",
            Self::Idle => "idle",
            Self::Aged => "aged",
            Self::Dirty => "dirty",
            Self::Discarded => "discarded",
            Self::Closed => "closed",
        }
    }
}

impl fmt::Display for EvictReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Counts since the pool was made. They only grow.
///
/// `opened` equals the streams there are now ([`Status::streams`]) plus all that retired.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Streams the manager opened, whether or not they then passed their first probe.
    pub opened: u64,
    /// Opens that brought no usable stream, other than those in `refused`: errors, time limits, and first
    /// probes that failed.
    pub open_failed: u64,
    /// Opens that the peer's limit refused.
    pub refused: u64,
    /// Streams handed to a caller.
    pub checkouts: u64,
    /// How long all those callers waited, added up.
    pub checkout_wait: Duration,
    /// Callers who left the line before they were served: their future was dropped or their time was up.
    pub gave_up: u64,
    retired: [u64; EvictReason::ALL.len()],
}

impl Counts {
    /// Streams that left for this reason.
    #[must_use]
    pub const fn retired(&self, why: EvictReason) -> u64 {
        self.retired[why as usize]
    }

    /// Streams that left for whatever reason.
    #[must_use]
    pub fn retired_total(&self) -> u64 {
        self.retired.iter().sum()
    }

    pub(super) const fn retire(&mut self, why: EvictReason) {
        self.retired[why as usize] += 1;
    }
}

/// What a pool holds at one moment. The numbers belong together: they are read under one lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Streams ready to be handed out, or to be probed first if they lay for long.
    pub idle: usize,
    /// Streams in the hands of callers.
    pub in_use: usize,
    /// Streams that came back and are being tested before they are idle again.
    pub returning: usize,
    /// Idle streams that are being probed.
    pub testing: usize,
    /// Streams on their way: being opened, or in their first probe.
    pub opening: usize,
    /// Callers in line.
    pub waiting: usize,
    /// [`Config::min`](super::Config::min).
    pub min: usize,
    /// [`Config::max`](super::Config::max).
    pub max: usize,
    /// How many streams there were, opening ones included, when the peer refused another one; `None` once an
    /// open succeeded after that.
    pub limit: Option<usize>,
    /// Whether the pool is closed.
    pub closed: bool,
    /// What happened since the start.
    pub counts: Counts,
}

impl Status {
    /// Streams that exist: idle, in use, returning and testing.
    #[must_use]
    pub const fn streams(&self) -> usize {
        self.idle + self.in_use + self.returning + self.testing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_counted_in_a_place_of_its_own_under_a_name_of_its_own() {
        let mut counts = Counts::default();
        for (n, why) in EvictReason::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, n);
            for _ in 0..=n {
                counts.retire(why);
            }
        }
        for (n, why) in EvictReason::ALL.into_iter().enumerate() {
            assert_eq!(counts.retired(why), n as u64 + 1);
        }
        assert_eq!(counts.retired_total(), 36);
        let names: std::collections::BTreeSet<_> = EvictReason::ALL
            .into_iter()
            .map(EvictReason::name)
            .collect();
        assert_eq!(names.len(), EvictReason::ALL.len());
    }
}
