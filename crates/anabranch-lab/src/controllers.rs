//! What each congestion controller is worth: one row a promise, the controllers side by side.
//!
//! The rows are those that a controller for links that lose must hold, on a link of 100 Mbit/s and 50 ms where nothing
//! else is said. Each is played with one controller at a time and gives some figures, each with what is wanted of it.

mod rows;

use std::{fmt, time::Duration};

pub use rows::Row;

use super::{
    Controller,
    flows::{STREAMS, Trial},
};
use anabranch::{
    conn::Congestion,
    sim::{LinkConfig, Loss, Queue, Rate},
};

/// The controllers that are compared.
pub const CONTROLLERS: [Controller; 4] = [
    Controller::Thalweg,
    Controller::Cubic,
    Controller::NewReno,
    Controller::Bbr,
];

/// How long the trials take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// As long as the goals say: minutes of virtual time.
    Full,
    /// As short as the promise can still be seen in, for tests.
    Short,
}

/// What is wanted of a figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// At most so much.
    AtMost(f64),
    /// At least so much.
    AtLeast(f64),
    /// Nothing: it stands there to be looked at.
    Told,
}

/// A figure of a row.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Figure {
    /// What it is.
    pub name: &'static str,
    /// Its value; infinite where there is none, as of a time that never came.
    pub value: f64,
    /// What is wanted.
    pub goal: Goal,
}

impl Figure {
    fn new(name: &'static str, value: f64, goal: Goal) -> Self {
        Self { name, value, goal }
    }

    /// Whether it is as is wanted.
    #[must_use]
    pub fn holds(&self) -> bool {
        match self.goal {
            Goal::AtMost(most) => self.value <= most,
            Goal::AtLeast(least) => self.value >= least,
            Goal::Told => true,
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value {
            value if value.is_infinite() => f.write_str("never"),
            value if value >= 100.0 => write!(f, "{value:.0}"),
            value if value >= 10.0 => write!(f, "{value:.1}"),
            value => write!(f, "{value:.3}"),
        }
    }
}

pub(super) fn congestion(controller: Controller) -> Congestion {
    match controller {
        Controller::Cubic => Congestion::Cubic,
        Controller::NewReno => Congestion::NewReno,
        Controller::Bbr => Congestion::Bbr,
        Controller::Thalweg => Congestion::Thalweg,
    }
}

/// A link, with the words of the rows.
#[derive(Debug, Clone, Copy)]
struct Link {
    rate: Rate,
    rtt: Duration,
    /// In round trips of the rate.
    queue: f64,
    policer: bool,
    loss: Option<Loss>,
}

impl Link {
    const fn new(rate: Rate, rtt: Duration) -> Self {
        Self {
            rate,
            rtt,
            queue: 1.0,
            policer: false,
            loss: None,
        }
    }

    const fn usual() -> Self {
        Self::new(Rate::mbit(100), Duration::from_millis(50))
    }

    fn queue(self, queue: f64) -> Self {
        Self { queue, ..self }
    }

    /// Losses at random, as a share, toward the far end and back.
    fn loss(self, share: f64) -> Self {
        let loss = (share > 0.0).then_some(Loss::Random(share));
        Self { loss, ..self }
    }

    fn bursts(self, share: f64, mean_burst: f64) -> Self {
        let loss = Some(Loss::Bursty { share, mean_burst });
        Self { loss, ..self }
    }

    fn policed(self) -> Self {
        Self {
            policer: true,
            ..self
        }
    }

    fn direction(self, queue: Queue) -> LinkConfig {
        let config = LinkConfig::default()
            .delay(self.rtt / 2)
            .rate(self.rate)
            .queue(queue)
            .mtu(1500);
        match self.loss {
            Some(loss) => config.loss(loss),
            None => config,
        }
    }

    fn trial(self, duration: Duration) -> Trial {
        /// A round trip of a slow and short link is less than a clump of packets.
        const LEAST_QUEUE: u64 = 16 * 1500;
        let pipe = self.rate.bytes_in(self.rtt);
        let bytes = self
            .rate
            .bytes_in(self.rtt.mul_f64(self.queue))
            .max(LEAST_QUEUE);
        let queue = match self.policer {
            true => Queue::Policer {
                burst: bytes,
                queue: 0,
            },
            false => Queue::DropTail { bytes },
        };
        let back = Queue::DropTail {
            bytes: pipe.max(1 << 20),
        };
        let send_window = (4 * pipe + 2 * bytes).max(1 << 20);
        // Eight times its part of the pipe: in what a stream goes on with while a lost packet is on its way again,
        // there are far fewer gaps than end a connection.
        let stream_window = (8 * pipe / u64::from(STREAMS)).max(256 << 10);
        Trial {
            there: self.direction(queue),
            back: self.direction(back),
            flows: Vec::new(),
            duration,
            rates: Vec::new(),
            delays: Vec::new(),
            step: Duration::from_millis(10)
                .min(self.rtt)
                .max(Duration::from_millis(2)),
            send_window: u32::try_from(send_window).unwrap_or(u32::MAX),
            stream_window: u32::try_from(stream_window).unwrap_or(u32::MAX),
            seed: 1,
        }
    }
}
