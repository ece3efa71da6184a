//! The network: who can reach whom, and over what.

use std::{
    collections::{BTreeMap, HashMap},
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard},
    task::Waker,
    time::{Duration, Instant},
};

use bytes::Bytes;
use fastrand::Rng;
use quinn::udp::EcnCodepoint;

use super::{
    clock::{Alarm, Clock},
    config::{ConfigError, LinkConfig},
    counters::DropReason,
    direction::{Direction, LinkId},
    inbox::{Arrival, Inbox},
    link::{Change, Link, Verdict},
    runtime::SimRuntime,
    socket::Socket,
};
use crate::time;

/// The first of the ports that are given to sockets that ask for none.
const FIRST_EPHEMERAL: u16 = 49_152;

/// A simulated network, from [`run`](super::run). Clones are the same network.
///
/// Hosts are no more than IP addresses. A packet goes from one to another if there is a route for that pair, in
/// that direction; without one it vanishes, as it does on the internet, and is counted as
/// [unroutable](Network::unroutable).
#[derive(Clone)]
pub struct Network(Arc<Shared>);

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network")
            .field("seed", &self.0.seed)
            .field("elapsed", &self.elapsed())
            .finish_non_exhaustive()
    }
}

impl Network {
    pub(super) fn new(seed: u64, clock: Clock) -> Self {
        Self(Arc::new(Shared {
            seed,
            start: time::now(),
            runtime: Arc::new(SimRuntime::new(clock.clone())),
            clock,
            state: Mutex::new(State {
                dice: Rng::with_seed(seed),
                links: Vec::new(),
                routes: HashMap::new(),
                mailboxes: BTreeMap::new(),
                owners: HashMap::new(),
                next_socket: SocketId(0),
                next_sequence: 0,
                unroutable: 0,
            }),
        }))
    }

    /// The seed that this network draws from.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.0.seed
    }

    /// The virtual time since the start of the run.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        time::now().saturating_duration_since(self.0.start)
    }

    /// Waits for exactly so long, where `tokio::time::sleep` would round up to the next millisecond.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future forgets the wait.
    pub async fn sleep(&self, time: Duration) {
        let now = time::now();
        match now.checked_add(time) {
            Some(deadline) => self.0.clock.sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    }

    /// The runtime for quinn's endpoints, with exact timers.
    #[must_use]
    pub fn runtime(&self) -> Arc<dyn quinn::Runtime> {
        self.0.runtime.clone()
    }

    /// Connects two hosts by a direction each way, both as `config` says but each with dice and a queue of its
    /// own. Returns the direction from `a` to `b` and the one back.
    ///
    /// # Errors
    ///
    /// If there can be no such link.
    pub fn connect(
        &self,
        a: IpAddr,
        b: IpAddr,
        config: LinkConfig,
    ) -> Result<(Direction, Direction), ConfigError> {
        let there = self.direction(config.clone())?;
        let back = self.direction(config)?;
        self.route(a, b, &there);
        self.route(b, a, &back);
        Ok((there, back))
    }

    /// A direction that nobody uses yet. Give it to one or to several [routes](Network::route).
    ///
    /// # Errors
    ///
    /// If there can be no such link.
    pub fn direction(&self, config: LinkConfig) -> Result<Direction, ConfigError> {
        let mut state = self.0.state();
        let seed = state.dice.u64(..);
        let id = LinkId(state.links.len());
        state.links.push(Link::new(config, seed)?);
        drop(state);
        Ok(Direction::new(self.0.clone(), id))
    }

    /// Packets between these hosts go this way, from now on. Hosts that are given the same direction share its
    /// queue and its rate: a common bottleneck.
    pub fn route(&self, from: IpAddr, to: IpAddr, direction: &Direction) {
        self.0.state().routes.insert((from, to), direction.id());
    }

    /// A UDP socket at this address, for `quinn::Endpoint::new_with_abstract_socket` or `rebind_abstract`. Port 0
    /// stands for any that is free. The address is free again when the socket is dropped.
    ///
    /// # Errors
    ///
    /// `AddrInUse` if another socket has it, `InvalidInput` for an unspecified address (the network must know
    /// which host this is), `AddrNotAvailable` if all ports are taken.
    pub fn socket(&self, address: SocketAddr) -> io::Result<Arc<Socket>> {
        if address.ip().is_unspecified() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a simulated socket needs the address of its host",
            ));
        }
        let alarm = Arc::new(self.0.clock.alarm());
        let mut state = self.0.state();
        let address = state.free_address(address)?;
        let id = state.next_socket;
        state.next_socket = SocketId(id.0 + 1);
        state.owners.insert(address, id);
        state.mailboxes.insert(
            id,
            Mailbox {
                address,
                inbox: Inbox::default(),
                reader: None,
                alarm,
            },
        );
        drop(state);
        Ok(Arc::new(Socket::new(self.0.clone(), id, address)))
    }

    /// How many packets were sent between hosts that have no route.
    #[must_use]
    pub fn unroutable(&self) -> u64 {
        self.0.state().unroutable
    }
}

/// Names a socket of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SocketId(u64);

/// What all handles of a network share.
pub(super) struct Shared {
    seed: u64,
    start: Instant,
    clock: Clock,
    runtime: Arc<SimRuntime>,
    state: Mutex<State>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("nothing panics while it holds the network")
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(super) fn runtime(&self) -> &SimRuntime {
        &self.runtime
    }

    pub(super) fn change(&self, link: LinkId, change: &Change) -> Result<(), ConfigError> {
        let bells = self.state().on_change(time::now(), link, change)?;
        bells.into_iter().for_each(Bell::set);
        Ok(())
    }

    /// For changes that have nothing in them to check.
    pub(super) fn change_freely(&self, link: LinkId, change: &Change) {
        self.change(link, change)
            .expect("a change without parameters can always be made");
    }
}

/// What one socket owns in the network.
struct Mailbox {
    /// Where its peers see it.
    address: SocketAddr,
    inbox: Inbox,
    /// Who waits for the next arrival.
    reader: Option<Waker>,
    alarm: Arc<Alarm>,
}

/// Somebody to be woken at a moment, once the lock on the network is free again.
#[must_use]
pub(super) struct Bell {
    alarm: Arc<Alarm>,
    at: Instant,
    whom: Waker,
}

impl Bell {
    pub(super) fn set(self) {
        self.alarm.set(self.at, self.whom);
    }
}

impl Mailbox {
    /// What it takes to wake the reader, if one waits, when the next packet arrives.
    fn bell(&self) -> Option<Bell> {
        Some(Bell {
            at: self.inbox.next()?,
            whom: self.reader.clone()?,
            alarm: self.alarm.clone(),
        })
    }
}

/// Everything that moves, behind the one lock of the network.
pub(super) struct State {
    dice: Rng,
    links: Vec<Link>,
    routes: HashMap<(IpAddr, IpAddr), LinkId>,
    /// In the order of their making: nothing here may depend on the order of a hash map.
    mailboxes: BTreeMap<SocketId, Mailbox>,
    owners: HashMap<SocketAddr, SocketId>,
    next_socket: SocketId,
    next_sequence: u64,
    unroutable: u64,
}

/// A UDP datagram on its way out.
pub(super) struct Datagram {
    pub(super) from: SocketId,
    pub(super) to: SocketAddr,
    pub(super) ecn: Option<EcnCodepoint>,
    pub(super) payload: Bytes,
}

impl State {
    pub(super) fn link(&mut self, id: LinkId) -> &mut Link {
        &mut self.links[id.0]
    }

    /// A socket sends; returns whom to wake, and when.
    pub(super) fn on_datagram(&mut self, now: Instant, datagram: Datagram) -> Option<Bell> {
        let Datagram {
            from,
            to,
            ecn,
            payload,
        } = datagram;
        let from = self.mailboxes.get(&from)?.address;
        let Some(&id) = self.routes.get(&(from.ip(), to.ip())) else {
            self.unroutable += 1;
            return None;
        };
        let link = &mut self.links[id.0];
        let Verdict::Deliver(delivery) =
            link.on_packet(now, packet_len(&payload, to), ecn.is_some())
        else {
            return None;
        };

        let owner = self.owners.get(&to);
        let mailbox = owner.and_then(|owner| self.mailboxes.get_mut(owner));
        let copies = 1 + u64::from(delivery.twice);
        let dropped = match &mailbox {
            None => Some(DropReason::NoSocket),
            Some(mailbox) if !mailbox.inbox.has_room() => Some(DropReason::InboxFull),
            Some(_) => None,
        };
        if let Some(reason) = dropped {
            (0..copies).for_each(|_| link.counters_mut().dropped.count(reason));
            return None;
        }
        let mailbox = mailbox?;
        let mut first = false;
        for _ in 0..copies {
            self.next_sequence += 1;
            first |= mailbox.inbox.on_packet(Arrival {
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
        if first { mailbox.bell() } else { None }
    }

    /// The next packet that has arrived at this socket, or else, where one is on its way, what it takes to wake
    /// `reader` then.
    pub(super) fn poll_arrived(&mut self, now: Instant, id: SocketId) -> Option<Arrival> {
        let mailbox = self.mailboxes.get_mut(&id)?;
        while let Some(arrival) = mailbox.inbox.poll_arrived(now) {
            let counters = self.links[arrival.link.0].counters_mut();
            // The socket may have moved while the packet was on its way.
            if arrival.to == mailbox.address {
                counters.delivered += packet_len(&arrival.payload, arrival.to);
                return Some(arrival);
            }
            counters.dropped.count(DropReason::NoSocket);
        }
        None
    }

    /// Somebody waits for the next packet; returns how to wake it, where one is on its way already.
    pub(super) fn on_reader(&mut self, id: SocketId, reader: &Waker) -> Option<Bell> {
        let mailbox = self.mailboxes.get_mut(&id)?;
        match &mut mailbox.reader {
            Some(known) => known.clone_from(reader),
            none => *none = Some(reader.clone()),
        }
        mailbox.bell()
    }

    /// The socket has another address from now on. Packets on their way to the old one are lost.
    pub(super) fn on_rebind(
        &mut self,
        id: SocketId,
        address: SocketAddr,
    ) -> io::Result<SocketAddr> {
        let address = self.free_address(address)?;
        if let Some(mailbox) = self.mailboxes.get_mut(&id) {
            self.owners.remove(&mailbox.address);
            mailbox.address = address;
            self.owners.insert(address, id);
        }
        Ok(address)
    }

    pub(super) fn address(&self, id: SocketId) -> Option<SocketAddr> {
        Some(self.mailboxes.get(&id)?.address)
    }

    /// The socket is gone, and what was on its way to it is lost. Returns its alarm, to be dropped when the lock
    /// is free again.
    pub(super) fn on_socket_dropped(&mut self, id: SocketId) -> Option<Arc<Alarm>> {
        let mailbox = self.mailboxes.remove(&id)?;
        self.owners.remove(&mailbox.address);
        for arrival in mailbox.inbox.into_rest() {
            let counters = self.links[arrival.link.0].counters_mut();
            counters.dropped.count(DropReason::NoSocket);
        }
        Some(mailbox.alarm)
    }

    fn on_change(
        &mut self,
        now: Instant,
        id: LinkId,
        change: &Change,
    ) -> Result<Vec<Bell>, ConfigError> {
        let moved: HashMap<_, _> = self.link(id).on_change(now, change)?.into_iter().collect();
        if moved.is_empty() {
            return Ok(Vec::new());
        }
        let bells = self.mailboxes.values_mut().filter_map(|mailbox| {
            mailbox.inbox.on_moved(id, &moved);
            mailbox.bell()
        });
        Ok(bells.collect())
    }

    fn free_address(&self, wanted: SocketAddr) -> io::Result<SocketAddr> {
        let is_free = |address: &SocketAddr| !self.owners.contains_key(address);
        if wanted.port() == 0 {
            (FIRST_EPHEMERAL..=u16::MAX)
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

/// The size of the IP packet around a UDP payload.
fn packet_len(payload: &Bytes, to: SocketAddr) -> u64 {
    let headers = if to.is_ipv4() { 20 + 8 } else { 40 + 8 };
    u64::try_from(payload.len())
        .unwrap_or(u64::MAX)
        .saturating_add(headers)
}
