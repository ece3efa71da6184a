//! Sans-I/O: when messages arrive at the producer.

use std::{fmt, str::FromStr, time::Duration};

use anabranch::units;
use fastrand::Rng;

/// The arrivals of messages over time. All patterns have the same mean rate, except [`Pattern::Once`].
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Pattern {
    /// Evenly spaced.
    Steady,
    /// Independent of each other: a Poisson process, with exponential gaps.
    Poisson,
    /// A square wave: all messages in the first part of each period, then none.
    Burst {
        /// Time from the start of one burst to that of the next.
        period: Duration,
        /// Share of the period with messages, above 0 and at most 1.
        duty: f64,
    },
    /// A rate that rises from zero to twice the mean.
    Ramp,
    /// All messages at the start.
    Once {
        /// Number of messages.
        messages: u64,
    },
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || "must be steady, poisson, burst:PERIOD/DUTY, ramp or once:MESSAGES".to_owned();
        match text.split_once(':') {
            None if text == "steady" => Ok(Self::Steady),
            None if text == "poisson" => Ok(Self::Poisson),
            None if text == "ramp" => Ok(Self::Ramp),
            Some(("burst", rest)) => {
                let (period, duty) = rest.split_once('/').ok_or_else(wrong)?;
                Ok(Self::Burst {
                    period: units::parse_duration(period).map_err(|error| error.to_string())?,
                    duty: units::parse_ratio(duty).map_err(|error| error.to_string())?,
                })
            }
            Some(("once", messages)) => Ok(Self::Once {
                messages: messages.parse().map_err(|_| wrong())?,
            }),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steady => f.write_str("steady"),
            Self::Poisson => f.write_str("poisson"),
            Self::Ramp => f.write_str("ramp"),
            Self::Once { messages } => write!(f, "once:{messages}"),
            Self::Burst { period, duty } => write!(
                f,
                "burst:{}/{}",
                units::format_duration(*period),
                units::format_ratio(*duty)
            ),
        }
    }
}

/// Iterates over the arrival times of messages, counted from the start of the load.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    pattern: Pattern,
    /// Mean rate, in messages per second.
    rate: f64,
    /// Maximum deviation of a gap, as a share of it.
    noise: f64,
    duration: Duration,
    rng: Rng,
    /// Number of messages so far.
    count: u64,
    /// Arrival of the next message, in mean gaps.
    gaps: f64,
}

impl Schedule {
    pub(super) const fn new(
        pattern: Pattern,
        rate: f64,
        noise: f64,
        duration: Duration,
        rng: Rng,
    ) -> Self {
        Self {
            pattern,
            rate,
            noise,
            duration,
            rng,
            count: 0,
            gaps: 0.0,
        }
    }

    /// Returns the arrival of the next message, in seconds.
    fn arrival(&self) -> f64 {
        let even = self.gaps / self.rate;
        match self.pattern {
            Pattern::Steady | Pattern::Poisson => even,
            Pattern::Burst { period, duty } => {
                let (period, on) = (period.as_secs_f64(), period.as_secs_f64() * duty);
                // Time within bursts only.
                let spent = even * duty;
                let bursts = (spent / on + 1e-9).floor();
                bursts * period + (spent - bursts * on).max(0.0)
            }
            Pattern::Ramp => (even * self.duration.as_secs_f64()).sqrt(),
            Pattern::Once { .. } => 0.0,
        }
    }

    /// Draws the next gap, in mean gaps.
    fn gap(&mut self) -> f64 {
        match self.pattern {
            // 1 - x is never zero, and its logarithm never infinite.
            Pattern::Poisson => -(1.0 - self.rng.f64()).ln(),
            _ if self.noise > 0.0 => 1.0 + self.noise * (2.0 * self.rng.f64() - 1.0),
            _ => 1.0,
        }
    }
}

impl Iterator for Schedule {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        if let Pattern::Once { messages } = self.pattern
            && self.count >= messages
        {
            return None;
        }
        if self.pattern == Pattern::Poisson && self.count == 0 {
            self.gaps = self.gap();
        }
        let at = Duration::try_from_secs_f64(self.arrival()).ok()?;
        if at >= self.duration {
            return None;
        }
        self.count += 1;
        self.gaps += self.gap();
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(pattern: &str, noise: f64) -> Vec<Duration> {
        let duration = Duration::from_secs(10);
        let rng = Rng::with_seed(7);
        Schedule::new(pattern.parse().unwrap(), 1000.0, noise, duration, rng).collect()
    }

    #[test]
    fn every_pattern_brings_its_mean_in_order_and_within_the_time() {
        for (pattern, noise) in [
            ("steady", 0.0),
            ("steady", 0.2),
            ("poisson", 0.0),
            ("burst:1s/20%", 0.0),
            ("burst:300ms/50%", 0.2),
            ("ramp", 0.0),
        ] {
            let moments = moments(pattern, noise);
            let off = moments.len().abs_diff(10_000);
            assert!(off < 350, "{pattern}: {}", moments.len());
            assert!(moments.is_sorted());
            assert!(moments.last().unwrap() < &Duration::from_secs(10));
        }
    }

    #[test]
    fn a_steady_load_is_even_and_a_burst_is_silent_for_the_rest_of_its_period() {
        assert_eq!(moments("steady", 0.0)[3], Duration::from_millis(3));
        for at in moments("burst:1s/20%", 0.0) {
            assert!(at.as_millis() % 1000 < 200, "{at:?}");
        }
    }

    #[test]
    fn a_ramp_brings_three_times_as_much_in_its_second_half() {
        let moments = moments("ramp", 0.0);
        let first = moments.partition_point(|at| at.as_secs() < 5);
        assert_eq!(first.abs_diff(moments.len() / 4), 0, "{first}");
    }

    #[test]
    fn messages_at_one_moment_are_at_one_moment() {
        assert_eq!(moments("once:5", 0.0), [Duration::ZERO; 5]);
    }

    #[test]
    fn patterns_are_read_as_they_are_shown() {
        for text in [
            "steady",
            "poisson",
            "ramp",
            "burst:250ms/20%",
            "once:100000",
        ] {
            assert_eq!(text.parse::<Pattern>().unwrap().to_string(), text);
        }
        for wrong in ["", "burst", "burst:1s", "once:many", "flat"] {
            assert!(wrong.parse::<Pattern>().is_err(), "{wrong}");
        }
    }
}
