//! A host of the simulated network, as producers and brokers want it.

use std::{
    collections::BTreeMap,
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use quinn::{AsyncUdpSocket, Runtime};

use super::Network;
use crate::conn::network::{NetworkProvider, Resolving};

/// One host of a [`Network`]: a producer or a broker that is given it sends and receives in the simulation.
///
/// Unspecified local addresses stand for the host's own. Literal addresses resolve to themselves, and names to what
/// [`Host::knows`] says. quinn's random numbers begin with the network's seed and the host's address.
///
/// ```
/// use std::sync::Arc;
/// use anabranch::{Producer, sim::{self, Host}};
///
/// sim::run(7, async |net| {
///     let mut config = anabranch::producer::Config::default();
///     config.connection.network = Arc::new(Host::new(&net, [10, 0, 0, 1].into()));
///     let producer = Producer::builder().config(config).server("10.0.0.2:4470");
///     # drop(producer);
/// });
/// ```
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
    /// The host at `address`, which knows no names.
    #[must_use]
    pub fn new(network: &Network, address: IpAddr) -> Self {
        Self {
            network: network.clone(),
            address,
            names: BTreeMap::new(),
        }
    }

    /// From now on `name` stands for `address` here.
    #[must_use]
    pub fn knows(mut self, name: impl Into<String>, address: IpAddr) -> Self {
        self.names.insert(name.into(), address);
        self
    }
}

impl NetworkProvider for Host {
    fn bind(&self, mut local: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        if local.ip().is_unspecified() {
            local.set_ip(self.address);
        }
        Ok(self.network.socket(local)?)
    }

    fn runtime(&self) -> Arc<dyn Runtime> {
        self.network.runtime()
    }

    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Resolving<'a> {
        let address = host.parse().ok().or_else(|| self.names.get(host).copied());
        Box::pin(async move {
            let address: IpAddr =
                address.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such name"))?;
            Ok(vec![SocketAddr::new(address, port)])
        })
    }

    fn seed(&self) -> Option<[u8; 32]> {
        let address = match self.address {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        };
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.network.seed().to_be_bytes());
        seed[16..].copy_from_slice(&address);
        Some(seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim;

    #[test]
    fn a_host_binds_at_its_own_address_and_resolves_what_it_knows() {
        sim::run(1, async |net| {
            let host = Host::new(&net, [10, 0, 0, 1].into()).knows("broker", [10, 0, 0, 2].into());
            let socket = host.bind("0.0.0.0:0".parse().unwrap()).unwrap();
            assert_eq!(socket.local_addr().unwrap().ip(), host.address);
            let found = host.resolve("broker", 7).await.unwrap();
            assert_eq!(found, ["10.0.0.2:7".parse().unwrap()]);
            assert!(host.resolve("10.0.0.9", 7).await.is_ok());
            assert!(host.resolve("nobody", 7).await.is_err());
        });
    }

    #[test]
    fn hosts_draw_different_numbers_and_the_same_ones_in_every_run() {
        let seeds = |seed| {
            sim::run(seed, async |net| {
                let of = |last| Host::new(&net, [10, 0, 0, last].into()).seed();
                (of(1), of(2))
            })
        };
        assert_eq!(seeds(1), seeds(1));
        assert_ne!(seeds(1).0, seeds(1).1);
        assert_ne!(seeds(1).0, seeds(2).0);
    }
}
