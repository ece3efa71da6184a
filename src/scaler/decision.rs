//! Pure: what a policy answers, and the trait that a policy implements.

use std::{
    fmt,
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use super::Load;

/// Decides how many lanes a producer has.
///
/// A policy is pure: the time and everything it knows arrive as arguments, and what is to be done is its
/// answer. So every run can be replayed, and a policy can be tested without a socket. See
/// [`Adaptive`](super::Adaptive) for the default and [`Fixed`](super::Fixed) for the shortest.
///
/// The producer carries an answer out as far as it can and clamps it to
/// [`MAX_LANES`](super::MAX_LANES); the next [`Load`] tells what came of it.
pub trait ScalePolicy: Send + fmt::Debug {
    /// Looks at `load` and decides. `now` never goes backwards.
    ///
    /// While connected the producer calls this
    ///
    /// - once at its start;
    /// - on the enqueue that makes the queue as long as [`backlog_threshold`](Self::backlog_threshold);
    /// - on the first enqueue after a look that saw [nothing queued and nothing in
    ///   flight](Load::is_quiet);
    /// - when the last answer's [`wake_after`](Decision::wake_after) has passed.
    fn decide(&mut self, now: Instant, load: &Load) -> Decision;

    /// How many messages must be queued, with `streams` lanes open or opening, for the producer to call
    /// [`decide`](Self::decide) at once. By default 64 a lane, and at least 64.
    fn backlog_threshold(&self, lanes: usize) -> usize {
        const A_LANE: usize = 64;
        A_LANE.saturating_mul(lanes.max(1))
    }
}

/// A policy's answer: what to do, why, and when to ask again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a decision does nothing until it is carried out"]
pub struct Decision {
    /// What to do.
    pub action: Action,
    /// Why; also when the answer is to do nothing.
    pub reason: Reason,
    /// When to ask again at the latest, counted from now; `None` not before the next enqueue that the
    /// [trait](ScalePolicy::decide) names.
    pub wake_after: Option<Duration>,
}

/// What to do about the number of lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Leave it as it is.
    Hold,
    /// Open so many more.
    Open(NonZeroUsize),
    /// Retire so many, the newest first. Each finishes what it has in flight before it goes.
    Retire(NonZeroUsize),
}

impl Action {
    /// Opens `n`, or holds where there is none to open.
    #[must_use]
    pub fn open(n: usize) -> Self {
        NonZeroUsize::new(n).map_or(Self::Hold, Self::Open)
    }

    /// Retires `n`, or holds where there is none to retire.
    #[must_use]
    pub fn retire(n: usize) -> Self {
        NonZeroUsize::new(n).map_or(Self::Hold, Self::Retire)
    }
}

/// Why a policy decided as it did: the label of the decisions metric, one for every decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Opened: fewer lanes than the least that is kept.
    Minimum,
    /// Opened: messages wait, every lane is full, and the network could carry more; or will, as the path fills the lanes
    /// and the load grows.
    Backlog,
    /// Opened: packets are lost, and with more lanes each loss stalls fewer messages.
    Loss,
    /// Retired: not all lanes were wanted at any moment of the last idle timeout. Held: nothing is queued
    /// and nothing is unanswered.
    Idle,
    /// Retired: the lanes opened last did not raise the rate of answers.
    NoGain,
    /// Retired, or held: more lanes only made the broker hold each batch longer. Its store is the limit.
    BrokerSlow,
    /// Held: a trial without gain is too recent to try again.
    Ceiling,
    /// Held: the queue is short, or will be empty within a round trip.
    BelowThreshold,
    /// Held: messages wait, though not every lane is full. A lane is not what is missing.
    LanesNotFull,
    /// Held: the congestion window is full, and all lanes share it. Retired: it has been for an idle timeout, and does not
    /// fill as many.
    CongestionLimited,
    /// Held: the peer permits no further stream.
    PeerLimit,
    /// Held, or retired: as many lanes as the options allow.
    MaxLanes,
    /// Held: the last opening is too recent, or is still being judged.
    Cooldown,
}

impl Reason {
    /// Every reason, for a metric that wants its labels beforehand.
    pub const ALL: [Self; 13] = [
        Self::Minimum,
        Self::Backlog,
        Self::Loss,
        Self::Idle,
        Self::NoGain,
        Self::BrokerSlow,
        Self::Ceiling,
        Self::BelowThreshold,
        Self::LanesNotFull,
        Self::CongestionLimited,
        Self::PeerLimit,
        Self::MaxLanes,
        Self::Cooldown,
    ];

    /// The label, in snake case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Minimum => "minimum",
            Self::Backlog => "backlog",
            Self::Loss => "loss",
            Self::Idle => "idle",
            Self::NoGain => "no_gain",
            Self::BrokerSlow => "broker_slow",
            Self::Ceiling => "ceiling",
            Self::BelowThreshold => "below_threshold",
            Self::LanesNotFull => "lanes_not_full",
            Self::CongestionLimited => "congestion_limited",
            Self::PeerLimit => "peer_limit",
            Self::MaxLanes => "max_lanes",
            Self::Cooldown => "cooldown",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_reason_has_a_label_of_its_own() {
        let labels: HashSet<_> = Reason::ALL.iter().map(|r| r.as_str()).collect();
        assert_eq!(labels.len(), Reason::ALL.len());
        for (place, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place, "{reason} is missing or misplaced");
        }
    }
}
