//! Sans-I/O: the receive queue of a socket: packets in flight to it or not yet read, in the order of their arrival.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BinaryHeap, HashMap},
    net::SocketAddr,
    time::Instant,
};

use bytes::Bytes;
use quinn::udp::EcnCodepoint;

use crate::link::{LinkId, PacketNumber};

/// The maximum number of packets in one queue: more than a congestion controller keeps in flight, and a bound for a
/// sender without one.
const CAPACITY: usize = 1 << 17;

/// A packet in flight.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    pub(crate) at: Instant,
    /// A number that is unique in the network: the order of packets that arrive at the same time.
    pub(crate) sequence: u64,
    pub(crate) link: LinkId,
    pub(crate) number: PacketNumber,
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) ecn: Option<EcnCodepoint>,
    pub(crate) payload: Bytes,
    pub(crate) flipped_bit: Option<u64>,
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

/// The receive queue of one socket.
#[derive(Debug, Default)]
pub(crate) struct RecvQueue(BinaryHeap<Reverse<Arrival>>);

impl RecvQueue {
    /// Returns whether there is room for another packet.
    pub(crate) fn has_room(&self) -> bool {
        self.0.len() < CAPACITY
    }

    /// Adds a packet. Returns whether it arrives before all others.
    pub(crate) fn on_packet(&mut self, arrival: Arrival) -> bool {
        let is_next = self.next().is_none_or(|next| arrival.at < next);
        self.0.push(Reverse(arrival));
        is_next
    }

    /// Returns when the next packet arrives.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.0.peek().map(|Reverse(arrival)| arrival.at)
    }

    /// Returns the next packet that has arrived by `now`.
    pub(crate) fn poll_arrived(&mut self, now: Instant) -> Option<Arrival> {
        if self.next()? > now {
            return None;
        }
        self.0.pop().map(|Reverse(arrival)| arrival)
    }

    /// Changes the arrival time of packets of `link`.
    pub(crate) fn on_moved(&mut self, link: LinkId, moved: &HashMap<PacketNumber, Instant>) {
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

    /// Returns all packets, in no particular order.
    pub(crate) fn into_arrivals(self) -> impl Iterator<Item = Arrival> {
        self.0.into_iter().map(|Reverse(arrival)| arrival)
    }
}
