//! Sans-I/O: a policy that keeps a fixed number of lanes.

use std::{
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use super::{
    config::MAX_LANES,
    decision::{Action, Decision, Reason, ScalePolicy},
    load::Load,
};

/// Time after which an opening that failed is tried again.
const RETRY: Duration = Duration::from_millis(100);

/// Opens a number of lanes at the start and keeps them.
///
/// Use it where you have measured the right number. It is also the shortest example of a [`ScalePolicy`].
#[derive(Debug, Clone, Copy)]
pub struct Fixed(NonZeroUsize);

impl Fixed {
    /// Makes a policy that keeps `lanes` lanes, at most [`MAX_LANES`].
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
            wake_after: short.then(|| load.rtt.max(RETRY)),
        }
    }

    fn backlog_threshold(&self, _lanes: usize) -> usize {
        usize::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scaler::tests::origin;

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
            assert_eq!(
                decision.wake_after, None,
                "no timer while all lanes are open"
            );
        }
    }

    #[test]
    fn lanes_that_the_peer_refuses_are_tried_again_later() {
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
        assert_eq!(decision.wake_after, Some(RETRY));
    }
}
