//! Sans-I/O: a scenario: a link, a load, a broker, and the strategies to compare.

use std::{fmt, time::Duration};

use super::{
    arrivals::{Pattern, Schedule},
    strategy::Strategy,
};
use crate::congestion::Controller;
use anabranch::{
    scaler,
    sim::{LinkConfig, Loss, Queue, Rate},
    units,
};

/// Largest packet of the link, in bytes: the payload of an Ethernet frame.
const MTU: u64 = 1500;
/// Smallest queue given in round trips, in bytes: a round trip of a slow and short link is less than one packet.
const MIN_QUEUE: u64 = 16 * MTU;

/// Capacity of the queue of the link. Packets beyond it are dropped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum QueueSize {
    /// Capacity in bandwidth-delay products, at least 16 packets.
    Bdp(f64),
    /// Capacity in bytes.
    Bytes(u64),
}

/// Offered load: payload that the application sends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Load {
    /// A rate.
    Rate(Rate),
    /// A share of the rate of the link. May be more than 1.
    OfLink(f64),
}

/// One link, one load, one broker.
///
/// [`Scenario::set`] sets a field from text, by the field's name with `-` for `_`. These names are the flags of
/// `anabranch lab`, and the keys of its scenario files.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Scenario {
    /// Name of the scenario. Default: empty.
    pub name: String,
    /// Round-trip time of the empty link: twice its delay. Default 50 ms.
    pub rtt: Duration,
    /// Maximum extra delay of each packet, in each direction. Packets keep their order. Default 0.
    pub jitter: Duration,
    /// Share of packets lost, in each direction. Default 1 %.
    pub loss: f64,
    /// Average number of packets lost in a row. With 1, losses are independent. Default 1.
    pub burst: f64,
    /// Rate of the link, in each direction. Default 100 Mbit/s.
    pub rate: Rate,
    /// Queue of the link. Default one bandwidth-delay product.
    pub queue: QueueSize,
    /// Offered load. Default 50 % of the link.
    pub load: Load,
    /// Arrivals of messages. Default steady.
    pub pattern: Pattern,
    /// Maximum deviation of the gap between two messages, as a share of it. Default 0.
    pub noise: f64,
    /// Payload of a message in bytes, at least 8. Default 1 KiB.
    pub size: usize,
    /// Duration of the load. Default 20 s.
    pub duration: Duration,
    /// Time at the start whose messages are not measured. Default 0.
    pub warm_up: Duration,
    /// Time that the run continues after the last outcome. Default 0.
    pub tail: Duration,
    /// Congestion controller of both ends. Default CUBIC.
    pub congestion: Controller,
    /// Time the broker takes for each batch of a stream, one after another. Default 0.
    pub broker_delay: Duration,
    /// Time the store takes for each group of batches, for all streams together. Default 0.
    pub store_delay: Duration,
    /// Rate of the store. Default: no limit.
    pub store_rate: Option<Rate>,
    /// Number of streams the broker permits on a connection, including that of the session. Default: the broker's, or enough
    /// for one stream per message.
    pub peer_streams: Option<u32>,
    /// Receive window of the broker for each stream, in bytes. Default: the broker's.
    pub peer_window: Option<u32>,
    /// Limit of unanswered bytes on a lane. Default: the producer's.
    pub lane_window: u64,
    /// Queued messages per lane above which the scaler may open a lane. Default: the scaler's.
    pub backlog_threshold: usize,
    /// Limit of lanes of the adaptive strategy. Default: the scaler's.
    pub max_lanes: usize,
    /// Time after which an idle lane closes. Default: the scaler's.
    pub idle_timeout: Duration,
    /// Memory of the producer for messages, in bytes. Default: the producer's.
    pub buffer: u64,
    /// Times since the start of the load. The next packet toward the broker after each of them is lost. Default: none.
    pub lose_at: Vec<Duration>,
    /// Seed of all random numbers. Default 1.
    pub seed: u64,
    /// Number of runs, each with the next seed. Each figure is the median over the runs. Default 1.
    ///
    /// When losses are rare, the slowest messages of a single run depend on a handful of losses.
    pub runs: u32,
    /// Strategies to compare. Default: adaptive, 1, 4, 16 and 64 lanes, and one stream per message.
    pub strategies: Vec<Strategy>,
}

impl Default for Scenario {
    fn default() -> Self {
        let scaler = scaler::Config::default();
        let producer = anabranch::producer::Config::default();
        Self {
            name: String::new(),
            rtt: Duration::from_millis(50),
            jitter: Duration::ZERO,
            loss: 0.01,
            burst: 1.0,
            rate: Rate::mbit(100),
            queue: QueueSize::Bdp(1.0),
            load: Load::OfLink(0.5),
            pattern: Pattern::Steady,
            noise: 0.0,
            size: 1024,
            duration: Duration::from_secs(20),
            warm_up: Duration::ZERO,
            tail: Duration::ZERO,
            congestion: Controller::Cubic,
            broker_delay: Duration::ZERO,
            store_delay: Duration::ZERO,
            store_rate: None,
            peer_streams: None,
            peer_window: None,
            lane_window: scaler.lane_window,
            backlog_threshold: scaler.backlog_threshold,
            max_lanes: scaler.max_lanes,
            idle_timeout: scaler.idle_timeout,
            buffer: producer.buffer_bytes,
            lose_at: Vec::new(),
            seed: 1,
            runs: 1,
            strategies: Strategy::list("adaptive,1,4,16,64,per-message")
                .expect("the list is valid"),
        }
    }
}

/// A field of a scenario that is not valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScenarioError {
    /// Name of the field.
    pub field: String,
    /// The text that [`Scenario::set`] could not read. `None` for a value that breaks a rule of [`Scenario::check`].
    pub value: Option<String>,
    /// The rule that is broken.
    pub problem: String,
}

impl ScenarioError {
    pub(super) fn new(field: &str, problem: impl Into<String>) -> Self {
        Self {
            field: field.to_owned(),
            value: None,
            problem: problem.into(),
        }
    }
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            field,
            value,
            problem,
        } = self;
        match value {
            Some(value) => write!(f, "{field} = {value:?}: {problem}"),
            None => write!(f, "{field}: {problem}"),
        }
    }
}

impl std::error::Error for ScenarioError {}

/// The rule that a field's text breaks.
struct Problem(String);

impl From<String> for Problem {
    fn from(rule: String) -> Self {
        Self(rule)
    }
}

impl From<units::ParseError> for Problem {
    fn from(error: units::ParseError) -> Self {
        Self(error.to_string())
    }
}

impl Scenario {
    /// Sets a field by its name, from text.
    ///
    /// ```
    /// # fn main() -> Result<(), anabranch_lab::ScenarioError> {
    /// let mut scenario = anabranch_lab::Scenario::default();
    /// scenario.set("rtt", "200ms")?;
    /// scenario.set("load", "150%")?;
    /// scenario.set("pattern", "burst:1s/20%")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// An unknown name, or text that cannot be read as a value of the field.
    pub fn set(&mut self, field: &str, value: &str) -> Result<(), ScenarioError> {
        self.set_field(field, value)
            .map_err(|Problem(problem)| ScenarioError {
                field: field.to_owned(),
                value: Some(value.to_owned()),
                problem,
            })
    }

    fn set_field(&mut self, field: &str, value: &str) -> Result<(), Problem> {
        match field {
            "name" => value.clone_into(&mut self.name),
            "rtt" => self.rtt = units::parse_duration(value)?,
            "jitter" => self.jitter = units::parse_duration(value)?,
            "loss" => self.loss = units::parse_ratio(value)?,
            "burst" => self.burst = number(value)?,
            "rate" => self.rate = Rate::bits(units::parse_rate(value)?),
            "queue" => {
                self.queue = match value.strip_suffix("bdp") {
                    Some(times) => QueueSize::Bdp(number(times)?),
                    None => QueueSize::Bytes(units::parse_size(value)?),
                }
            }
            "load" => {
                self.load = match (units::parse_rate(value), units::parse_ratio(value)) {
                    (Ok(bits), _) => Load::Rate(Rate::bits(bits)),
                    (_, Ok(share)) => Load::OfLink(share),
                    _ => {
                        let rule = "expected a rate or a share of the link, such as 50mbit or 50%";
                        return Err(rule.to_owned().into());
                    }
                }
            }
            "pattern" => self.pattern = value.parse()?,
            "noise" => self.noise = units::parse_ratio(value)?,
            "size" => self.size = number_of(units::parse_size(value)?)?,
            "duration" => self.duration = units::parse_duration(value)?,
            "warm-up" => self.warm_up = units::parse_duration(value)?,
            "tail" => self.tail = units::parse_duration(value)?,
            "congestion" => self.congestion = value.parse()?,
            "broker-delay" => self.broker_delay = units::parse_duration(value)?,
            "store-delay" => self.store_delay = units::parse_duration(value)?,
            "store-rate" => self.store_rate = Some(Rate::bits(units::parse_rate(value)?)),
            "peer-streams" => self.peer_streams = Some(number(value)?),
            "peer-window" => self.peer_window = Some(number_of(units::parse_size(value)?)?),
            "lane-window" => self.lane_window = units::parse_size(value)?,
            "backlog-threshold" => self.backlog_threshold = number(value)?,
            "max-lanes" => self.max_lanes = number(value)?,
            "idle-timeout" => self.idle_timeout = units::parse_duration(value)?,
            "buffer" => self.buffer = units::parse_size(value)?,
            "lose-at" => {
                let moments = value.split(',').filter(|one| !one.is_empty());
                self.lose_at = moments
                    .map(units::parse_duration)
                    .collect::<Result<_, _>>()?;
            }
            "seed" => self.seed = number(value)?,
            "runs" => self.runs = number(value)?,
            "strategies" => self.strategies = Strategy::list(value)?,
            _ => return Err("there is no such option".to_owned().into()),
        }
        Ok(())
    }

    /// Returns the names and values of the main fields, and of all fields that differ from their default, as
    /// [`Scenario::set`] reads them.
    #[must_use]
    pub fn fields(&self) -> Vec<(&'static str, String)> {
        let default = Self::default();
        let mut fields = Vec::new();
        let mut field = |always, name, value: String, usual: String| {
            if always || value != usual {
                fields.push((name, value));
            }
        };
        let mut both = |always, name, show: &dyn Fn(&Self) -> String| {
            field(always, name, show(self), show(&default));
        };
        both(true, "name", &|s| s.name.clone());
        both(true, "rtt", &|s| units::format_duration(s.rtt));
        both(true, "jitter", &|s| units::format_duration(s.jitter));
        both(true, "loss", &|s| units::format_ratio(s.loss));
        both(true, "burst", &|s| s.burst.to_string());
        both(true, "rate", &|s| show_rate(s.rate));
        both(true, "queue", &|s| s.queue.to_string());
        both(true, "load", &|s| s.load.to_string());
        both(true, "pattern", &|s| s.pattern.to_string());
        both(false, "noise", &|s| units::format_ratio(s.noise));
        both(true, "size", &|s| units::format_size(s.size as u64));
        both(true, "duration", &|s| units::format_duration(s.duration));
        both(false, "warm-up", &|s| units::format_duration(s.warm_up));
        both(false, "tail", &|s| units::format_duration(s.tail));
        both(true, "congestion", &|s| s.congestion.to_string());
        both(true, "broker-delay", &|s| {
            units::format_duration(s.broker_delay)
        });
        both(false, "store-delay", &|s| {
            units::format_duration(s.store_delay)
        });
        both(false, "store-rate", &|s| {
            s.store_rate.map(show_rate).unwrap_or_default()
        });
        both(false, "peer-streams", &|s| {
            s.peer_streams.map(|n| n.to_string()).unwrap_or_default()
        });
        both(false, "peer-window", &|s| {
            s.peer_window
                .map(|n| units::format_size(n.into()))
                .unwrap_or_default()
        });
        both(false, "lane-window", &|s| units::format_size(s.lane_window));
        both(false, "backlog-threshold", &|s| {
            s.backlog_threshold.to_string()
        });
        both(false, "max-lanes", &|s| s.max_lanes.to_string());
        both(false, "idle-timeout", &|s| {
            units::format_duration(s.idle_timeout)
        });
        both(false, "buffer", &|s| units::format_size(s.buffer));
        both(false, "lose-at", &|s| {
            let moments: Vec<_> = s
                .lose_at
                .iter()
                .map(|at| units::format_duration(*at))
                .collect();
            moments.join(",")
        });
        both(true, "seed", &|s| s.seed.to_string());
        both(false, "runs", &|s| s.runs.to_string());
        both(true, "strategies", &|s| {
            let names: Vec<_> = s.strategies.iter().map(ToString::to_string).collect();
            names.join(",")
        });
        fields
    }

    /// Checks every field.
    ///
    /// # Errors
    /// The first field that breaks a rule.
    pub fn check(&self) -> Result<(), ScenarioError> {
        let rule = |holds: bool, field, problem: &str| match holds {
            true => Ok(()),
            false => Err(ScenarioError::new(field, problem)),
        };
        self.link()
            .check()
            .map_err(|error| ScenarioError::new("link", error.to_string()))?;
        rule(self.rate.as_bits() > 0, "rate", "must be above 0")?;
        rule(self.size >= 8, "size", "must be at least 8 bytes")?;
        rule(
            self.message_rate() > 0.0 && self.message_rate().is_finite(),
            "load",
            "must be above 0",
        )?;
        rule(
            (0.0..1.0).contains(&self.noise),
            "noise",
            "must be 0 to 100 %",
        )?;
        if let Pattern::Burst { period, duty } = self.pattern {
            let whole = !period.is_zero() && duty > 0.0 && duty <= 1.0;
            rule(
                whole,
                "pattern",
                "a burst needs a period above 0, and a duty above 0 and up to 100 %",
            )?;
        }
        rule(!self.duration.is_zero(), "duration", "must be above 0")?;
        rule(
            self.warm_up < self.duration,
            "warm-up",
            "must be less than the duration",
        )?;
        rule(
            !self.strategies.is_empty(),
            "strategies",
            "must not be empty",
        )?;
        rule(self.runs >= 1, "runs", "must be at least 1")?;
        rule(
            self.peer_streams.is_none_or(|streams| streams >= 2),
            "peer-streams",
            "must be at least 2: one for the session, one to send on",
        )
    }

    /// Returns the link, which is the same in both directions.
    #[must_use]
    pub fn link(&self) -> LinkConfig {
        let queue = match self.queue {
            QueueSize::Bdp(times) => {
                let bytes = self.rate.bytes_in(self.rtt.mul_f64(times.clamp(0.0, 1e6)));
                bytes.max(MIN_QUEUE)
            }
            QueueSize::Bytes(bytes) => bytes,
        };
        let link = LinkConfig::default()
            .delay(self.rtt / 2)
            .jitter(self.jitter)
            .rate(self.rate)
            .queue(Queue::DropTail { bytes: queue })
            .mtu(MTU);
        match (self.loss > 0.0, self.burst > 1.0) {
            (false, _) => link,
            (true, false) => link.loss(Loss::Random(self.loss)),
            (true, true) => link.loss(Loss::Bursty {
                share: self.loss,
                mean_burst: self.burst,
            }),
        }
    }

    /// Returns the offered load of payload, in bits per second.
    #[must_use]
    pub fn offered(&self) -> f64 {
        match self.load {
            Load::Rate(rate) => rate.as_bits() as f64,
            Load::OfLink(share) => self.rate.as_bits() as f64 * share,
        }
    }

    /// Returns the mean number of messages per second.
    #[must_use]
    pub fn message_rate(&self) -> f64 {
        self.offered() / (8.0 * self.size as f64)
    }

    pub(super) fn schedule(&self, seed: u64) -> Schedule {
        // A separate generator, so that other draws do not change the messages.
        let rng = fastrand::Rng::with_seed(seed ^ 0x6c6f_6164);
        let rate = self.message_rate();
        Schedule::new(self.pattern, rate, self.noise, self.duration, rng)
    }
}

fn number<T: std::str::FromStr>(value: &str) -> Result<T, String> {
    value
        .trim()
        .parse()
        .map_err(|_| "expected a number".to_owned())
}

fn number_of<T: TryFrom<u64>>(value: u64) -> Result<T, String> {
    T::try_from(value).map_err(|_| "too large".to_owned())
}

fn show_rate(rate: Rate) -> String {
    units::format_rate(rate.as_bits())
}

impl fmt::Display for QueueSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bdp(times) => write!(f, "{times}bdp"),
            Self::Bytes(bytes) => f.write_str(&units::format_size(*bytes)),
        }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rate(rate) => f.write_str(&show_rate(*rate)),
            Self::OfLink(share) => f.write_str(&units::format_ratio(*share)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_is_read_again_from_its_own_fields() {
        let mut scenario = Scenario::default();
        for (field, value) in [
            ("name", "a name"),
            ("rtt", "200ms"),
            ("jitter", "3ms"),
            ("loss", "0.5%"),
            ("burst", "4"),
            ("rate", "1gbit"),
            ("queue", "0.5bdp"),
            ("load", "150%"),
            ("pattern", "burst:1s/20%"),
            ("noise", "20%"),
            ("size", "64KiB"),
            ("duration", "3s"),
            ("warm-up", "1s"),
            ("tail", "2s"),
            ("congestion", "bbr"),
            ("broker-delay", "10ms"),
            ("store-delay", "20ms"),
            ("store-rate", "40mbit"),
            ("peer-streams", "2"),
            ("peer-window", "1250000B"),
            ("lane-window", "1MiB"),
            ("backlog-threshold", "32"),
            ("max-lanes", "8"),
            ("idle-timeout", "500ms"),
            ("buffer", "1MiB"),
            ("lose-at", "1s,2s"),
            ("seed", "9"),
            ("runs", "3"),
            ("strategies", "adaptive,2,per-message"),
        ] {
            let before = scenario.clone();
            scenario.set(field, value).unwrap();
            assert_ne!(scenario, before, "{field} changes something");
        }
        let mut again = Scenario::default();
        for (field, value) in scenario.fields() {
            again.set(field, &value).unwrap();
        }
        assert_eq!(again, scenario);
        assert_eq!(scenario.check(), Ok(()));
    }

    #[test]
    fn what_cannot_be_is_named_with_its_field() {
        for (field, value, said) in [
            ("loss", "200%", "loss.share"),
            ("size", "4B", "size: must be at least 8"),
            ("load", "0%", "load: must be above 0"),
            ("warm-up", "30s", "warm-up: must be less"),
            ("peer-streams", "1", "peer-streams: must be at least 2"),
            ("pattern", "burst:0s/20%", "pattern: a burst needs"),
        ] {
            let mut scenario = Scenario::default();
            scenario.set(field, value).unwrap();
            let error = scenario.check().unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        let error = Scenario::default().set("rtt", "50").unwrap_err();
        assert_eq!(
            error.to_string(),
            "rtt = \"50\": expected a duration, such as 250ms, 1.5s or 1h"
        );
        assert!(Scenario::default().set("speed", "1").is_err());
    }

    #[test]
    fn the_queue_of_one_round_trip_has_at_least_sixteen_packets() {
        let bytes = |rtt: &str, rate: &str| {
            let mut scenario = Scenario::default();
            scenario.set("rtt", rtt).unwrap();
            scenario.set("rate", rate).unwrap();
            match scenario.link().queue {
                Queue::DropTail { bytes } => bytes,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(bytes("50ms", "100mbit"), 625_000);
        assert_eq!(bytes("1ms", "5mbit"), 24_000);
    }
}
