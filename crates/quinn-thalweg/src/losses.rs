//! Pure: how much is lost, and whether that is more than the path loses anyway.
//!
//! A path that loses packets by accident loses the same share of them whatever is sent. One whose queue overflows loses
//! what is too much. So a share that is no more than the path's *ambient* one is no congestion, and a share clearly
//! above it is. Runs of losses within a moment (a burst on a radio link) are no overflow either: that goes on for as
//! long as too much is sent, so the losses must be spread over the round.

use std::time::Instant;

/// A block of the books has at least so many rounds,
const ROUNDS: u32 = 4;
/// and at least so many packets.
const PACKETS: f64 = 100.0;
/// The greatest share that can be ambient. Whatever a path loses beyond it is taken for congestion.
pub(super) const BOUND: f64 = 0.10;
/// So much above the ambient share is more than rounding.
const MARGIN: f64 = 0.02;
/// Standard deviations that chance is granted.
const CHANCE: f64 = 3.0;
/// The weight of a new block in the ambient share.
const WEIGHT: f64 = 0.125;
/// Pieces of a round, of which losses must be in at least a quarter to be an overflow.
const PIECES: f64 = 8.0;
/// Packets lost in one round that are too many to wait for the end of a block, and by how much of the round they must
/// be above the ambient share.
const AT_ONCE: (f64, f64) = (10.0, 0.2);

/// What the books say when a block is full.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Verdict {
    /// No more was lost than the path loses anyway.
    Ambient,
    /// More was.
    Excess,
    /// More was than can be ambient.
    Beyond,
}

/// How many were acknowledged and how many lost.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    acked: f64,
    lost: f64,
}

impl Count {
    fn all(self) -> f64 {
        self.acked + self.lost
    }

    fn share(self) -> f64 {
        self.lost / self.all().max(1.0)
    }
}

/// The books of the losses of one path, in packets.
#[derive(Debug, Clone)]
pub(super) struct Losses {
    ambient: f64,
    /// How far blocks are from it, squared, on average.
    variance: f64,
    round: Count,
    block: Count,
    rounds: u32,
    /// Pieces of this round, and of this block, in which something was lost.
    pieces: (u32, u32),
    last_piece: f64,
    /// Losses of what was sent before this are known already.
    since: Option<Instant>,
}

impl Losses {
    pub(super) fn new() -> Self {
        Self {
            ambient: 0.0,
            variance: 0.0,
            round: Count::default(),
            block: Count::default(),
            rounds: 0,
            pieces: (0, 0),
            last_piece: f64::NEG_INFINITY,
            since: None,
        }
    }

    /// The share that the path loses whatever is sent.
    pub(super) fn ambient(&self) -> f64 {
        self.ambient
    }

    pub(super) fn on_ack(&mut self, sent: Instant, packets: f64) {
        if self.since.is_none_or(|since| sent >= since) {
            self.round.acked += packets;
            self.block.acked += packets;
        }
    }

    /// So many packets were lost, of a window of so many.
    pub(super) fn on_lost(&mut self, sent: Instant, packets: f64, window: f64) {
        if self.since.is_some_and(|since| sent < since) {
            return;
        }
        self.round.lost += packets;
        self.block.lost += packets;
        let place = self.block.all();
        if place - self.last_piece >= (window / PIECES).max(4.0) {
            self.pieces.0 += 1;
            self.pieces.1 += 1;
            self.last_piece = place;
        }
    }

    /// So much of this round is lost that there is no need to wait for the end of a block.
    pub(super) fn is_overrun(&self) -> bool {
        self.round.lost >= AT_ONCE.0
            && self.pieces.0 >= 3
            && self.round.lost > (self.ambient + AT_ONCE.1) * self.round.all()
    }

    /// A round is over. Says what its block lost, where it is full. A round that was sent while the pipe was certainly
    /// not full (`light`) shows the ambient share, whatever was thought of it before.
    pub(super) fn on_round(&mut self, light: bool, start_up: bool) -> Option<(Verdict, f64)> {
        let round = std::mem::take(&mut self.round);
        self.pieces.0 = 0;
        if light && round.all() >= PACKETS {
            self.ambient = self.ambient.min(round.share());
        }
        self.rounds += 1;
        if self.block.all() < PACKETS || (self.rounds < ROUNDS && !start_up) {
            return None;
        }
        let block = self.block;
        let usual = self.ambient.max(0.01);
        // Losses that come in runs are further from their mean than those that know nothing of each other.
        let variance = self.variance.max(usual * (1.0 - usual) / block.all());
        let chance = CHANCE * variance.sqrt();
        let spread = f64::from(self.pieces.1) >= PIECES / 4.0 * f64::from(self.rounds);
        let verdict = if block.share() > 1.5 * BOUND {
            Verdict::Beyond
        } else if spread && block.share() > self.ambient + MARGIN + chance {
            Verdict::Excess
        } else {
            Verdict::Ambient
        };
        if verdict == Verdict::Ambient || start_up {
            self.accept(block.share(), if start_up { 0.5 } else { WEIGHT });
        }
        self.clear();
        Some((verdict, block.share()))
    }

    /// This share is the path's own after all.
    pub(super) fn on_refuted(&mut self, share: f64) {
        self.accept(share, WEIGHT);
    }

    fn accept(&mut self, share: f64, weight: f64) {
        self.variance += ((share - self.ambient).powi(2) - self.variance) * WEIGHT;
        self.ambient += (share.min(BOUND) - self.ambient) * weight;
    }

    /// What was sent before `now` has been answered for.
    pub(super) fn forgive(&mut self, now: Instant) {
        self.since = Some(now);
        self.clear();
    }

    fn clear(&mut self) {
        self.round = Count::default();
        self.block = Count::default();
        self.rounds = 0;
        self.pieces = (0, 0);
        self.last_piece = f64::NEG_INFINITY;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    /// A round of so many packets, of which each `nth` is lost.
    fn round(losses: &mut Losses, packets: u32, nth: u32) -> Option<Verdict> {
        let now = Instant::now();
        for k in 1..=packets {
            if nth > 0 && k % nth == 0 {
                losses.on_lost(now, 1.0, packets.into());
            } else {
                losses.on_ack(now, 1.0);
            }
        }
        Some(losses.on_round(false, false)?.0)
    }

    fn block(losses: &mut Losses, nth: u32) -> Verdict {
        (0..8).find_map(|_| round(losses, 200, nth)).unwrap()
    }

    #[test]
    fn a_share_that_stays_is_ambient_and_one_that_comes_is_not() {
        let mut losses = Losses::new();
        assert_eq!(block(&mut losses, 50), Verdict::Ambient);
        assert_eq!(block(&mut losses, 50), Verdict::Ambient);
        assert_eq!(block(&mut losses, 10), Verdict::Excess);
        let before = losses.ambient();
        assert_eq!(block(&mut losses, 10), Verdict::Excess);
        assert!(
            (losses.ambient() - before).abs() < 1e-9,
            "it was not believed"
        );
    }

    #[test]
    fn no_share_above_the_bound_is_ambient() {
        let mut losses = Losses::new();
        for _ in 0..50 {
            assert_eq!(block(&mut losses, 5), Verdict::Beyond);
            losses.on_refuted(0.2);
        }
        assert!(losses.ambient() <= BOUND + 1e-9);
    }

    #[test]
    fn a_burst_within_a_moment_is_no_overflow() {
        let now = Instant::now();
        let mut losses = Losses::new();
        for _ in 0..4 {
            for k in 0..200 {
                match k {
                    100..115 => losses.on_lost(now, 1.0, 200.0),
                    _ => losses.on_ack(now, 1.0),
                }
            }
            assert!(!losses.is_overrun());
            if let Some((verdict, _)) = losses.on_round(false, false) {
                assert_eq!(verdict, Verdict::Ambient);
            }
        }
    }

    #[test]
    fn a_quarter_of_a_round_is_answered_before_its_end() {
        let mut losses = Losses::new();
        let now = Instant::now();
        for k in 0..100 {
            match k % 4 {
                0 => losses.on_lost(now, 1.0, 100.0),
                _ => losses.on_ack(now, 1.0),
            }
        }
        assert!(losses.is_overrun());
        losses.forgive(now);
        assert!(!losses.is_overrun());
    }

    #[test]
    fn a_round_with_the_pipe_half_empty_shows_what_is_really_ambient() {
        let mut losses = Losses::new();
        block(&mut losses, 33);
        assert!(losses.ambient() > 0.0);
        let now = Instant::now();
        for _ in 0..200 {
            losses.on_ack(now, 1.0);
        }
        losses.on_round(true, false);
        assert!(losses.ambient() <= 0.0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_ambient_share_is_a_share_and_never_above_the_bound(
            rounds in prop::collection::vec((1_u32..400, 0_u32..40, any::<bool>()), 1..60),
        ) {
            let mut losses = Losses::new();
            for (packets, nth, refuted) in rounds {
                round(&mut losses, packets, nth);
                if refuted {
                    losses.on_refuted(1.0);
                }
                prop_assert!((0.0..=BOUND + 1e-9).contains(&losses.ambient()));
            }
        }
    }
}
