//! Pure: what one direction has seen, in numbers.

use std::ops::AddAssign;

/// Packets, and the bytes in them (IP packets: payload and headers).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// How many packets.
    pub packets: u64,
    /// How many bytes.
    pub bytes: u64,
}

impl AddAssign<u64> for Tally {
    /// One more packet, of so many bytes.
    fn add_assign(&mut self, bytes: u64) {
        self.packets += 1;
        self.bytes += bytes;
    }
}

/// Why a packet did not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// The direction is cut.
    Cut,
    /// It is larger than the direction's MTU.
    TooLarge,
    /// The queue had no room for it.
    QueueFull,
    /// The policer had no tokens for it.
    Policed,
    /// Lost on the wire.
    Lost,
    /// Nobody has the address it was sent to, or has it any more.
    NoSocket,
    /// The receiving socket holds as many packets as it may.
    InboxFull,
}

/// Packets that did not arrive, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Drops {
    /// While the direction was cut.
    pub cut: u64,
    /// Larger than the direction's MTU.
    pub too_large: u64,
    /// No room in the queue.
    pub queue_full: u64,
    /// No tokens in the policer.
    pub policed: u64,
    /// Lost on the wire.
    pub lost: u64,
    /// Nobody at that address.
    pub no_socket: u64,
    /// The receiving socket held as many packets as it may.
    pub inbox_full: u64,
}

impl Drops {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Self {
            cut,
            too_large,
            queue_full,
            policed,
            lost,
            no_socket,
            inbox_full,
        } = self;
        cut + too_large + queue_full + policed + lost + no_socket + inbox_full
    }

    pub(super) fn count(&mut self, reason: DropReason) {
        let counter = match reason {
            DropReason::Cut => &mut self.cut,
            DropReason::TooLarge => &mut self.too_large,
            DropReason::QueueFull => &mut self.queue_full,
            DropReason::Policed => &mut self.policed,
            DropReason::Lost => &mut self.lost,
            DropReason::NoSocket => &mut self.no_socket,
            DropReason::InboxFull => &mut self.inbox_full,
        };
        *counter += 1;
    }
}

/// What one direction has seen since it was made.
///
/// The books add up at every moment: what was sent or duplicated has been delivered, dropped, or is
/// [in flight](Counters::in_flight).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counters {
    /// What senders gave to this direction.
    pub sent: Tally,
    /// What receivers have read, duplicates included.
    pub delivered: Tally,
    /// What will never arrive, and why.
    pub dropped: Drops,
    /// Packets that were sent once and arrive twice.
    pub duplicated: u64,
    /// Packets that arrive with a bit flipped.
    pub corrupted: u64,
    /// Packets that arrive with a congestion mark.
    pub marked: u64,
    /// Packets that were held back for others to overtake.
    pub held_back: u64,
    /// Bytes waiting in the queue, as of the last packet sent.
    pub queue: u64,
    /// The most bytes that ever waited in the queue.
    pub deepest_queue: u64,
}

impl Counters {
    /// Packets on their way, or arrived and not yet read.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        (self.sent.packets + self.duplicated) - (self.delivered.packets + self.dropped.total())
    }

    /// The share of sent packets that was dropped, for whatever reason; 0 before the first packet.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn loss(&self) -> f64 {
        self.dropped.total() as f64 / self.sent.packets.max(1) as f64
    }
}
