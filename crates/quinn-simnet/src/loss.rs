//! Sans-I/O: which packets a link loses.
//!
//! Losses belong to points in time. Each millisecond has its own random number generator, seeded by the seed and its
//! number, so that a packet sent at that time has the same fate however many packets were sent before it. Two senders that
//! differ a little are so compared under the same losses (simulation calls this common random numbers). Each packet is
//! still lost independently of all others.

use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::config::Loss;

/// The time for which one random number generator is used.
const SLOT: Duration = Duration::from_millis(1);

/// Decides which packets are lost. The same seed loses the same packets at the same times, whatever else the link does to
/// them.
#[derive(Debug, Clone)]
pub(crate) struct LossProcess {
    loss: Loss,
    seed: u64,
    /// When the first packet was sent: the start of the first slot.
    start: Option<Instant>,
    slot: u64,
    /// The random numbers of that slot.
    rng: Rng,
    /// Whether the last packet was in a burst (only with [`Loss::Bursty`]).
    in_burst: bool,
}

impl LossProcess {
    pub(crate) fn new(loss: Loss, seed: u64) -> Self {
        Self {
            loss,
            seed,
            start: None,
            slot: 0,
            rng: slot_rng(seed, 0),
            in_burst: false,
        }
    }

    pub(crate) fn loss(&self) -> Loss {
        self.loss
    }

    /// Returns whether the next packet is lost. `now` must not be earlier than in the call before.
    pub(crate) fn on_packet(&mut self, now: Instant) -> bool {
        let since = now.saturating_duration_since(*self.start.get_or_insert(now));
        let slot = u64::try_from(since.as_nanos() / SLOT.as_nanos()).unwrap_or(u64::MAX);
        if slot != self.slot {
            self.slot = slot;
            self.rng = slot_rng(self.seed, slot);
        }
        match self.loss {
            Loss::Random(share) => self.rng.f64() < share,
            Loss::Bursty { share, mean_burst } => {
                // A burst ends after each packet with the probability 1/mean. The probability that one begins follows
                // from `share`, the part of packets in bursts in the long run.
                let end = 1.0 / mean_burst;
                let drawn = self.rng.f64();
                self.in_burst = if self.in_burst {
                    drawn >= end
                } else {
                    drawn < end * share / (1.0 - share)
                };
                self.in_burst
            }
        }
    }
}

/// Returns the random number generator of a slot. The finalizer of `SplitMix64` spreads the number of the slot over all
/// bits, so that adjacent slots are unrelated.
fn slot_rng(seed: u64, slot: u64) -> Rng {
    let mut mixed = seed.wrapping_add(slot.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    Rng::with_seed(mixed ^ (mixed >> 31))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::{
        ProptestConfig, prop_assert, prop_assert_eq, prop_assert_ne, proptest,
    };

    use super::{Loss, LossProcess};
    use crate::time;

    /// Returns whether each of `packets` packets, sent `micros` microseconds apart, is lost.
    fn fates_apart(micros: u64, loss: Loss, seed: u64, packets: usize) -> Vec<bool> {
        let mut process = LossProcess::new(loss, seed);
        let (mut now, apart) = (time::now(), Duration::from_micros(micros));
        let mut next = || {
            now += apart;
            process.on_packet(now)
        };
        (0..packets).map(|_| next()).collect()
    }

    fn fates(loss: Loss, seed: u64, packets: usize) -> Vec<bool> {
        fates_apart(300, loss, seed, packets)
    }

    fn share(fates: &[bool]) -> f64 {
        let lost = fates.iter().filter(|lost| **lost).count();
        lost as f64 / fates.len() as f64
    }

    fn mean_burst(fates: &[bool]) -> f64 {
        let lost = fates.iter().filter(|lost| **lost).count();
        let bursts = fates
            .split(|lost| !lost)
            .filter(|run| !run.is_empty())
            .count();
        lost as f64 / bursts as f64
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn random_loss_takes_the_share_it_was_given(seed: u64, asked in 0.0..=1.0, apart in 1_u64..5000) {
            let got = share(&fates_apart(apart, Loss::Random(asked), seed, 20_000));
            prop_assert!((got - asked).abs() < 0.02, "asked {asked}, got {got}");
        }

        #[test]
        fn bursty_loss_takes_its_share_in_bursts_of_the_mean_length(
            seed: u64, asked in 0.02..0.4, length in 1.5..8.0,
        ) {
            let fates = fates(Loss::Bursty { share: asked, mean_burst: length }, seed, 200_000);
            let got = share(&fates);
            prop_assert!((got - asked).abs() < 0.15 * asked + 0.005, "asked {asked}, got {got}");
            let got = mean_burst(&fates);
            prop_assert!((got - length).abs() < 0.15 * length, "asked bursts of {length}, got {got}");
        }

        #[test]
        fn the_same_seed_loses_the_same_packets(seed: u64) {
            let loss = Loss::Bursty { share: 0.1, mean_burst: 3.0 };
            prop_assert_eq!(fates(loss, seed, 500), fates(loss, seed, 500));
            prop_assert_ne!(fates(loss, seed, 500), fates(loss, seed.wrapping_add(1), 500));
        }
    }

    #[test]
    fn one_loss_says_nothing_about_the_next_packet() {
        for apart in [1, 300, 1000, 2500] {
            let fates = fates_apart(apart, Loss::Random(0.2), 5, 200_000);
            let pairs = fates.windows(2).filter(|pair| pair[0] && pair[1]).count();
            let share = pairs as f64 / fates.len() as f64;
            assert!((share - 0.04).abs() < 0.003, "{apart} us apart: {share}");
        }
    }

    #[test]
    fn what_is_sent_at_a_moment_meets_its_fate_whatever_was_sent_before() {
        let start = time::now();
        let at = |micros: u64| start + Duration::from_micros(micros);
        let mut busy = LossProcess::new(Loss::Random(0.3), 9);
        let mut quiet = LossProcess::new(Loss::Random(0.3), 9);
        let mut lost = 0;
        assert_eq!(busy.on_packet(at(0)), quiet.on_packet(at(0)));
        for i in 1..1000 {
            for more in 0..i % 4 {
                busy.on_packet(at(i * 2700 - 2000 + more));
            }
            let fate = quiet.on_packet(at(i * 2700));
            assert_eq!(busy.on_packet(at(i * 2700)), fate, "packet {i}");
            lost += u32::from(fate);
        }
        assert!((250..350).contains(&lost), "{lost}");
    }

    #[test]
    fn nothing_and_everything_are_exact() {
        assert!(fates(Loss::Random(0.0), 1, 10_000).iter().all(|lost| !lost));
        assert!(fates(Loss::Random(1.0), 1, 10_000).iter().all(|lost| *lost));
    }
}
