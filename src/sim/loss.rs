//! Pure: which packets the wire loses.

use fastrand::Rng;

use super::config::Loss;

/// Decides the fate of one packet after the other, with dice of its own: the same seed loses the same packets,
/// whatever else the link does to them.
#[derive(Debug, Clone)]
pub(super) struct LossProcess {
    loss: Loss,
    rng: Rng,
    /// In the midst of a burst (only with [`Loss::Bursty`]).
    in_burst: bool,
}

impl LossProcess {
    pub(super) fn new(loss: Loss, rng: Rng) -> Self {
        Self {
            loss,
            rng,
            in_burst: false,
        }
    }

    pub(super) fn loss(&self) -> Loss {
        self.loss
    }

    /// Whether the next packet is lost.
    pub(super) fn on_packet(&mut self) -> bool {
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

#[cfg(test)]
mod tests {
    use fastrand::Rng;
    use proptest::prelude::{
        ProptestConfig, prop_assert, prop_assert_eq, prop_assert_ne, proptest,
    };

    use super::{Loss, LossProcess};

    fn fates(loss: Loss, seed: u64, packets: usize) -> Vec<bool> {
        let mut process = LossProcess::new(loss, Rng::with_seed(seed));
        (0..packets).map(|_| process.on_packet()).collect()
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
        fn random_loss_takes_the_share_it_was_given(seed: u64, asked in 0.0..=1.0) {
            let got = share(&fates(Loss::Random(asked), seed, 20_000));
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
    fn nothing_and_everything_are_exact() {
        assert!(fates(Loss::Random(0.0), 1, 10_000).iter().all(|lost| !lost));
        assert!(fates(Loss::Random(1.0), 1, 10_000).iter().all(|lost| *lost));
    }
}
