//! Pure: the packets on their way to one socket, in the order in which they arrive.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BinaryHeap, HashMap},
    net::SocketAddr,
    time::Instant,
};

use bytes::Bytes;
use quinn::udp::EcnCodepoint;

use super::{direction::LinkId, link::PacketNumber};

/// How many packets one socket may have on their way to it or unread: more than any link here keeps in flight,
/// and a bound for a sender that nothing slows down.
const CAPACITY: usize = 1 << 17;

/// A packet on its way.
#[derive(Debug, Clone)]
pub(super) struct Arrival {
    pub(super) at: Instant,
    /// Counted over the whole network: the order of those that arrive at the same moment.
    pub(super) sequence: u64,
    pub(super) link: LinkId,
    pub(super) number: PacketNumber,
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) ecn: Option<EcnCodepoint>,
    pub(super) payload: Bytes,
    pub(super) flipped_bit: Option<u64>,
}

impl PartialEq for Arrival {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Arrival {}

impl PartialOrd for Arrival {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Arrival {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

/// The packets on their way to one socket.
#[derive(Debug, Default)]
pub(super) struct Inbox(BinaryHeap<Reverse<Arrival>>);

impl Inbox {
    /// Whether there is room for another packet.
    pub(super) fn has_room(&self) -> bool {
        self.0.len() < CAPACITY
    }

    /// Takes a packet in. True where it arrives before all others.
    pub(super) fn on_packet(&mut self, arrival: Arrival) -> bool {
        let first = self.next().is_none_or(|next| arrival.at < next);
        self.0.push(Reverse(arrival));
        first
    }

    /// When the next packet arrives.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.peek().map(|Reverse(arrival)| arrival.at)
    }

    /// The next packet that has arrived by `now`.
    pub(super) fn poll_arrived(&mut self, now: Instant) -> Option<Arrival> {
        if self.next()? > now {
            return None;
        }
        self.0.pop().map(|Reverse(arrival)| arrival)
    }

    /// Packets of `link` arrive at another time.
    pub(super) fn on_moved(&mut self, link: LinkId, moved: &HashMap<PacketNumber, Instant>) {
        let mut arrivals = std::mem::take(&mut self.0).into_vec();
        for Reverse(arrival) in &mut arrivals {
            if arrival.link == link
                && let Some(at) = moved.get(&arrival.number)
            {
                arrival.at = *at;
            }
        }
        self.0 = arrivals.into();
    }

    /// Everything that is still here, in no particular order.
    pub(super) fn into_rest(self) -> impl Iterator<Item = Arrival> {
        self.0.into_iter().map(|Reverse(arrival)| arrival)
    }
}
