//! Pure: one direction of the network, as a machine that is told of each packet and says what becomes of it.
//!
//! ```text
//! packet ─▶ cut? ─▶ fits? ─▶ queue at the rate ─▶ lost? ─▶ delay, jitter, held back? ─▶ doubled? bit flipped?
//! ```
//!
//! The verdict falls at once, because everything that follows is known: when the packets before it have left,
//! and what the dice say. Only a change of the link itself ([`Link::on_change`]) moves a packet afterwards, and
//! only one that still waits in the queue: what is on the wire stays as it is.

use std::time::{Duration, Instant};

use fastrand::Rng;

use super::{
    config::{ConfigError, LinkConfig, Loss, Queue, Rate},
    counters::{Counters, DropReason},
    loss::LossProcess,
    queue::Bottleneck,
};

/// The number of a packet in its link, counted from 0 over all that were not dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PacketNumber(pub u64);

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It arrives.
    Deliver(Delivery),
    /// It does not.
    Drop(DropReason),
}

/// When and how a packet arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// The packet's number, by which [`Link::on_change`] names it.
    pub number: PacketNumber,
    /// When it arrives.
    pub at: Instant,
    /// It arrives twice.
    pub twice: bool,
    /// It arrives with the bit of this number flipped, counted around the packet as often as needed.
    pub flipped_bit: Option<u64>,
    /// It arrives with the mark "congestion experienced".
    pub marked: bool,
}

/// A change of a link while it runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Another rate, or none. What waits in the queue leaves at the new rate.
    Rate(Option<Rate>),
    /// Another delay, for packets sent from now on.
    Delay(Duration),
    /// Another way to lose packets, or none.
    Loss(Option<Loss>),
    /// Packets sent from now on are dropped. What was sent before still arrives.
    Cut,
    /// The end of a cut.
    Restore,
    /// Nothing leaves the queue for so long; then everything goes on where it stopped. Nothing is lost but what
    /// finds the queue full.
    Stall(Duration),
    /// The next so many packets are lost on the wire, whatever the dice say.
    LoseNext(u64),
    /// Another link altogether, cut or not as before.
    Replace(LinkConfig),
}

impl Change {
    /// Whether a link can be changed so.
    ///
    /// # Errors
    ///
    /// Every problem at once, as [`LinkConfig::check`] reports them.
    pub fn check(&self) -> Result<(), ConfigError> {
        match self {
            Self::Rate(Some(rate)) => LinkConfig::default().rate(*rate).check(),
            Self::Loss(Some(loss)) => LinkConfig::default().loss(*loss).check(),
            // A stall delays what waits by its length, and obeys the rule of a delay.
            Self::Delay(time) | Self::Stall(time) => LinkConfig::default().delay(*time).check(),
            Self::Replace(config) => config.check(),
            Self::Rate(None) | Self::Loss(None) | Self::Cut | Self::Restore | Self::LoseNext(_) => {
                Ok(())
            }
        }
    }
}

/// What the link remembers of a packet in its queue.
#[derive(Debug, Clone, Copy)]
struct Onward {
    /// `None` for one that is lost on the wire.
    number: Option<PacketNumber>,
    /// The way that begins when it leaves the queue.
    travel: Duration,
    /// Whether it keeps its place among the packets around it.
    in_line: bool,
    at: Instant,
}

/// One direction of the network.
///
/// It has dice of its own, one set for each kind of fault: the same seed loses the same packets whatever the
/// jitter is. And each millisecond has dice of its own for losses: what is sent then meets the same fate, however many packets
/// came before it.
#[derive(Debug)]
pub struct Link {
    config: LinkConfig,
    bottleneck: Bottleneck<Onward>,
    loss: Option<LossProcess>,
    cut: bool,
    lose_next: u64,
    next_number: PacketNumber,
    /// When the last packet that left the queue in line arrives: nobody in line arrives before it.
    last_on_wire: Option<Instant>,
    /// The same, of all that were accepted.
    last_accepted: Option<Instant>,
    jitter_dice: Rng,
    reorder_dice: Rng,
    duplicate_dice: Rng,
    corrupt_dice: Rng,
    loss_dice: Rng,
    counters: Counters,
}

impl Link {
    /// A link at rest.
    ///
    /// # Errors
    ///
    /// If there can be no such link; see [`LinkConfig::check`].
    pub fn new(config: LinkConfig, seed: u64) -> Result<Self, ConfigError> {
        config.check()?;
        let mut dice = Rng::with_seed(seed);
        let mut link = Self {
            bottleneck: Bottleneck::new(config.rate, config.queue),
            loss: None,
            cut: false,
            lose_next: 0,
            next_number: PacketNumber::default(),
            last_on_wire: None,
            last_accepted: None,
            jitter_dice: dice.fork(),
            reorder_dice: dice.fork(),
            duplicate_dice: dice.fork(),
            corrupt_dice: dice.fork(),
            loss_dice: dice.fork(),
            counters: Counters::default(),
            config,
        };
        link.set_loss(link.config.loss);
        Ok(link)
    }

    /// What the link is like now.
    #[must_use]
    pub fn config(&self) -> &LinkConfig {
        &self.config
    }

    /// What the link has seen, its queue as of the last call that told the time.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Counts what happens to packets after this link has let them go.
    pub(super) fn counters_mut(&mut self) -> &mut Counters {
        &mut self.counters
    }

    /// Time has passed: what has left the queue by now is counted out of it.
    pub fn on_time(&mut self, now: Instant) {
        while let Some(left) = self.bottleneck.poll_left(now) {
            if left.carried.in_line {
                self.last_on_wire = Some(left.carried.at);
            }
        }
        self.counters.queue = self.bottleneck.depth();
    }

    /// A packet of `len` bytes is sent; `markable` where its sender understands congestion marks.
    ///
    /// The time must not go backwards from call to call.
    pub fn on_packet(&mut self, now: Instant, len: u64, markable: bool) -> Verdict {
        self.counters.sent += len;
        let verdict = self.judge(now, len, markable);
        match verdict {
            Verdict::Drop(reason) => self.counters.dropped.count(reason),
            Verdict::Deliver(delivery) => {
                self.counters.duplicated += u64::from(delivery.twice);
                self.counters.corrupted += u64::from(delivery.flipped_bit.is_some());
                self.counters.marked += u64::from(delivery.marked);
            }
        }
        self.counters.queue = self.bottleneck.depth();
        self.counters.deepest_queue = self.bottleneck.deepest();
        verdict
    }

    /// The link changes. Returns the packets that arrive at another time than their verdict said: all of them
    /// still waited in the queue.
    ///
    /// # Errors
    ///
    /// If it cannot be changed so; then nothing has changed. See [`Change::check`].
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

    fn judge(&mut self, now: Instant, len: u64, markable: bool) -> Verdict {
        if self.cut {
            return Verdict::Drop(DropReason::Cut);
        }
        if self.config.mtu.is_some_and(|mtu| len > mtu) {
            return Verdict::Drop(DropReason::TooLarge);
        }
        self.on_time(now);
        let Some(plan) = self.bottleneck.plan(now, len) else {
            return Verdict::Drop(match self.config.queue {
                Queue::DropTail { .. } => DropReason::QueueFull,
                Queue::Policer { .. } => DropReason::Policed,
            });
        };

        let lost = self.is_lost(now);
        let mut travel = self.config.delay + self.jitter();
        let held_back = self.config.reorder.filter(|reorder| {
            let held = self.reorder_dice.f64() < reorder.share;
            held && !lost
        });
        if let Some(reorder) = held_back {
            travel += reorder.by;
            self.counters.held_back += 1;
        }
        let in_line = self.config.keep_order && held_back.is_none() && !lost;
        let at = arrival(plan.leaves + travel, in_line, self.last_accepted);
        if in_line {
            self.last_accepted = Some(at);
        }
        let number = self.next_number;
        let onward = Onward {
            number: (!lost).then_some(number),
            travel,
            in_line,
            at,
        };
        self.bottleneck.accept(plan, onward);
        if lost {
            return Verdict::Drop(DropReason::Lost);
        }
        self.next_number = PacketNumber(number.0 + 1);
        Verdict::Deliver(Delivery {
            number,
            at,
            twice: self.config.duplicate > 0.0 && self.duplicate_dice.f64() < self.config.duplicate,
            flipped_bit: self.flipped_bit(),
            marked: markable
                && self
                    .config
                    .mark_above
                    .is_some_and(|bytes| self.bottleneck.depth() > bytes),
        })
    }

    /// Finds the new arrival of everything that waits, after the queue has given it a new time to leave.
    fn reschedule(&mut self) -> Vec<(PacketNumber, Instant)> {
        let mut before = self.last_on_wire;
        let mut moved = Vec::new();
        for (leaves, packet) in self.bottleneck.waiting_mut() {
            let at = arrival(leaves + packet.travel, packet.in_line, before);
            if packet.in_line {
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
        let by_dice = self.loss.as_mut().is_some_and(|loss| loss.on_packet(now));
        let by_order = self.lose_next > 0;
        self.lose_next -= u64::from(by_order);
        by_dice || by_order
    }

    fn jitter(&mut self) -> Duration {
        let most = u64::try_from(self.config.jitter.as_nanos()).unwrap_or(u64::MAX);
        match most {
            0 => Duration::ZERO,
            most => Duration::from_nanos(self.jitter_dice.u64(..=most)),
        }
    }

    fn flipped_bit(&mut self) -> Option<u64> {
        let flip = self.config.corrupt > 0.0 && self.corrupt_dice.f64() < self.config.corrupt;
        flip.then(|| self.corrupt_dice.u64(..))
    }

    /// A process that is already at work keeps its place in its dice.
    fn set_loss(&mut self, loss: Option<Loss>) {
        if self.loss.as_ref().map(LossProcess::loss) != loss {
            self.loss = loss.map(|loss| LossProcess::new(loss, self.loss_dice.u64(..)));
        }
        self.config.loss = loss;
    }
}

/// When a packet arrives: not before the one in front of it, where it keeps its place in line.
fn arrival(undisturbed: Instant, in_line: bool, before: Option<Instant>) -> Instant {
    match before {
        Some(before) if in_line => undisturbed.max(before),
        _ => undisturbed,
    }
}

#[cfg(test)]
mod tests;
