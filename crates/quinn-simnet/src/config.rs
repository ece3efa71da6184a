//! Sans-I/O: the configuration of one direction, and its check.

use std::{fmt, time::Duration};

/// The minimum size of a queue or a bucket, in bytes: one packet of an Ethernet path.
const ONE_PACKET: u64 = 1500;

/// The maximum of a delay, a jitter or a stall.
const MAX_TIME: Duration = Duration::from_hours(24);

/// A data rate, in bits a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(u64);

impl Rate {
    /// Returns a rate in bits a second.
    #[must_use]
    pub const fn bits(per_second: u64) -> Self {
        Self(per_second)
    }

    /// Returns a rate in thousands of bits a second.
    #[must_use]
    pub const fn kbit(per_second: u64) -> Self {
        Self(per_second.saturating_mul(1_000))
    }

    /// Returns a rate in millions of bits a second.
    #[must_use]
    pub const fn mbit(per_second: u64) -> Self {
        Self(per_second.saturating_mul(1_000_000))
    }

    /// Returns a rate in thousand millions of bits a second.
    #[must_use]
    pub const fn gbit(per_second: u64) -> Self {
        Self(per_second.saturating_mul(1_000_000_000))
    }

    /// Returns the rate in bits a second.
    #[must_use]
    pub const fn as_bits(self) -> u64 {
        self.0
    }

    /// Returns the transmission time of `bytes`, rounded up to the nanosecond; [`Duration::MAX`] at a rate of zero.
    #[must_use]
    pub fn time_for(self, bytes: u64) -> Duration {
        const BIT_NANOS: u128 = 8 * 1_000_000_000;
        if self.0 == 0 {
            return Duration::MAX;
        }
        let nanos = (u128::from(bytes) * BIT_NANOS).div_ceil(u128::from(self.0));
        u64::try_from(nanos).map_or(Duration::MAX, Duration::from_nanos)
    }

    /// Returns the whole bytes transmitted in `time`. With the round trip time, this is the bandwidth-delay product.
    #[must_use]
    pub fn bytes_in(self, time: Duration) -> u64 {
        let bits = time.as_nanos().saturating_mul(u128::from(self.0)) / 1_000_000_000;
        u64::try_from(bits / 8).unwrap_or(u64::MAX)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n if n >= 1_000_000_000 && n % 1_000_000_000 == 0 => {
                write!(f, "{} Gbit/s", n / 1_000_000_000)
            }
            n if n >= 1_000_000 && n % 1_000_000 == 0 => write!(f, "{} Mbit/s", n / 1_000_000),
            n if n >= 1_000 && n % 1_000 == 0 => write!(f, "{} kbit/s", n / 1_000),
            n => write!(f, "{n} bit/s"),
        }
    }
}

/// How a link loses packets at random, after the queue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Loss {
    /// Each packet is lost with this probability, from 0 to 1, independently of all others.
    Random(f64),
    /// Packets are lost in bursts (the Gilbert-Elliott model: a good state that loses nothing, a bad state that loses
    /// everything).
    Bursty {
        /// The share of all packets that is lost in the long run, from 0 to 1.
        share: f64,
        /// The mean length of a burst in packets, at least 1. The lengths are geometrically distributed.
        mean_burst: f64,
    },
}

impl Loss {
    /// Returns the share of packets that is lost in the long run.
    #[must_use]
    pub const fn share(&self) -> f64 {
        match *self {
            Self::Random(share) | Self::Bursty { share, .. } => share,
        }
    }
}

/// How a direction enforces its rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queue {
    /// Queues packets and sends them at the rate of the link. Packets that find the queue full are dropped.
    DropTail {
        /// The size of the queue in bytes, the packet that is being sent included. At least 1,500.
        bytes: u64,
    },
    /// A token bucket, filled at the rate of the link. Packets pass at once while there are tokens. Otherwise they wait in
    /// a shallow queue, and are dropped where that is full.
    Policer {
        /// The size of the bucket in bytes. It is full at the start. At least 1,500.
        burst: u64,
        /// The size of the queue in bytes; 0 for a policer that drops at once.
        queue: u64,
    },
}

/// Packets that are held back, so that later ones arrive first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reorder {
    /// The share of packets that is held back, from 0 to 1.
    pub share: f64,
    /// The time by which they are held back, in addition to the delay.
    pub by: Duration,
}

/// The configuration of one direction of the network.
///
/// The default is a perfect link: no delay, no limit, no fault. Sizes are those of IP packets: the UDP payload and 28
/// bytes of headers (48 for IPv6).
///
/// ```
/// use std::time::Duration;
/// use quinn_simnet::{LinkConfig, Loss, Rate};
///
/// let mobile = LinkConfig::default()
///     .delay(Duration::from_millis(40))
///     .rate(Rate::mbit(20))
///     .loss(Loss::Bursty { share: 0.01, mean_burst: 4.0 });
/// assert!(mobile.check().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LinkConfig {
    /// The one-way delay of a packet after the queue. Default: zero.
    pub delay: Duration,
    /// The maximum of a uniformly random addition to the delay of each packet. Default: zero.
    pub jitter: Duration,
    /// Whether packets stay in order despite jitter. A packet that would overtake another then arrives together with it.
    /// Default: true.
    pub keep_order: bool,
    /// The rate; `None` for no limit. Default: `None`.
    pub rate: Option<Rate>,
    /// The queue in front of that rate. Default: 256 KiB, tail drop.
    pub queue: Queue,
    /// The random loss. Default: `None`.
    pub loss: Option<Loss>,
    /// The reordering. Default: `None`.
    pub reorder: Option<Reorder>,
    /// The share of packets that arrives twice, from 0 to 1. Default: 0.
    pub duplicate: f64,
    /// The share of packets that arrives with one flipped bit, from 0 to 1. Default: 0.
    pub corrupt: f64,
    /// The bytes in the queue above which ECN-capable packets are marked (congestion experienced). Default: `None`, no
    /// marks.
    pub mark_above: Option<u64>,
    /// The maximum size of an IP packet in bytes. Larger ones are dropped silently. Default: `None`, any size.
    pub mtu: Option<u64>,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            keep_order: true,
            rate: None,
            queue: Queue::DropTail { bytes: 256 * 1024 },
            loss: None,
            reorder: None,
            duplicate: 0.0,
            corrupt: 0.0,
            mark_above: None,
            mtu: None,
        }
    }
}

impl LinkConfig {
    /// Returns a local network: 100 µs one way, 1 Gbit/s, 256 KiB of queue.
    #[must_use]
    pub fn lan() -> Self {
        Self::default()
            .delay(Duration::from_micros(100))
            .rate(Rate::gbit(1))
            .mtu(1500)
    }

    /// Returns a wired line across a continent: 25 ms one way, 100 Mbit/s, one round trip (625 kB) of queue.
    #[must_use]
    pub fn broadband() -> Self {
        Self::default()
            .delay(Duration::from_millis(25))
            .rate(Rate::mbit(100))
            .queue(Queue::DropTail { bytes: 625_000 })
            .mtu(1500)
    }

    /// Returns a mobile network: 40 ms one way and up to 10 ms of jitter, 20 Mbit/s, a deep queue (1 MB, 400 ms), 1 % loss
    /// in bursts of four.
    #[must_use]
    pub fn cellular() -> Self {
        Self::default()
            .delay(Duration::from_millis(40))
            .jitter(Duration::from_millis(10))
            .rate(Rate::mbit(20))
            .queue(Queue::DropTail { bytes: 1_000_000 })
            .loss(Loss::Bursty {
                share: 0.01,
                mean_burst: 4.0,
            })
            .mtu(1500)
    }

    /// Returns a geostationary satellite link: 300 ms one way, 20 Mbit/s, one round trip (1.5 MB) of queue, 0.5 % loss.
    #[must_use]
    pub fn satellite() -> Self {
        Self::default()
            .delay(Duration::from_millis(300))
            .rate(Rate::mbit(20))
            .queue(Queue::DropTail { bytes: 1_500_000 })
            .loss(Loss::Random(0.005))
            .mtu(1500)
    }

    /// Sets [`LinkConfig::delay`].
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Sets [`LinkConfig::jitter`].
    #[must_use]
    pub fn jitter(mut self, jitter: Duration) -> Self {
        self.jitter = jitter;
        self
    }

    /// Sets [`LinkConfig::keep_order`].
    #[must_use]
    pub fn keep_order(mut self, keep_order: bool) -> Self {
        self.keep_order = keep_order;
        self
    }

    /// Sets [`LinkConfig::rate`].
    #[must_use]
    pub fn rate(mut self, rate: Rate) -> Self {
        self.rate = Some(rate);
        self
    }

    /// Sets [`LinkConfig::queue`].
    #[must_use]
    pub fn queue(mut self, queue: Queue) -> Self {
        self.queue = queue;
        self
    }

    /// Sets [`LinkConfig::loss`].
    #[must_use]
    pub fn loss(mut self, loss: Loss) -> Self {
        self.loss = Some(loss);
        self
    }

    /// Sets [`LinkConfig::reorder`].
    #[must_use]
    pub fn reorder(mut self, share: f64, by: Duration) -> Self {
        self.reorder = Some(Reorder { share, by });
        self
    }

    /// Sets [`LinkConfig::duplicate`].
    #[must_use]
    pub fn duplicate(mut self, share: f64) -> Self {
        self.duplicate = share;
        self
    }

    /// Sets [`LinkConfig::corrupt`].
    #[must_use]
    pub fn corrupt(mut self, share: f64) -> Self {
        self.corrupt = share;
        self
    }

    /// Sets [`LinkConfig::mark_above`].
    #[must_use]
    pub fn mark_above(mut self, bytes: u64) -> Self {
        self.mark_above = Some(bytes);
        self
    }

    /// Sets [`LinkConfig::mtu`].
    #[must_use]
    pub fn mtu(mut self, bytes: u64) -> Self {
        self.mtu = Some(bytes);
        self
    }

    /// Checks the configuration. Everything that takes a configuration checks it first.
    ///
    /// # Errors
    ///
    /// Every problem at once, each with the field, its value and the rule.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut problems = Vec::new();
        if let Some(Rate(0)) = self.rate {
            problems.push(
                "rate = 0: must be above 0 (to let nothing through, cut the link)".to_owned(),
            );
        }
        let (field, bytes) = match self.queue {
            Queue::DropTail { bytes } => ("queue.bytes", bytes),
            Queue::Policer { burst, .. } => ("queue.burst", burst),
        };
        if bytes < ONE_PACKET {
            problems.push(format!(
                "{field} = {bytes}: must hold one packet ({ONE_PACKET})"
            ));
        }
        for (field, time) in [
            ("delay", self.delay),
            ("jitter", self.jitter),
            (
                "reorder.by",
                self.reorder.map_or(Duration::ZERO, |reorder| reorder.by),
            ),
        ] {
            if time > MAX_TIME {
                problems.push(format!("{field} = {time:?}: must be at most a day"));
            }
        }
        let mut share = |field: &str, share: f64| {
            if !(0.0..=1.0).contains(&share) {
                problems.push(format!("{field} = {share}: must be from 0 to 1"));
            }
        };
        share("duplicate", self.duplicate);
        share("corrupt", self.corrupt);
        if let Some(reorder) = self.reorder {
            share("reorder.share", reorder.share);
        }
        if let Some(loss) = self.loss {
            share("loss.share", loss.share());
            if let Loss::Bursty { share, mean_burst } = loss {
                if !(mean_burst >= 1.0 && mean_burst.is_finite()) {
                    problems.push(format!(
                        "loss.mean_burst = {mean_burst}: must be at least 1"
                    ));
                } else if share > mean_burst / (mean_burst + 1.0) {
                    problems.push(format!(
                        "loss.share = {share}: bursts of {mean_burst} lose at most {} (one packet between them)",
                        mean_burst / (mean_burst + 1.0),
                    ));
                }
            }
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(ConfigError { problems })
        }
    }
}

/// An invalid configuration or change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid link: {}", problems.join("; "))]
pub struct ConfigError {
    problems: Vec<String>,
}

impl ConfigError {
    /// Returns the problems, one sentence each, with the field, its value and the rule.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_reported_at_once() {
        let error = LinkConfig::default()
            .rate(Rate::bits(0))
            .queue(Queue::DropTail { bytes: 10 })
            .loss(Loss::Random(1.5))
            .delay(Duration::MAX)
            .reorder(-0.1, Duration::ZERO)
            .duplicate(f64::NAN)
            .corrupt(2.0)
            .check()
            .unwrap_err();
        let fields: Vec<_> = error
            .problems()
            .iter()
            .map(|problem| problem.split(' ').next().unwrap())
            .collect();
        assert_eq!(
            fields,
            [
                "rate",
                "queue.bytes",
                "delay",
                "duplicate",
                "corrupt",
                "reorder.share",
                "loss.share"
            ]
        );
    }

    #[test]
    fn bursts_that_would_leave_no_gap_are_refused() {
        let bursty =
            |share, mean_burst| LinkConfig::default().loss(Loss::Bursty { share, mean_burst });
        assert!(bursty(0.5, 1.0).check().is_ok());
        assert!(bursty(0.6, 1.0).check().is_err());
        assert!(bursty(0.01, 0.5).check().is_err());
        assert!(bursty(0.01, f64::INFINITY).check().is_err());
    }

    #[test]
    fn every_preset_is_valid() {
        for preset in [
            LinkConfig::default(),
            LinkConfig::lan(),
            LinkConfig::broadband(),
            LinkConfig::cellular(),
            LinkConfig::satellite(),
        ] {
            assert_eq!(preset.check(), Ok(()));
        }
    }

    #[test]
    fn a_rate_turns_bytes_into_time_and_back() {
        assert_eq!(Rate::mbit(100).time_for(1250), Duration::from_micros(100));
        assert_eq!(
            Rate::bits(3).time_for(1),
            Duration::from_nanos(2_666_666_667)
        );
        assert_eq!(Rate::mbit(100).bytes_in(Duration::from_millis(50)), 625_000);
        assert_eq!(Rate::mbit(100).to_string(), "100 Mbit/s");
        assert_eq!(Rate::bits(1_500).to_string(), "1500 bit/s");
    }
}
