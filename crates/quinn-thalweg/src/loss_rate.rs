//! Sans-I/O: the loss rate of a path, and whether more is lost than the path loses anyway.
//!
//! A path that loses packets at random loses the same share of them at every sending rate. A queue that overflows loses
//! what is too much. So a loss rate up to the path's *ambient* one is no congestion, and one clearly above it is. A run
//! of losses within a moment (a burst on a radio link) is no overflow either: an overflow lasts as long as too much is
//! sent, so its losses are spread over the round.

use std::time::Instant;

/// The minimum number of rounds in a block.
const BLOCK_ROUNDS: u32 = 4;
/// The minimum number of packets in a block.
const BLOCK_PACKETS: f64 = 100.0;
/// The maximum ambient loss rate. A path that loses more is taken for congested.
pub(super) const MAX_AMBIENT: f64 = 0.10;
/// The margin above the ambient rate, for rounding.
const MARGIN: f64 = 0.02;
/// The margin above the ambient rate in standard deviations, for random variation.
const SIGMAS: f64 = 3.0;
/// The weight of a new block in the moving average of the ambient rate.
const WEIGHT: f64 = 0.125;
/// The weight of a new block in start-up.
const STARTUP_WEIGHT: f64 = 0.5;
/// The slots of a round. An overflow loses packets in at least a quarter of them.
const SLOTS: f64 = 8.0;
/// Packets lost in one round that are heavy loss, without waiting for the end of the block,
const HEAVY_PACKETS: f64 = 10.0;
/// if they exceed the ambient rate by this share of the round,
const HEAVY_EXCESS: f64 = 0.2;
/// and are lost in this many slots.
const HEAVY_SLOTS: u32 = 3;

/// The loss rate of a block, compared with the ambient rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum LossLevel {
    /// The path loses as much anyway.
    Ambient,
    /// The path lost more than the ambient rate.
    Excess,
    /// The path lost more than can be ambient.
    AboveBound,
}

/// Packets acknowledged and lost.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    acked: f64,
    lost: f64,
}

impl Count {
    fn total(self) -> f64 {
        self.acked + self.lost
    }

    fn loss_rate(self) -> f64 {
        self.lost / self.total().max(1.0)
    }
}

/// The losses of one path, in packets.
#[derive(Debug, Clone)]
pub(super) struct LossEstimator {
    ambient: f64,
    /// The moving average of the squared distance of a block from the ambient rate.
    variance: f64,
    round: Count,
    block: Count,
    /// Rounds in the present block.
    rounds: u32,
    /// Slots of the present round in which something was lost.
    round_slots: u32,
    /// Slots of the present block in which something was lost.
    block_slots: u32,
    /// The packet count of the block at the start of the last such slot.
    last_slot: f64,
    /// Packets sent before this time are not counted.
    counted_from: Option<Instant>,
}

impl LossEstimator {
    pub(super) fn new() -> Self {
        Self {
            ambient: 0.0,
            variance: 0.0,
            round: Count::default(),
            block: Count::default(),
            rounds: 0,
            round_slots: 0,
            block_slots: 0,
            last_slot: f64::NEG_INFINITY,
            counted_from: None,
        }
    }

    /// Returns the share of packets that the path loses at every sending rate.
    pub(super) fn ambient(&self) -> f64 {
        self.ambient
    }

    pub(super) fn on_ack(&mut self, sent: Instant, packets: f64) {
        if self.counted_from.is_none_or(|from| sent >= from) {
            self.round.acked += packets;
            self.block.acked += packets;
        }
    }

    /// Counts lost packets, at a window of `window` packets.
    pub(super) fn on_lost(&mut self, sent: Instant, packets: f64, window: f64) {
        if self.counted_from.is_some_and(|from| sent < from) {
            return;
        }
        self.round.lost += packets;
        self.block.lost += packets;
        let position = self.block.total();
        if position - self.last_slot >= (window / SLOTS).max(4.0) {
            self.round_slots += 1;
            self.block_slots += 1;
            self.last_slot = position;
        }
    }

    /// Returns whether the present round has lost too much to wait for the end of its block.
    pub(super) fn is_heavy(&self) -> bool {
        self.round.lost >= HEAVY_PACKETS
            && self.round_slots >= HEAVY_SLOTS
            && self.round.lost > (self.ambient + HEAVY_EXCESS) * self.round.total()
    }

    /// Ends a round. Returns the level and the loss rate of its block, if that is complete.
    ///
    /// `pipe_not_full` marks a round that was sent while the path was certainly not full. Its loss rate is ambient, even
    /// if the present estimate is higher.
    pub(super) fn on_round(
        &mut self,
        pipe_not_full: bool,
        startup: bool,
    ) -> Option<(LossLevel, f64)> {
        let round = std::mem::take(&mut self.round);
        self.round_slots = 0;
        if pipe_not_full && round.total() >= BLOCK_PACKETS {
            self.ambient = self.ambient.min(round.loss_rate());
        }
        self.rounds += 1;
        if self.block.total() < BLOCK_PACKETS || (self.rounds < BLOCK_ROUNDS && !startup) {
            return None;
        }
        let block = self.block;
        let usual = self.ambient.max(0.01);
        // Losses in bursts vary more than independent ones.
        let variance = self.variance.max(usual * (1.0 - usual) / block.total());
        let variation = SIGMAS * variance.sqrt();
        let spread = f64::from(self.block_slots) >= SLOTS / 4.0 * f64::from(self.rounds);
        let level = if block.loss_rate() > 1.5 * MAX_AMBIENT {
            LossLevel::AboveBound
        } else if spread && block.loss_rate() > self.ambient + MARGIN + variation {
            LossLevel::Excess
        } else {
            LossLevel::Ambient
        };
        if level == LossLevel::Ambient || startup {
            let weight = if startup { STARTUP_WEIGHT } else { WEIGHT };
            self.average_in(block.loss_rate(), weight);
        }
        self.clear();
        Some((level, block.loss_rate()))
    }

    /// Averages the loss rate of a block into the ambient rate although it was above it.
    pub(super) fn accept_as_ambient(&mut self, loss_rate: f64) {
        self.average_in(loss_rate, WEIGHT);
    }

    fn average_in(&mut self, loss_rate: f64, weight: f64) {
        self.variance += ((loss_rate - self.ambient).powi(2) - self.variance) * WEIGHT;
        self.ambient += (loss_rate.min(MAX_AMBIENT) - self.ambient) * weight;
    }

    /// Stops counting packets sent before `now`, because their losses have been responded to.
    pub(super) fn discard_sent_before(&mut self, now: Instant) {
        self.counted_from = Some(now);
        self.clear();
    }

    fn clear(&mut self) {
        self.round = Count::default();
        self.block = Count::default();
        self.rounds = 0;
        self.round_slots = 0;
        self.block_slots = 0;
        self.last_slot = f64::NEG_INFINITY;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "tests may read the clock")]

    use proptest::prelude::*;

    use super::*;

    /// Runs a round of `packets` packets, of which every `nth` is lost.
    fn round(losses: &mut LossEstimator, packets: u32, nth: u32) -> Option<LossLevel> {
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

    fn block(losses: &mut LossEstimator, nth: u32) -> LossLevel {
        (0..8).find_map(|_| round(losses, 200, nth)).unwrap()
    }

    #[test]
    fn a_share_that_stays_is_ambient_and_one_that_comes_is_not() {
        let mut losses = LossEstimator::new();
        assert_eq!(block(&mut losses, 50), LossLevel::Ambient);
        assert_eq!(block(&mut losses, 50), LossLevel::Ambient);
        assert_eq!(block(&mut losses, 10), LossLevel::Excess);
        let before = losses.ambient();
        assert_eq!(block(&mut losses, 10), LossLevel::Excess);
        assert!(
            (losses.ambient() - before).abs() < 1e-9,
            "an excess is not averaged in"
        );
    }

    #[test]
    fn no_share_above_the_bound_is_ambient() {
        let mut losses = LossEstimator::new();
        for _ in 0..50 {
            assert_eq!(block(&mut losses, 5), LossLevel::AboveBound);
            losses.accept_as_ambient(0.2);
        }
        assert!(losses.ambient() <= MAX_AMBIENT + 1e-9);
    }

    #[test]
    fn a_burst_within_a_moment_is_no_overflow() {
        let now = Instant::now();
        let mut losses = LossEstimator::new();
        for _ in 0..4 {
            for k in 0..200 {
                match k {
                    100..115 => losses.on_lost(now, 1.0, 200.0),
                    _ => losses.on_ack(now, 1.0),
                }
            }
            assert!(!losses.is_heavy());
            if let Some((level, _)) = losses.on_round(false, false) {
                assert_eq!(level, LossLevel::Ambient);
            }
        }
    }

    #[test]
    fn a_quarter_of_a_round_is_answered_before_its_end() {
        let mut losses = LossEstimator::new();
        let now = Instant::now();
        for k in 0..100 {
            match k % 4 {
                0 => losses.on_lost(now, 1.0, 100.0),
                _ => losses.on_ack(now, 1.0),
            }
        }
        assert!(losses.is_heavy());
        losses.discard_sent_before(now);
        assert!(!losses.is_heavy());
    }

    #[test]
    fn a_round_with_the_pipe_half_empty_shows_what_is_really_ambient() {
        let mut losses = LossEstimator::new();
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
            let mut losses = LossEstimator::new();
            for (packets, nth, accepted) in rounds {
                round(&mut losses, packets, nth);
                if accepted {
                    losses.accept_as_ambient(1.0);
                }
                prop_assert!((0.0..=MAX_AMBIENT + 1e-9).contains(&losses.ambient()));
            }
        }
    }
}
