//! The cases, each with its goals.

use std::{fmt, num::NonZeroUsize, sync::Arc, time::Duration};

use anabranch::{
    conn::Congestion,
    sim::{Rate, TcpCubicConfig},
};

use super::{
    figure::{
        Figure,
        Goal::{self, AtLeast, AtMost},
        Length,
    },
    flows::{Flow, Trial, run_trial},
    link::Link,
    record::{Record, jain},
};
use crate::{
    Controller, Scenario, Strategy, floor, run,
    stats::{self, Quantiles},
};

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);
/// Number of lanes of the producer.
const LANES: NonZeroUsize = NonZeroUsize::new(64).expect("64 is not 0");
/// Payload of a full link, as a share of its rate: 1415 of 1480 bytes, and a little less.
const FULL: f64 = 0.95;

/// A case: links and flows, and goals for their figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Case {
    /// 1 % loss, with half the link offered by a producer with 64 lanes.
    OnePercent,
    /// 5 % loss, with half the link offered by a producer with 64 lanes.
    FivePercent,
    /// A greedy flow with 0, 0.1, 1 and 3 % loss.
    Greedy,
    /// 90 % of the link offered, without loss.
    Ninety,
    /// The rate falls to a tenth, and rises again.
    RateFalls,
    /// The round-trip time triples, and falls again.
    RttRises,
    /// Losses in bursts of eight packets.
    Bursts,
    /// A policer with a bucket of 0.1 bandwidth-delay products.
    Policer,
    /// A queue of 0.1 bandwidth-delay products.
    Shallow,
    /// In competition with one flow of CUBIC as Linux runs it, with queues of one and four bandwidth-delay products.
    CompetingCubic,
    /// Four flows of the same controller, started one after another.
    FourFlows,
    /// A greedy flow, without loss and with 5 %, over 1 to 600 ms and 1 to 1000 Mbit/s.
    Sweep,
}

impl Case {
    /// All cases, in the order of the table.
    pub const ALL: [Self; 12] = [
        Self::OnePercent,
        Self::FivePercent,
        Self::Greedy,
        Self::Ninety,
        Self::RateFalls,
        Self::RttRises,
        Self::Bursts,
        Self::Policer,
        Self::Shallow,
        Self::CompetingCubic,
        Self::FourFlows,
        Self::Sweep,
    ];

    /// Runs the case with this controller. The same seed gives the same figures.
    ///
    /// # Panics
    /// In a thread that runs a tokio runtime.
    #[must_use]
    pub fn run(self, controller: Controller, length: Length, seed: u64) -> Vec<Figure> {
        let seconds = |full, short| match length {
            Length::Full => S * full,
            Length::Short => S * short,
        };
        let runner = Runner { controller, seed };
        match self {
            Self::OnePercent => runner.one_percent(seconds(20, 5)),
            Self::FivePercent => runner.five_percent(seconds(20, 5)),
            Self::Greedy => [("0 %", 0.0), ("0.1 %", 0.001), ("1 %", 0.01), ("3 %", 0.03)]
                .into_iter()
                .map(|(name, loss)| {
                    let goodput = runner.greedy(Link::usual().loss(loss), seconds(20, 3)).0;
                    Figure::new(name, goodput, AtLeast(0.9 * (1.0 - loss)))
                })
                .collect(),
            // Start-up fills the queue, which takes seconds to drain with a tenth of the rate to spare.
            Self::Ninety => runner.ninety(S * 20),
            Self::RateFalls => runner.rate_falls(length),
            Self::RttRises => runner.rtt_rises(length),
            Self::Bursts => {
                let link = Link::usual().bursts(0.02, 8.0);
                let goodput = runner.greedy(link, seconds(30, 10)).0;
                vec![Figure::new("goodput", goodput, AtLeast(0.7))]
            }
            Self::Policer => runner.shallow(Link::usual().queue(0.1).policed(), seconds(30, 12)),
            Self::Shallow => runner.shallow(Link::usual().queue(0.1), seconds(30, 12)),
            Self::CompetingCubic => [("first, 1 BDP", 1.0, 0), ("first, 4 BDP", 4.0, 0)]
                .into_iter()
                .chain([("second, 1 BDP", 1.0, 5), ("second, 4 BDP", 4.0, 5)])
                .filter(|(_, queue, _)| length == Length::Full || *queue < 2.0)
                .flat_map(|(name, queue, late)| {
                    let link = match length {
                        Length::Full => Link::usual(),
                        Length::Short => Link::new(Rate::mbit(20), MS * 50),
                    };
                    let share = runner.competing(link.queue(queue), S * late, seconds(90, 40));
                    // The share of the smaller of the two flows.
                    let smaller = 0.5 - (share - 0.5).abs();
                    [
                        Figure::new(name, share, Goal::None),
                        Figure::new("smaller share", smaller, AtLeast(1.0 / 3.0)),
                    ]
                })
                .collect(),
            Self::FourFlows => {
                let starts = [0, 3, 6, 9].map(|second| S * second);
                let trial = runner.trial(Link::usual(), S * 32, &starts, None);
                let shares = run_trial(&trial).shares(&(S * 20..S * 32), Rate::mbit(100));
                vec![
                    Figure::new("Jain", jain(&shares), AtLeast(0.9)),
                    Figure::new("goodput", shares.iter().sum(), AtLeast(0.9)),
                ]
            }
            Self::Sweep => runner.sweep(length),
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OnePercent => "1 % loss, 50 Mbit/s offered",
            Self::FivePercent => "5 % loss, 50 Mbit/s offered",
            Self::Greedy => "greedy, with losses: goodput",
            Self::Ninety => "90 Mbit/s offered, queue 1 BDP",
            Self::RateFalls => "rate falls from 100 to 10 Mbit/s and back",
            Self::RttRises => "round trip rises from 50 to 150 ms and back",
            Self::Bursts => "2 % loss in bursts of 8",
            Self::Policer => "policer, bucket 0.1 BDP",
            Self::Shallow => "queue 0.1 BDP",
            Self::CompetingCubic => "with one flow of Linux's CUBIC: share of the goodput of both",
            Self::FourFlows => "four flows, 3 s apart",
            Self::Sweep => "1 to 600 ms, 1 to 1000 Mbit/s: worst goodput",
        })
    }
}

/// Runs trials with one controller.
#[derive(Clone, Copy)]
struct Runner {
    controller: Controller,
    seed: u64,
}

impl Runner {
    fn trial(
        &self,
        link: Link,
        duration: Duration,
        starts: &[Duration],
        load: Option<Rate>,
    ) -> Trial {
        let mut trial = link.trial(duration);
        trial.seed = self.seed;
        let flow = |start: &Duration| Flow {
            congestion: self.controller.into(),
            start: *start,
            load,
        };
        trial.flows = starts.iter().map(flow).collect();
        trial
    }

    fn one(&self, link: Link, duration: Duration, load: Option<f64>) -> Record {
        let share = |load| Rate::bits(link.rate.bytes_in(S.mul_f64(load)) * 8);
        run_trial(&self.trial(link, duration, &[Duration::ZERO], load.map(share)))
    }

    /// Runs a producer with 64 lanes that offers half the link. Returns one-way delivery times after start-up, the delivered
    /// share of the load, and the floor.
    fn produced(&self, loss: f64, duration: Duration) -> (Quantiles, f64, Quantiles) {
        let scenario = Scenario {
            loss,
            duration,
            warm_up: duration / 4,
            congestion: self.controller,
            seed: self.seed,
            ..Scenario::default()
        };
        // A producer that does not connect delivers nothing.
        let (delivery, throughput) = match run(&scenario, Strategy::Static(LANES)) {
            Ok(outcome) => (outcome.delivery_ms, outcome.throughput_mbit),
            Err(_) => Default::default(),
        };
        (
            delivery,
            throughput * 1e6 / scenario.offered(),
            floor(&scenario),
        )
    }

    fn one_percent(&self, duration: Duration) -> Vec<Figure> {
        let (delivery, carried, _) = self.produced(0.01, duration);
        vec![
            Figure::new("carried", carried, AtLeast(0.99)),
            Figure::new("p50 ms", delivered(delivery.p50), AtMost(26.5)),
            Figure::new("p90 ms", delivered(delivery.p90), AtMost(26.9)),
            Figure::new("p99 ms", delivered(delivery.p99), AtMost(79.0)),
        ]
    }

    fn five_percent(&self, duration: Duration) -> Vec<Figure> {
        let (delivery, carried, floor) = self.produced(0.05, duration);
        vec![
            Figure::new("carried", carried, AtLeast(0.99)),
            Figure::new("p50 ms", delivered(delivery.p50), AtMost(1.1 * floor.p50)),
            Figure::new("p99 ms", delivered(delivery.p99), AtMost(1.3 * floor.p99)),
        ]
    }

    /// Returns goodput after start-up, and the share of packets dropped at the queue.
    fn greedy(&self, link: Link, duration: Duration) -> (f64, f64) {
        let record = self.one(link, duration, None);
        let span = duration / 4..duration;
        (
            record.goodput(&span, link.rate),
            record.dropped_share(&span),
        )
    }

    fn ninety(&self, duration: Duration) -> Vec<Figure> {
        let link = Link::usual();
        let record = self.one(link, duration, Some(0.9));
        let all = Duration::ZERO..duration;
        let cubic = Self {
            controller: Controller::Cubic,
            ..*self
        };
        let cubic = cubic.one(link, duration, Some(0.9));
        // With a window that is never too small: half a round trip and the sending of the message.
        let ideal = 25.2;
        let delivery = record.delivery(&(duration / 4..duration - S));
        vec![
            Figure::new("p99 ms", delivery.p99, AtMost(1.5 * ideal)),
            Figure::new(
                "drops",
                record.drops(&all) as f64,
                AtMost(cubic.drops(&all) as f64),
            ),
        ]
    }

    fn rate_falls(&self, length: Length) -> Vec<Figure> {
        let link = Link::usual();
        let slow = Rate::mbit(10);
        let (falls, rises, end) = match length {
            Length::Full => (S * 5, S * 15, S * 22),
            Length::Short => (S * 2, S * 5, S * 7),
        };
        let mut trial = self.trial(link, end, &[Duration::ZERO], None);
        trial.rates = vec![(falls, slow), (rises, link.rate)];
        let record = run_trial(&trial);
        let rtt = link.rtt;
        let down = record.settled(&(falls..rises), slow, rtt * 4, 0.85, rtt * 2);
        let up = record.settled(&(rises..end), link.rate, rtt * 4, 0.85, rtt * 2);
        let queue = record.queueing(&(falls + S..rises), slow, 0.99);
        vec![
            Figure::new("down ms", millis(down), AtMost(500.0)),
            Figure::new("p99 queueing ms, after 1 s", queue, AtMost(100.0)),
            Figure::new("up ms", millis(up), AtMost(500.0)),
        ]
    }

    fn rtt_rises(&self, length: Length) -> Vec<Figure> {
        let link = Link::usual();
        let (rises, falls, end) = match length {
            Length::Full => (S * 5, S * 20, S * 32),
            Length::Short => (S * 2, S * 6, S * 9),
        };
        let mut trial = self.trial(link, end, &[Duration::ZERO], None);
        trial.delays = vec![(rises, MS * 75), (falls, MS * 25)];
        let record = run_trial(&trial);
        let settled = |span, rtt: Duration| record.settled(&span, link.rate, rtt * 4, 0.85, rtt);
        let up = settled(rises..falls, MS * 150);
        let down = settled(falls..end, MS * 50);
        vec![
            Figure::new("up ms", millis(up), AtMost(10_000.0)),
            Figure::new("down ms", millis(down), AtMost(10_000.0)),
        ]
    }

    fn shallow(&self, link: Link, duration: Duration) -> Vec<Figure> {
        let (goodput, dropped) = self.greedy(link, duration);
        vec![
            Figure::new("goodput", goodput, AtLeast(0.7)),
            Figure::new("dropped", dropped, AtMost(0.03)),
        ]
    }

    /// Returns the share of the goodput of both flows, in competition with a flow of Linux's CUBIC that started `late`
    /// earlier, during the last two thirds.
    fn competing(&self, link: Link, late: Duration, duration: Duration) -> f64 {
        let mut trial = self.trial(link, duration, &[late], None);
        trial.flows.push(Flow {
            congestion: Congestion::Custom(Arc::new(TcpCubicConfig::default())),
            start: Duration::ZERO,
            load: None,
        });
        let shares = run_trial(&trial).shares(&(duration / 3..duration), link.rate);
        shares[0] / (shares[0] + shares[1])
    }

    fn sweep(&self, length: Length) -> Vec<Figure> {
        let (rtts, rates): (&[u32], &[u64]) = match length {
            Length::Full => (&[1, 20, 200, 600], &[1, 10, 1000]),
            Length::Short => (&[1, 200], &[10]),
        };
        let mut figures = Vec::new();
        for (loss, name) in [(0.0, "without loss"), (0.05, "with 5 %")] {
            let mut worst = f64::INFINITY;
            for (rtt, rate) in rtts
                .iter()
                .flat_map(|rtt| rates.iter().map(move |rate| (rtt, rate)))
            {
                // A gigabit over 600 ms would take a gigabyte of memory per trial.
                if *rtt == 600 && *rate == 1000 {
                    continue;
                }
                let link = Link::new(Rate::mbit(*rate), MS * *rtt).loss(loss);
                let seconds = match (*rate, *rtt) {
                    (1000, 200) => 12,
                    (1000, _) => 6,
                    (_, 600) => 60,
                    _ => 30,
                };
                let goodput = self.last_half(link, S * seconds);
                worst = worst.min(goodput / (FULL * (1.0 - loss)));
            }
            figures.push(Figure::new(name, worst, AtLeast(0.9)));
        }
        figures
    }

    fn last_half(&self, link: Link, duration: Duration) -> f64 {
        let record = self.one(link, duration, None);
        record.goodput(&(duration / 2..duration), link.rate)
    }
}

/// Returns milliseconds, or infinity for an event that never happened.
fn millis(time: Option<Duration>) -> f64 {
    time.map_or(f64::INFINITY, stats::millis)
}

/// Returns a quantile of delivery times, or infinity when nothing was delivered.
fn delivered(quantile: f64) -> f64 {
    if quantile > 0.0 {
        quantile
    } else {
        f64::INFINITY
    }
}
