//! The state of a network, behind its one lock: links, routes, sockets, and what is in flight to each of them.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    task::Waker,
    time::Instant,
};

use bytes::Bytes;
use fastrand::Rng;
use quinn::udp::EcnCodepoint;

use crate::{
    clock::Alarm,
    config::{ConfigError, LinkConfig},
    counters::DropReason,
    link::{Change, Link, LinkId, PacketFate},
    recv_queue::{Arrival, RecvQueue},
};

/// The first port for sockets that ask for port 0.
const FIRST_EPHEMERAL_PORT: u16 = 49_152;

/// The identity of a socket in its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SocketId(u64);

/// A UDP datagram that a socket sends.
pub(crate) struct Datagram {
    pub(crate) from: SocketId,
    pub(crate) to: SocketAddr,
    pub(crate) ecn: Option<EcnCodepoint>,
    pub(crate) payload: Bytes,
}

/// A task to be woken at a time. It is scheduled after the lock of the network has been released.
#[must_use]
pub(crate) struct Wakeup {
    alarm: Arc<Alarm>,
    at: Instant,
    waker: Waker,
}

impl Wakeup {
    pub(crate) fn schedule(self) {
        self.alarm.set(self.at, self.waker);
    }
}

/// The state of one socket.
struct SocketState {
    /// The address that peers see.
    address: SocketAddr,
    queue: RecvQueue,
    /// The task that waits for the next packet; `None` before the first wait.
    reader: Option<Waker>,
    alarm: Arc<Alarm>,
}

impl SocketState {
    /// Returns the wakeup of the reader for the next packet, if there are both.
    fn wakeup(&self) -> Option<Wakeup> {
        Some(Wakeup {
            at: self.queue.next()?,
            waker: self.reader.clone()?,
            alarm: self.alarm.clone(),
        })
    }
}

/// The state of a network.
pub(crate) struct State {
    rng: Rng,
    links: Vec<Link>,
    routes: HashMap<(IpAddr, IpAddr), LinkId>,
    /// The sockets in the order in which they were bound. The random order of a hash map would make runs differ.
    sockets: BTreeMap<SocketId, SocketState>,
    bound: HashMap<SocketAddr, SocketId>,
    next_socket: SocketId,
    next_sequence: u64,
    /// Packets sent between hosts without a route.
    unroutable: u64,
}

impl State {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            links: Vec::new(),
            routes: HashMap::new(),
            sockets: BTreeMap::new(),
            bound: HashMap::new(),
            next_socket: SocketId(0),
            next_sequence: 0,
            unroutable: 0,
        }
    }

    pub(crate) fn unroutable(&self) -> u64 {
        self.unroutable
    }

    pub(crate) fn link(&mut self, id: LinkId) -> &mut Link {
        &mut self.links[id.0]
    }

    /// Adds a link that no route uses yet.
    pub(crate) fn add_link(&mut self, config: LinkConfig) -> Result<LinkId, ConfigError> {
        let seed = self.rng.u64(..);
        let id = LinkId(self.links.len());
        self.links.push(Link::new(config, seed)?);
        Ok(id)
    }

    pub(crate) fn set_route(&mut self, from: IpAddr, to: IpAddr, link: LinkId) {
        self.routes.insert((from, to), link);
    }

    /// Binds a socket. Returns its identity and its address, with the port that it was given.
    pub(crate) fn bind(
        &mut self,
        address: SocketAddr,
        alarm: Arc<Alarm>,
    ) -> io::Result<(SocketId, SocketAddr)> {
        let address = self.free_address(address)?;
        let id = self.next_socket;
        self.next_socket = SocketId(id.0 + 1);
        self.bound.insert(address, id);
        self.sockets.insert(
            id,
            SocketState {
                address,
                queue: RecvQueue::default(),
                reader: None,
                alarm,
            },
        );
        Ok((id, address))
    }

    /// Sends a datagram. Returns the wakeup of its receiver, if the next packet of that one has changed.
    pub(crate) fn on_datagram(&mut self, now: Instant, datagram: Datagram) -> Option<Wakeup> {
        let Datagram {
            from,
            to,
            ecn,
            payload,
        } = datagram;
        let from = self.sockets.get(&from)?.address;
        let Some(&id) = self.routes.get(&(from.ip(), to.ip())) else {
            self.unroutable += 1;
            return None;
        };
        let link = &mut self.links[id.0];
        let PacketFate::Deliver(delivery) =
            link.on_packet(now, packet_len(&payload, to), ecn.is_some())
        else {
            return None;
        };

        let receiver = self.bound.get(&to);
        let receiver = receiver.and_then(|receiver| self.sockets.get_mut(receiver));
        let copies = 1 + u64::from(delivery.duplicated);
        let dropped = match &receiver {
            None => Some(DropReason::NoSocket),
            Some(receiver) if !receiver.queue.has_room() => Some(DropReason::RecvQueueFull),
            Some(_) => None,
        };
        if let Some(reason) = dropped {
            (0..copies).for_each(|_| link.counters_mut().dropped.count(reason));
            return None;
        }
        let receiver = receiver?;
        let mut is_next = false;
        for _ in 0..copies {
            self.next_sequence += 1;
            is_next |= receiver.queue.on_packet(Arrival {
                at: delivery.at,
                sequence: self.next_sequence,
                link: id,
                number: delivery.number,
                from,
                to,
                ecn: if delivery.marked {
                    Some(EcnCodepoint::Ce)
                } else {
                    ecn
                },
                payload: payload.clone(),
                flipped_bit: delivery.flipped_bit,
            });
        }
        if is_next { receiver.wakeup() } else { None }
    }

    /// Returns the next packet that has arrived at a socket.
    pub(crate) fn poll_arrived(&mut self, now: Instant, id: SocketId) -> Option<Arrival> {
        let socket = self.sockets.get_mut(&id)?;
        while let Some(arrival) = socket.queue.poll_arrived(now) {
            let counters = self.links[arrival.link.0].counters_mut();
            // The socket may have moved while the packet was in flight.
            if arrival.to == socket.address {
                counters.delivered += packet_len(&arrival.payload, arrival.to);
                return Some(arrival);
            }
            counters.dropped.count(DropReason::NoSocket);
        }
        None
    }

    /// Registers the task that waits for the next packet. Returns its wakeup, if a packet is in flight.
    pub(crate) fn on_reader(&mut self, id: SocketId, reader: &Waker) -> Option<Wakeup> {
        let socket = self.sockets.get_mut(&id)?;
        match &mut socket.reader {
            Some(known) => known.clone_from(reader),
            none => *none = Some(reader.clone()),
        }
        socket.wakeup()
    }

    /// Moves a socket to another address. Packets in flight to the old one are lost.
    pub(crate) fn on_rebind(
        &mut self,
        id: SocketId,
        address: SocketAddr,
    ) -> io::Result<SocketAddr> {
        let address = self.free_address(address)?;
        if let Some(socket) = self.sockets.get_mut(&id) {
            self.bound.remove(&socket.address);
            socket.address = address;
            self.bound.insert(address, id);
        }
        Ok(address)
    }

    pub(crate) fn address(&self, id: SocketId) -> Option<SocketAddr> {
        Some(self.sockets.get(&id)?.address)
    }

    /// Removes a socket. Packets in flight to it are lost. Returns its alarm, to be dropped after the lock has been
    /// released.
    pub(crate) fn on_socket_dropped(&mut self, id: SocketId) -> Option<Arc<Alarm>> {
        let socket = self.sockets.remove(&id)?;
        self.bound.remove(&socket.address);
        for arrival in socket.queue.into_arrivals() {
            let counters = self.links[arrival.link.0].counters_mut();
            counters.dropped.count(DropReason::NoSocket);
        }
        Some(socket.alarm)
    }

    /// Changes a link. Returns the wakeups of all sockets, if it moves packets that are in flight.
    pub(crate) fn on_change(
        &mut self,
        now: Instant,
        id: LinkId,
        change: &Change,
    ) -> Result<Vec<Wakeup>, ConfigError> {
        let moved: HashMap<_, _> = self.link(id).on_change(now, change)?.into_iter().collect();
        if moved.is_empty() {
            return Ok(Vec::new());
        }
        let wakeups = self.sockets.values_mut().filter_map(|socket| {
            socket.queue.on_moved(id, &moved);
            socket.wakeup()
        });
        Ok(wakeups.collect())
    }

    fn free_address(&self, wanted: SocketAddr) -> io::Result<SocketAddr> {
        let is_free = |address: &SocketAddr| !self.bound.contains_key(address);
        if wanted.port() == 0 {
            (FIRST_EPHEMERAL_PORT..=u16::MAX)
                .map(|port| SocketAddr::new(wanted.ip(), port))
                .find(is_free)
                .ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
        } else if is_free(&wanted) {
            Ok(wanted)
        } else {
            Err(io::ErrorKind::AddrInUse.into())
        }
    }
}

/// Returns the size of the IP packet around a UDP payload.
fn packet_len(payload: &Bytes, to: SocketAddr) -> u64 {
    let headers = if to.is_ipv4() { 20 + 8 } else { 40 + 8 };
    u64::try_from(payload.len())
        .unwrap_or(u64::MAX)
        .saturating_add(headers)
}
