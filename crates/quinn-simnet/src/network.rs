//! The network: hosts, and the links between them.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use crate::{
    clock::Clock,
    config::{ConfigError, LinkConfig},
    direction::Direction,
    shared::Shared,
    socket::Socket,
    time,
};

/// A simulated network, given by [`run`](crate::run). Clones are handles of the same network.
///
/// Hosts are IP addresses. A packet reaches another host if there is a route for that pair of addresses, in that
/// direction. Without a route it is lost, and counted as [unroutable](Network::unroutable).
#[derive(Clone)]
pub struct Network(Arc<Shared>);

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network")
            .field("seed", &self.seed())
            .field("elapsed", &self.elapsed())
            .finish_non_exhaustive()
    }
}

impl Network {
    pub(crate) fn new(seed: u64, clock: Clock) -> Self {
        Self(Arc::new(Shared::new(seed, clock)))
    }

    /// Returns the seed of this network's random numbers.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.0.seed()
    }

    /// Returns the virtual time since the start of the run.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        time::now().saturating_duration_since(self.0.start())
    }

    /// Waits for exactly `time`. (`tokio::time::sleep` rounds up to the next millisecond.)
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the wait.
    pub async fn sleep(&self, time: Duration) {
        let now = time::now();
        match now.checked_add(time) {
            Some(deadline) => self.0.clock().sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    }

    /// Returns the runtime for quinn's endpoints, with exact timers.
    #[must_use]
    pub fn runtime(&self) -> Arc<dyn quinn::Runtime> {
        self.0.runtime().clone()
    }

    /// Connects two hosts by a link each way. Both have this configuration, and each has its own queue and its own random
    /// numbers. Returns the direction from `a` to `b` and the one back.
    ///
    /// # Errors
    ///
    /// If the configuration is invalid; see [`LinkConfig::check`].
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

    /// Creates a direction, to be used by one or more [routes](Network::route).
    ///
    /// # Errors
    ///
    /// If the configuration is invalid; see [`LinkConfig::check`].
    pub fn direction(&self, config: LinkConfig) -> Result<Direction, ConfigError> {
        let id = self.0.state().add_link(config)?;
        Ok(Direction::new(self.0.clone(), id))
    }

    /// Routes packets between two hosts over `direction`, from now on. Routes over the same direction share its rate and
    /// its queue: a common bottleneck.
    pub fn route(&self, from: IpAddr, to: IpAddr, direction: &Direction) {
        self.0.state().set_route(from, to, direction.id());
    }

    /// Binds a UDP socket, for `quinn::Endpoint::new_with_abstract_socket` or `rebind_abstract`. Port 0 is replaced by a
    /// free one. The address is free again when the socket is dropped.
    ///
    /// # Errors
    ///
    /// `AddrInUse` if another socket has the address, `InvalidInput` if it is unspecified (it names the host),
    /// `AddrNotAvailable` if no port is free.
    pub fn socket(&self, address: SocketAddr) -> io::Result<Arc<Socket>> {
        if address.ip().is_unspecified() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a simulated socket needs the address of its host",
            ));
        }
        let alarm = Arc::new(self.0.clock().alarm());
        let (id, address) = self.0.state().bind(address, alarm)?;
        Ok(Arc::new(Socket::new(self.0.clone(), id, address)))
    }

    /// Returns the number of packets sent between hosts without a route.
    #[must_use]
    pub fn unroutable(&self) -> u64 {
        self.0.state().unroutable()
    }
}
