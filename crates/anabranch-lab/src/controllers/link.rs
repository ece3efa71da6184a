//! Sans-I/O: the links of the cases.

use std::time::Duration;

use anabranch::sim::{LinkConfig, Loss, Queue, Rate};

use super::flows::{STREAMS, Trial};

/// A link. It has no loss, and a queue of one bandwidth-delay product, unless set otherwise.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    pub(super) rate: Rate,
    pub(super) rtt: Duration,
    /// Capacity of the queue, in bandwidth-delay products.
    queue: f64,
    policer: bool,
    loss: Option<Loss>,
}

impl Link {
    pub(super) const fn new(rate: Rate, rtt: Duration) -> Self {
        Self {
            rate,
            rtt,
            queue: 1.0,
            policer: false,
            loss: None,
        }
    }

    pub(super) const fn usual() -> Self {
        Self::new(Rate::mbit(100), Duration::from_millis(50))
    }

    pub(super) fn queue(self, queue: f64) -> Self {
        Self { queue, ..self }
    }

    /// Sets random losses, as a share, in both directions.
    pub(super) fn loss(self, share: f64) -> Self {
        let loss = (share > 0.0).then_some(Loss::Random(share));
        Self { loss, ..self }
    }

    pub(super) fn bursts(self, share: f64, mean_burst: f64) -> Self {
        let loss = Some(Loss::Bursty { share, mean_burst });
        Self { loss, ..self }
    }

    pub(super) fn policed(self) -> Self {
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

    pub(super) fn trial(self, duration: Duration) -> Trial {
        /// A round trip of a slow and short link is less than a burst of packets.
        const MIN_QUEUE: u64 = 16 * 1500;
        let pipe = self.rate.bytes_in(self.rtt);
        let bytes = self
            .rate
            .bytes_in(self.rtt.mul_f64(self.queue))
            .max(MIN_QUEUE);
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
        // Eight times the stream's share of the bandwidth-delay product, so that a stream continues while a lost packet is
        // resent. The number of gaps stays far below the limit that closes a connection.
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
