//! Sans-I/O: the trait that a policy implements, and what it returns.

use std::{
    fmt,
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use super::load::Load;

/// Decides how many lanes a producer has.
///
/// A policy does no I/O: the time and the load are arguments, and the decision is the return value. So every run can be replayed,
/// and a policy can be tested without a socket. See [`Adaptive`](super::Adaptive) for the default, and
/// [`Fixed`](super::Fixed) for the shortest.
///
/// The producer carries out a decision as far as it can, up to [`MAX_LANES`](super::MAX_LANES) lanes. The next [`Load`] shows
/// the result.
pub trait ScalePolicy: Send + fmt::Debug {
    /// Decides about the lanes for this load. `now` never goes backwards.
    ///
    /// While connected the producer calls this
    ///
    /// - once at its start;
    /// - on the enqueue that makes the queue as long as [`backlog_threshold`](Self::backlog_threshold);
    /// - on the first enqueue after a call with a [quiet](Load::is_quiet) load;
    /// - when the last decision's [`wake_after`](Decision::wake_after) has passed.
    fn decide(&mut self, now: Instant, load: &Load) -> Decision;

    /// Returns how many messages must be queued, with `lanes` open or opening, for the producer to call [`decide`](Self::decide)
    /// at once. By default 64 a lane, and at least 64.
    fn backlog_threshold(&self, lanes: usize) -> usize {
        const A_LANE: usize = 64;
        A_LANE.saturating_mul(lanes.max(1))
    }
}

/// What to do, why, and when to ask the policy again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a decision does nothing until it is carried out"]
pub struct Decision {
    /// What to do.
    pub action: Action,
    /// Why, also where the action is to hold.
    pub reason: Reason,
    /// Time from now to the next call of [`decide`](ScalePolicy::decide) at the latest. `None` waits for an enqueue that the trait
    /// names.
    pub wake_after: Option<Duration>,
}

/// What to do about the number of lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Keep the number.
    Hold,
    /// Open this many more.
    Open(NonZeroUsize),
    /// Retire this many, the newest first. Each finishes what it has in flight.
    Retire(NonZeroUsize),
}

impl Action {
    /// Returns `Open(n)`, or `Hold` for 0.
    #[must_use]
    pub fn open(n: usize) -> Self {
        NonZeroUsize::new(n).map_or(Self::Hold, Self::Open)
    }

    /// Returns `Retire(n)`, or `Hold` for 0.
    #[must_use]
    pub fn retire(n: usize) -> Self {
        NonZeroUsize::new(n).map_or(Self::Hold, Self::Retire)
    }
}

/// Why a policy decided as it did. It is the label of the decisions metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Opened: there are fewer lanes than the minimum.
    Minimum,
    /// Opened: messages wait, every lane is full, and the network could carry more. Also where the path fills the lanes and the
    /// load grows.
    Backlog,
    /// Opened: packets are lost, and with more lanes each loss delays fewer messages.
    Loss,
    /// Retired: the lanes were not needed at any moment of the last idle timeout. Held: nothing is queued and nothing is
    /// unanswered.
    Idle,
    /// Retired: the lanes opened last did not raise the rate of answers.
    NoGain,
    /// Retired, or held: with more lanes the broker only held each batch longer. The broker's store is the limit.
    BrokerSlow,
    /// Held: the last trial without gain is too recent for another.
    Ceiling,
    /// Held: the queue is short, or will be empty within a round trip.
    BelowThreshold,
    /// Held: messages wait, but not for a lane: not every lane is full.
    LanesNotFull,
    /// Held: the congestion window, which all lanes share, is full. Retired: it has been full for an idle timeout, and fills fewer
    /// lanes.
    CongestionLimited,
    /// Held: the peer permits no further stream.
    PeerLimit,
    /// Held, or retired: there are as many lanes as the options permit, or more.
    MaxLanes,
    /// Held: the last opening is too recent, or its trial still runs.
    Cooldown,
}

impl Reason {
    /// Every reason, in the order of declaration.
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

    /// Returns the name for labels, in snake case.
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
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index, "{reason} is missing or misplaced");
        }
    }
}
