//! One host of the network: its sockets, the names that it resolves, and its random seed.

use std::{
    collections::BTreeMap,
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use quinn::{AsyncUdpSocket, Runtime};

use crate::network::Network;

/// One host of a [`Network`], with what a program asks of its operating system: sockets, timers, name resolution and a
/// random seed.
///
/// Programs that can be given such an interface run unchanged in the simulation.
#[derive(Clone)]
pub struct Host {
    network: Network,
    address: IpAddr,
    names: BTreeMap<String, IpAddr>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("address", &self.address)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

impl Host {
    /// Returns the host at `address`, which resolves no names yet.
    #[must_use]
    pub fn new(network: &Network, address: IpAddr) -> Self {
        Self {
            network: network.clone(),
            address,
            names: BTreeMap::new(),
        }
    }

    /// Makes `name` resolve to `address` on this host.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>, address: IpAddr) -> Self {
        self.names.insert(name.into(), address);
        self
    }

    /// Binds a socket at `local`. An unspecified address is replaced by the host's own.
    ///
    /// # Errors
    ///
    /// If the address is in use.
    pub fn bind(&self, mut local: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        if local.ip().is_unspecified() {
            local.set_ip(self.address);
        }
        Ok(self.network.socket(local)?)
    }

    /// Returns the runtime for quinn's endpoints.
    #[must_use]
    pub fn runtime(&self) -> Arc<dyn Runtime> {
        self.network.runtime()
    }

    /// Returns the address of `host`, which is a literal address or a name given by [`Host::with_name`].
    ///
    /// # Errors
    ///
    /// `NotFound` if the name is unknown.
    pub fn resolve(&self, host: &str) -> io::Result<IpAddr> {
        let address = host.parse().ok().or_else(|| self.names.get(host).copied());
        address.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such name"))
    }

    /// Returns a seed for quinn's random numbers (`EndpointConfig::rng_seed`): the network's seed and the host's address.
    #[must_use]
    pub fn rng_seed(&self) -> [u8; 32] {
        let address = match self.address {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        };
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.network.seed().to_be_bytes());
        seed[16..].copy_from_slice(&address);
        seed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run;

    #[test]
    fn a_host_binds_at_its_own_address_and_resolves_what_it_knows() {
        run(1, async |net| {
            let host =
                Host::new(&net, [10, 0, 0, 1].into()).with_name("broker", [10, 0, 0, 2].into());
            let socket = host.bind("0.0.0.0:0".parse().unwrap()).unwrap();
            assert_eq!(socket.local_addr().unwrap().ip(), host.address);
            assert_eq!(host.resolve("broker").unwrap().to_string(), "10.0.0.2");
            assert!(host.resolve("10.0.0.9").is_ok());
            assert!(host.resolve("unknown").is_err());
        });
    }

    #[test]
    fn hosts_draw_different_numbers_and_the_same_ones_in_every_run() {
        let seeds = |seed| {
            run(seed, async |net| {
                let of = |last| Host::new(&net, [10, 0, 0, last].into()).rng_seed();
                (of(1), of(2))
            })
        };
        assert_eq!(seeds(1), seeds(1));
        assert_ne!(seeds(1).0, seeds(1).1);
        assert_ne!(seeds(1).0, seeds(2).0);
    }
}
