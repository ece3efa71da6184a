//! Sans-I/O: one direction of the network, a state machine that is given each packet and returns its fate.
//!
//! ```text
//! packet ─▶ cut? ─▶ MTU? ─▶ queue at the rate ─▶ lost? ─▶ delay, jitter, reordered? ─▶ duplicated? corrupted?
//! ```
//!
//! The fate is known at once, since the queue in front of the packet and the random numbers are. Only a change of the link
//! ([`Link::on_change`]) moves a packet afterwards, and only one that is still in the queue. Packets that have left the
//! queue are not affected.

use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::{
    config::{ConfigError, LinkConfig, Loss, Queue, Rate},
    counters::{Counters, DropReason},
    loss::LossProcess,
    queue::Bottleneck,
};

/// The number of a link in its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LinkId(pub(crate) usize);

/// The number of a packet in its link. Counts from 0, without dropped packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PacketNumber(pub u64);

/// Whether a packet arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacketFate {
    /// The packet arrives.
    Deliver(Delivery),
    /// The packet does not arrive.
    Drop(DropReason),
}

/// When and how a packet arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// The packet's number, by which [`Link::on_change`] names it.
    pub number: PacketNumber,
    /// When the packet arrives.
    pub at: Instant,
    /// Whether the packet arrives twice.
    pub duplicated: bool,
    /// The number of a bit that is flipped, modulo the length of the packet; `None` for an intact packet.
    pub flipped_bit: Option<u64>,
    /// Whether the packet arrives with an ECN mark (congestion experienced).
    pub marked: bool,
}

/// A change of a link while it is in use.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Sets the rate, or removes the limit. Packets in the queue leave at the new rate.
    Rate(Option<Rate>),
    /// Sets the delay of packets sent from now on.
    Delay(Duration),
    /// Sets the loss, or removes it.
    Loss(Option<Loss>),
    /// Drops every packet that is sent from now on. Packets in flight still arrive.
    Cut,
    /// Ends a cut.
    Restore,
    /// Stops the queue for this time. Nothing is lost but packets that find the queue full.
    Stall(Duration),
    /// Loses this number of packets, the next ones, whatever the configured loss.
    LoseNext(u64),
    /// Sets the whole configuration. A cut lasts.
    Replace(LinkConfig),
}

impl Change {
    /// Returns whether the change is valid.
    ///
    /// # Errors
    ///
    /// Every problem at once, as [`LinkConfig::check`] reports them.
    pub fn check(&self) -> Result<(), ConfigError> {
        match self {
            Self::Rate(Some(rate)) => LinkConfig::default().rate(*rate).check(),
            Self::Loss(Some(loss)) => LinkConfig::default().loss(*loss).check(),
            // A stall is limited like a delay.
            Self::Delay(time) | Self::Stall(time) => LinkConfig::default().delay(*time).check(),
            Self::Replace(config) => config.check(),
            Self::Rate(None) | Self::Loss(None) | Self::Cut | Self::Restore | Self::LoseNext(_) => {
                Ok(())
            }
        }
    }
}

/// A packet in the queue of the link.
#[derive(Debug, Clone, Copy)]
struct Queued {
    /// `None` for a packet that is lost after the queue.
    number: Option<PacketNumber>,
    /// The time from leaving the queue to the arrival.
    travel: Duration,
    /// Whether it arrives in the order of sending.
    in_order: bool,
    at: Instant,
}

/// One direction of the network.
///
/// Each kind of fault has its own random number generator, so that the same seed loses the same packets whatever the
/// jitter is. Losses are drawn anew for each millisecond: a packet sent then has the same fate however many were sent
/// before it.
#[derive(Debug)]
pub struct Link {
    config: LinkConfig,
    bottleneck: Bottleneck<Queued>,
    loss: Option<LossProcess>,
    cut: bool,
    lose_next: u64,
    next_number: PacketNumber,
    /// When the last in-order packet that has left the queue arrives. Later in-order packets arrive no earlier.
    last_departed: Option<Instant>,
    /// When the last in-order packet arrives, the queue included.
    last_accepted: Option<Instant>,
    jitter_rng: Rng,
    reorder_rng: Rng,
    duplicate_rng: Rng,
    corrupt_rng: Rng,
    loss_rng: Rng,
    counters: Counters,
}

impl Link {
    /// Returns an idle link.
    ///
    /// # Errors
    ///
    /// If the configuration is invalid; see [`LinkConfig::check`].
    pub fn new(config: LinkConfig, seed: u64) -> Result<Self, ConfigError> {
        config.check()?;
        let mut rng = Rng::with_seed(seed);
        let mut link = Self {
            bottleneck: Bottleneck::new(config.rate, config.queue),
            loss: None,
            cut: false,
            lose_next: 0,
            next_number: PacketNumber::default(),
            last_departed: None,
            last_accepted: None,
            jitter_rng: rng.fork(),
            reorder_rng: rng.fork(),
            duplicate_rng: rng.fork(),
            corrupt_rng: rng.fork(),
            loss_rng: rng.fork(),
            counters: Counters::default(),
            config,
        };
        link.set_loss(link.config.loss);
        Ok(link)
    }

    /// Returns the present configuration.
    #[must_use]
    pub fn config(&self) -> &LinkConfig {
        &self.config
    }

    /// Returns the counters. The queue is as of the last call with a time.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Returns the counters, for what happens to packets after they have left the link.
    pub(crate) fn counters_mut(&mut self) -> &mut Counters {
        &mut self.counters
    }

    /// Advances the queue to `now`.
    pub fn on_time(&mut self, now: Instant) {
        while let Some(entry) = self.bottleneck.poll_departed(now) {
            if entry.packet.in_order {
                self.last_departed = Some(entry.packet.at);
            }
        }
        self.counters.queue_bytes = self.bottleneck.depth();
    }

    /// Sends a packet of `len` bytes. `markable` is whether it may be marked instead of dropped (ECN).
    ///
    /// `now` must not be earlier than in the call before.
    pub fn on_packet(&mut self, now: Instant, len: u64, markable: bool) -> PacketFate {
        self.counters.sent += len;
        let fate = self.decide(now, len, markable);
        match fate {
            PacketFate::Drop(reason) => self.counters.dropped.count(reason),
            PacketFate::Deliver(delivery) => {
                self.counters.duplicated += u64::from(delivery.duplicated);
                self.counters.corrupted += u64::from(delivery.flipped_bit.is_some());
                self.counters.marked += u64::from(delivery.marked);
            }
        }
        self.counters.queue_bytes = self.bottleneck.depth();
        self.counters.max_queue_bytes = self.bottleneck.max_depth();
        fate
    }

    /// Changes the link. Returns the packets, all of them still in the queue, that now arrive at another time.
    ///
    /// # Errors
    ///
    /// If the change is invalid; then nothing changes. See [`Change::check`].
    pub fn on_change(
        &mut self,
        now: Instant,
        change: &Change,
    ) -> Result<Vec<(PacketNumber, Instant)>, ConfigError> {
        change.check()?;
        self.on_time(now);
        match change {
            Change::Rate(rate) => self.config.rate = *rate,
            Change::Delay(delay) => self.config.delay = *delay,
            Change::Loss(loss) => self.set_loss(*loss),
            Change::Cut => self.cut = true,
            Change::Restore => self.cut = false,
            Change::Stall(time) => {
                self.bottleneck.stall(now, now + *time);
                return Ok(self.reschedule());
            }
            Change::LoseNext(packets) => self.lose_next = *packets,
            Change::Replace(config) => {
                self.set_loss(config.loss);
                self.config = config.clone();
            }
        }
        if matches!(change, Change::Rate(_) | Change::Replace(_)) {
            self.bottleneck
                .change(now, self.config.rate, self.config.queue);
            return Ok(self.reschedule());
        }
        Ok(Vec::new())
    }

    fn decide(&mut self, now: Instant, len: u64, markable: bool) -> PacketFate {
        if self.cut {
            return PacketFate::Drop(DropReason::Cut);
        }
        if self.config.mtu.is_some_and(|mtu| len > mtu) {
            return PacketFate::Drop(DropReason::TooLarge);
        }
        self.on_time(now);
        let Some(plan) = self.bottleneck.plan(now, len) else {
            return PacketFate::Drop(match self.config.queue {
                Queue::DropTail { .. } => DropReason::QueueFull,
                Queue::Policer { .. } => DropReason::Policed,
            });
        };

        let lost = self.is_lost(now);
        let mut travel = self.config.delay + self.jitter();
        let reordered = self.config.reorder.filter(|reorder| {
            let drawn = self.reorder_rng.f64() < reorder.share;
            drawn && !lost
        });
        if let Some(reorder) = reordered {
            travel += reorder.by;
            self.counters.reordered += 1;
        }
        let in_order = self.config.keep_order && reordered.is_none() && !lost;
        let at = arrival(plan.departs + travel, in_order, self.last_accepted);
        if in_order {
            self.last_accepted = Some(at);
        }
        let number = self.next_number;
        let queued = Queued {
            number: (!lost).then_some(number),
            travel,
            in_order,
            at,
        };
        self.bottleneck.accept(plan, queued);
        if lost {
            return PacketFate::Drop(DropReason::Lost);
        }
        self.next_number = PacketNumber(number.0 + 1);
        PacketFate::Deliver(Delivery {
            number,
            at,
            duplicated: self.config.duplicate > 0.0
                && self.duplicate_rng.f64() < self.config.duplicate,
            flipped_bit: self.flipped_bit(),
            marked: markable
                && self
                    .config
                    .mark_above
                    .is_some_and(|bytes| self.bottleneck.depth() > bytes),
        })
    }

    /// Updates the arrival of every packet in the queue after their departures have changed. Returns those that moved.
    fn reschedule(&mut self) -> Vec<(PacketNumber, Instant)> {
        let mut before = self.last_departed;
        let mut moved = Vec::new();
        for (departs, packet) in self.bottleneck.entries_mut() {
            let at = arrival(departs + packet.travel, packet.in_order, before);
            if packet.in_order {
                before = Some(at);
            }
            if at != packet.at {
                packet.at = at;
                moved.extend(packet.number.map(|number| (number, at)));
            }
        }
        self.last_accepted = before;
        moved
    }

    fn is_lost(&mut self, now: Instant) -> bool {
        let drawn = self.loss.as_mut().is_some_and(|loss| loss.on_packet(now));
        let by_order = self.lose_next > 0;
        self.lose_next -= u64::from(by_order);
        drawn || by_order
    }

    fn jitter(&mut self) -> Duration {
        let max = u64::try_from(self.config.jitter.as_nanos()).unwrap_or(u64::MAX);
        match max {
            0 => Duration::ZERO,
            max => Duration::from_nanos(self.jitter_rng.u64(..=max)),
        }
    }

    fn flipped_bit(&mut self) -> Option<u64> {
        let flip = self.config.corrupt > 0.0 && self.corrupt_rng.f64() < self.config.corrupt;
        flip.then(|| self.corrupt_rng.u64(..))
    }

    /// A loss that does not change keeps the state of its random numbers.
    fn set_loss(&mut self, loss: Option<Loss>) {
        if self.loss.as_ref().map(LossProcess::loss) != loss {
            self.loss = loss.map(|loss| LossProcess::new(loss, self.loss_rng.u64(..)));
        }
        self.config.loss = loss;
    }
}

/// Returns when a packet arrives: if in order, not before the one before it.
fn arrival(undisturbed: Instant, in_order: bool, before: Option<Instant>) -> Instant {
    match before {
        Some(before) if in_order => undisturbed.max(before),
        _ => undisturbed,
    }
}

#[cfg(test)]
mod tests;
