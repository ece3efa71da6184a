//! Counts the connections and handshakes of a broker, all of them and those of each address.
//!
//! A handshake belongs to a stranger: a client that has not been authenticated. When there are too many, the oldest gives
//! way to the newest: of its own address where that has more than its share, of all otherwise. So an address can hold up
//! itself only, and a client that behaves has its turn.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

use crate::conn::{ActiveCounts, Admission};

/// Counts connections, and those of them that are still in their handshake.
#[derive(Debug, Clone, Default)]
pub(super) struct ConnectionCounter {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    connections: usize,
    of_address: HashMap<IpAddr, OfAddress>,
    /// By number, so the oldest is the first.
    handshakes: BTreeMap<u64, (IpAddr, CancellationToken)>,
    last: u64,
}

#[derive(Debug, Default)]
struct OfAddress {
    connections: usize,
    /// The numbers of its handshakes, the oldest first.
    handshakes: Vec<u64>,
}

/// A connection, counted until both parts are dropped.
#[derive(Debug)]
pub(super) struct CountedConnection {
    /// Dropped when the handshake is over.
    pub(super) handshake: CountedHandshake,
    /// Dropped when the connection is.
    pub(super) connection: Counted,
}

/// Counts as one connection until it is dropped.
#[derive(Debug)]
pub(super) struct Counted {
    counter: ConnectionCounter,
    address: IpAddr,
}

/// Counts as one handshake until it is dropped.
#[derive(Debug)]
pub(super) struct CountedHandshake {
    counter: ConnectionCounter,
    number: u64,
    /// Cancelled when it gives way to a newer one.
    pub(super) given_up: CancellationToken,
}

/// Returns what counts as one address: of IPv6 a network of 64 bits, which is the least that one customer has.
fn share_of(address: SocketAddr) -> IpAddr {
    match address.ip().to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 => v4,
    }
}

impl ConnectionCounter {
    /// Returns the present counts, for a client at `address`.
    pub(super) fn counts(&self, address: SocketAddr) -> ActiveCounts {
        let state = self.state();
        let of_address = state.of_address.get(&share_of(address));
        ActiveCounts {
            handshakes: state.handshakes.len(),
            connections: state.connections,
            of_address: of_address.map_or(0, |of| of.connections),
        }
    }

    /// Counts one more connection. Where that makes too many handshakes, the oldest is given up.
    pub(super) fn add(&self, address: SocketAddr, admission: &Admission) -> CountedConnection {
        let address = share_of(address);
        let mut state = self.state();
        state.last += 1;
        let (number, given_up) = (state.last, CancellationToken::new());
        state.connections += 1;
        let of_address = state.of_address.entry(address).or_default();
        of_address.connections += 1;
        of_address.handshakes.push(number);
        let own = of_address.handshakes.len() > admission.max_handshakes_per_address;
        let oldest = of_address.handshakes.first().copied().filter(|_| own);
        state.handshakes.insert(number, (address, given_up.clone()));
        let full = state.handshakes.len() > admission.max_handshakes;
        let oldest = oldest.or_else(|| state.handshakes.keys().next().copied().filter(|_| full));
        if let Some(oldest) = oldest
            && let Some((_, told)) = state.end_handshake(oldest)
        {
            told.cancel();
        }
        drop(state);
        let counter = self.clone();
        CountedConnection {
            handshake: CountedHandshake {
                counter: counter.clone(),
                number,
                given_up,
            },
            connection: Counted { counter, address },
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn end_handshake(&mut self, number: u64) -> Option<(IpAddr, CancellationToken)> {
        let (address, told) = self.handshakes.remove(&number)?;
        if let Some(of_address) = self.of_address.get_mut(&address) {
            of_address.handshakes.retain(|of| *of != number);
        }
        Some((address, told))
    }
}

impl Drop for CountedHandshake {
    fn drop(&mut self) {
        self.counter.state().end_handshake(self.number);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut state = self.counter.state();
        state.connections -= 1;
        if let Some(of_address) = state.of_address.get_mut(&self.address) {
            of_address.connections -= 1;
            if of_address.connections == 0 {
                state.of_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(last: u8) -> SocketAddr {
        ([192, 0, 2, last], 1000).into()
    }

    #[test]
    fn the_oldest_stranger_gives_way_first_of_its_own_address() {
        let admission = Admission {
            max_handshakes: 4,
            max_handshakes_per_address: 2,
            ..Admission::default()
        };
        let counter = ConnectionCounter::default();
        let add = |last| counter.add(at(last), &admission);
        let is_up = |counted: &CountedConnection| !counted.handshake.given_up.is_cancelled();
        let (a, b, c) = (add(1), add(1), add(2));
        assert!(is_up(&a) && is_up(&b) && is_up(&c));
        // The share of an address: its own oldest goes.
        let d = add(1);
        assert!(!is_up(&a) && is_up(&b) && is_up(&c) && is_up(&d));
        assert_eq!(counter.counts(at(1)).handshakes, 3);
        // All together: the oldest of all goes.
        let (e, f) = (add(3), add(4));
        assert!(!is_up(&b) && is_up(&c) && is_up(&d) && is_up(&e) && is_up(&f));
        let counts = counter.counts(at(1));
        assert_eq!((counts.handshakes, counts.connections), (4, 6));
        assert_eq!(counts.of_address, 3, "they count until they have ended");
        drop((a, b, c, d, e, f));
        let state = counter.state();
        assert!(state.of_address.is_empty() && state.handshakes.is_empty());
        assert_eq!(state.connections, 0);
    }

    #[test]
    fn a_network_of_64_bits_is_one_address() {
        let v6 = |text: &str| share_of(SocketAddr::new(text.parse().unwrap(), 1));
        assert_eq!(v6("2001:db8:1:2:3::4"), v6("2001:db8:1:2:ffff::1"));
        assert_ne!(v6("2001:db8:1:2::1"), v6("2001:db8:1:3::1"));
        assert_eq!(v6("::ffff:192.0.2.1"), share_of(at(1)));
    }
}
