//! Sans-I/O: the counters of one direction.

use std::ops::AddAssign;

/// A number of packets and of the bytes in them (IP packets: UDP payload and headers).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PacketCounts {
    /// The number of packets.
    pub packets: u64,
    /// The number of bytes.
    pub bytes: u64,
}

impl AddAssign<u64> for PacketCounts {
    /// Counts one more packet of `bytes` bytes.
    fn add_assign(&mut self, bytes: u64) {
        self.packets += 1;
        self.bytes += bytes;
    }
}

/// Why a packet did not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// The direction was cut.
    Cut,
    /// The packet was larger than the MTU of the direction.
    TooLarge,
    /// The queue of the direction was full.
    QueueFull,
    /// The policer had too few tokens.
    Policed,
    /// The packet was lost at random, or by [`Change::LoseNext`](crate::Change::LoseNext).
    Lost,
    /// No socket had the destination address, or it had moved before the packet arrived.
    NoSocket,
    /// The receive queue of the socket was full.
    RecvQueueFull,
}

/// Packets that did not arrive, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Drops {
    /// Packets sent while the direction was cut.
    pub cut: u64,
    /// Packets larger than the MTU of the direction.
    pub too_large: u64,
    /// Packets that found the queue of the direction full.
    pub queue_full: u64,
    /// Packets for which the policer had too few tokens.
    pub policed: u64,
    /// Packets lost at random, or by [`Change::LoseNext`](crate::Change::LoseNext).
    pub lost: u64,
    /// Packets to an address without a socket.
    pub no_socket: u64,
    /// Packets that found the receive queue of their socket full.
    pub recv_queue_full: u64,
}

impl Drops {
    /// Returns the sum over all reasons.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Self {
            cut,
            too_large,
            queue_full,
            policed,
            lost,
            no_socket,
            recv_queue_full,
        } = self;
        cut + too_large + queue_full + policed + lost + no_socket + recv_queue_full
    }

    pub(crate) fn count(&mut self, reason: DropReason) {
        let counter = match reason {
            DropReason::Cut => &mut self.cut,
            DropReason::TooLarge => &mut self.too_large,
            DropReason::QueueFull => &mut self.queue_full,
            DropReason::Policed => &mut self.policed,
            DropReason::Lost => &mut self.lost,
            DropReason::NoSocket => &mut self.no_socket,
            DropReason::RecvQueueFull => &mut self.recv_queue_full,
        };
        *counter += 1;
    }
}

/// The counters of one direction since its creation.
///
/// They add up at all times: each packet that was sent or duplicated has been delivered, dropped, or is
/// [in flight](Counters::in_flight).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counters {
    /// Packets that were sent in this direction.
    pub sent: PacketCounts,
    /// Packets that receivers have read, duplicates included.
    pub delivered: PacketCounts,
    /// Packets that were dropped, by reason.
    pub dropped: Drops,
    /// Packets that were sent once and arrive twice.
    pub duplicated: u64,
    /// Packets that arrive with a flipped bit.
    pub corrupted: u64,
    /// Packets that arrive with an ECN mark.
    pub marked: u64,
    /// Packets that were held back by [`Reorder`](crate::Reorder).
    pub reordered: u64,
    /// Bytes in the queue, as of the last packet sent.
    pub queue_bytes: u64,
    /// The maximum of bytes that were in the queue.
    pub max_queue_bytes: u64,
}

impl Counters {
    /// Returns the packets that are in flight, or have arrived and were not yet read.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        (self.sent.packets + self.duplicated) - (self.delivered.packets + self.dropped.total())
    }

    /// Returns the share of sent packets that was dropped, for any reason; 0 before the first packet.
    #[must_use]
    pub fn loss(&self) -> f64 {
        self.dropped.total() as f64 / self.sent.packets.max(1) as f64
    }
}
