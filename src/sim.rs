//! Producers, brokers and consumers over a simulated network, in virtual time.
//!
//! This is [`quinn_simnet`], with its [`Host`] as the network of a connection or a broker:
//!
//! ```
//! use std::sync::Arc;
//! use anabranch::{Producer, sim::{self, Host}};
//!
//! sim::run(7, async |net| {
//!     let mut config = anabranch::producer::Config::default();
//!     config.connection.network = Arc::new(Host::new(&net, [10, 0, 0, 1].into()));
//!     let producer = Producer::builder().config(config).server("10.0.0.2:4433");
//!     # drop(producer);
//! });
//! ```
//!
//! The time that is written into messages is the simulated time, as if 2026 had begun with the run.

use std::{io, net::SocketAddr, sync::Arc};

use quinn::{AsyncUdpSocket, Runtime};
pub use quinn_simnet::*;

use crate::conn::{NetworkProvider, Resolving};

impl NetworkProvider for Host {
    fn bind(&self, local: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Self::bind(self, local)
    }

    fn runtime(&self) -> Arc<dyn Runtime> {
        Self::runtime(self)
    }

    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Resolving<'a> {
        Box::pin(async move { Ok(vec![SocketAddr::new(Self::resolve(self, host)?, port)]) })
    }

    fn seed(&self) -> Option<[u8; 32]> {
        Some(self.rng_seed())
    }
}
