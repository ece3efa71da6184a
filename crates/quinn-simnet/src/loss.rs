//! Pure: which packets the wire loses.
//!
//! The weather belongs to the moment. Each millisecond has dice of its own, thrown afresh from the seed, so that what is
//! sent at a moment meets the same fate however many packets came before it: two senders that differ a little are
//! compared under the same losses, and not under those that a packet more or less has put elsewhere. (Common random
//! numbers, as simulation calls that.) Each packet is still lost independently of all others.

use std::time::{Duration, Instant};

use fastrand::Rng;

use super::config::Loss;

/// How long one set of dice is thrown.
const MOMENT: Duration = Duration::from_millis(1);

/// Decides the fate of one packet after the other: the same seed loses the same packets at the same times, whatever else
/// the link does to them.
#[derive(Debug, Clone)]
pub(super) struct LossProcess {
    loss: Loss,
    seed: u64,
    /// When the first packet came: moments are counted from there.
    begun: Option<Instant>,
    moment: u64,
    /// The dice of that moment.
    rng: Rng,
    /// In the midst of a burst (only with [`Loss::Bursty`]).
    in_burst: bool,
}

impl LossProcess {
    pub(super) fn new(loss: Loss, seed: u64) -> Self {
        Self {
            loss,
            seed,
            begun: None,
            moment: 0,
            rng: dice(seed, 0),
            in_burst: false,
        }
    }

    pub(super) fn loss(&self) -> Loss {
        self.loss
    }

    /// Whether the next packet is lost. The time must not go backwards from call to call.
    pub(super) fn on_packet(&mut self, now: Instant) -> bool {
        let since = now.saturating_duration_since(*self.begun.get_or_insert(now));
        let moment = u64::try_from(since.as_nanos() / MOMENT.as_nanos()).unwrap_or(u64::MAX);
        if moment != self.moment {
            self.moment = moment;
            self.rng = dice(self.seed, moment);
        }
        match self.loss {
            Loss::Random(share) => self.rng.f64() < share,
            Loss::Bursty { share, mean_burst } => {
                // A burst ends after each packet with the chance 1/mean. In the long run the bad state must hold
                // for `share` of the packets, which fixes the chance that one begins.
                let end = 1.0 / mean_burst;
                let roll = self.rng.f64();
                self.in_burst = if self.in_burst {
                    roll >= end
                } else {
                    roll < end * share / (1.0 - share)
                };
                self.in_burst
            }
        }
    }
}

/// Dice for one moment. Neighbouring moments have unlike dice: the number of the moment is spread over all bits first
/// (the finaliser of `SplitMix64`).
fn dice(seed: u64, moment: u64) -> Rng {
    let mut mixed = seed.wrapping_add(moment.wrapping_mul(0x9e37_79b9_7f4a_7c15));
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

    /// Fates of packets that are sent so many microseconds apart.
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
