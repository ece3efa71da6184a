//! Pure: as many lanes as one asks for, always.

use std::{
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use super::{Action, Decision, Load, MAX_LANES, Reason, ScalePolicy};

/// How soon an opening that did not come about is tried again.
const TRY_AGAIN: Duration = Duration::from_millis(100);

/// Opens so many lanes at the start and keeps them.
///
/// For a load that one has measured oneself, and as the shortest example of a [`ScalePolicy`].
#[derive(Debug, Clone, Copy)]
pub struct Fixed(NonZeroUsize);

impl Fixed {
    /// Keeps `lanes` lanes, or [`MAX_LANES`] where that is fewer.
    #[must_use]
    pub const fn new(lanes: NonZeroUsize) -> Self {
        Self(lanes)
    }
}

impl ScalePolicy for Fixed {
    fn decide(&mut self, _now: Instant, load: &Load) -> Decision {
        let missing = self
            .0
            .get()
            .min(MAX_LANES)
            .saturating_sub(load.total_lanes());
        let short = missing > 0 || load.lanes_opening > 0;
        let (action, reason) = match missing.min(load.peer_streams_left) {
            _ if missing == 0 => (Action::Hold, Reason::MaxLanes),
            0 => (Action::Hold, Reason::PeerLimit),
            n => (Action::open(n), Reason::Minimum),
        };
        Decision {
            action,
            reason,
            wake_after: short.then(|| load.rtt.max(TRY_AGAIN)),
        }
    }

    fn backlog_threshold(&self, _lanes: usize) -> usize {
        usize::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scaler::model::origin;

    fn fixed(n: usize) -> Fixed {
        Fixed::new(NonZeroUsize::new(n).unwrap())
    }

    #[test]
    fn it_opens_what_is_missing_and_never_retires() {
        let mut policy = fixed(8);
        let mut load = Load {
            peer_streams_left: 100,
            ..Load::default()
        };
        let decision = policy.decide(origin(), &load);
        assert_eq!(decision.action, Action::open(8));
        assert_eq!(decision.reason, Reason::Minimum);
        for lanes in [8, 20] {
            load.lanes = lanes;
            let decision = policy.decide(origin(), &load);
            assert_eq!(decision.action, Action::Hold);
            assert_eq!(decision.wake_after, None, "a full set needs no timer");
        }
    }

    #[test]
    fn what_the_peer_refuses_is_tried_again_later() {
        let mut policy = fixed(8);
        let mut load = Load {
            lanes: 1,
            peer_streams_left: 2,
            ..Load::default()
        };
        assert_eq!(policy.decide(origin(), &load).action, Action::open(2));
        load.lanes = 3;
        load.peer_streams_left = 0;
        let decision = policy.decide(origin(), &load);
        assert_eq!(decision.reason, Reason::PeerLimit);
        assert_eq!(decision.wake_after, Some(TRY_AGAIN));
    }
}
