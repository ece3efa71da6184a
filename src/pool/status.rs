//! Sans-I/O: what can be seen of a pool from outside: its streams now, and why earlier ones left.

use std::fmt;

/// Names one stream of one pool. Never used twice, and not the QUIC stream ID.
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
    /// [`is_broken`](super::ManageStream::is_broken) returned true.
    Broken,
    /// A probe returned an error.
    ProbeFailed,
    /// A probe was not answered in time.
    ProbeTimedOut,
    /// The stream was unused above `min` for [`Config::idle_timeout`](super::Config::idle_timeout).
    Idle,
    /// The stream was older than [`Config::max_age`](super::Config::max_age).
    Aged,
    /// The guard was dropped within a frame, or by a panic.
    Dirty,
    /// The holder called [`PooledStream::discard`](super::PooledStream::discard).
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

    /// Returns the reason's name for labels, in snake case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
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
        f.write_str(self.as_str())
    }
}

/// Totals since the pool was made.
///
/// `opened` equals the streams that exist now ([`Status::streams`]) plus all that were evicted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Streams that [`open`](super::ManageStream::open) returned, whether or not they passed their first probe.
    pub opened: u64,
    evicted: [u64; EvictReason::ALL.len()],
}

impl Counts {
    /// Returns the number of streams that left for `reason`.
    #[must_use]
    pub const fn evicted(&self, reason: EvictReason) -> u64 {
        self.evicted[reason as usize]
    }

    /// Returns the number of streams that left for any reason.
    #[must_use]
    pub fn evicted_total(&self) -> u64 {
        self.evicted.iter().sum()
    }

    pub(super) const fn on_evicted(&mut self, reason: EvictReason) {
        self.evicted[reason as usize] += 1;
    }
}

/// What a pool holds at one moment. All fields are read under one lock, so they are consistent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Streams that no caller has. They are ready, or are probed first when idle for longer than
    /// [`Config::max_idle`](super::Config::max_idle).
    pub idle: usize,
    /// Streams that callers hold.
    pub in_use: usize,
    /// Streams that were given back and are tested before they are idle again.
    pub returning: usize,
    /// Idle streams that are being probed.
    pub checking: usize,
    /// Streams being opened, their first probe included.
    pub opening: usize,
    /// Callers that wait for a stream.
    pub waiting: usize,
    /// [`Config::min`](super::Config::min).
    pub min: usize,
    /// [`Config::max`](super::Config::max).
    pub max: usize,
    /// The peer's limit: the number of streams, opening ones included, at which it refused another. `None` before a
    /// refusal, and again once an open has succeeded after it.
    pub limit: Option<usize>,
    /// Whether the pool is closed.
    pub closed: bool,
    /// Totals since the pool was made.
    pub counts: Counts,
}

impl Status {
    /// Returns the number of streams that exist: idle, in use, returning and being checked.
    #[must_use]
    pub const fn streams(&self) -> usize {
        self.idle + self.in_use + self.returning + self.checking
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_counted_in_a_place_of_its_own_under_a_name_of_its_own() {
        let mut counts = Counts::default();
        for (n, reason) in EvictReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, n);
            for _ in 0..=n {
                counts.on_evicted(reason);
            }
        }
        for (n, reason) in EvictReason::ALL.into_iter().enumerate() {
            assert_eq!(counts.evicted(reason), n as u64 + 1);
        }
        assert_eq!(counts.evicted_total(), 36);
        let names: std::collections::BTreeSet<_> = EvictReason::ALL
            .into_iter()
            .map(EvictReason::as_str)
            .collect();
        assert_eq!(names.len(), EvictReason::ALL.len());
    }
}
