//! A client's QUIC endpoints, one for each address family, opened when first needed; and their configuration.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use quinn::{Endpoint, EndpointConfig, crypto::rustls::QuicClientConfig};

use crate::conn::{
    quic::{self, BindError, NetworkProvider, PathMonitor, TransportConfig},
    tls::TlsError,
};

/// A client's endpoints. They outlive its connections, which move with them to new sockets ([`Endpoints::rebind`]).
#[derive(Debug)]
pub(super) struct Endpoints {
    network: Arc<dyn NetworkProvider>,
    transport: TransportConfig,
    /// The local address that the options ask for.
    local: Option<SocketAddr>,
    /// A std mutex: it is held for a moment and never across an await.
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    v4: Option<Endpoint>,
    v6: Option<Endpoint>,
}

impl Open {
    fn family(&mut self, of: SocketAddr) -> &mut Option<Endpoint> {
        match of {
            SocketAddr::V4(_) => &mut self.v4,
            SocketAddr::V6(_) => &mut self.v6,
        }
    }
}

impl Endpoints {
    pub(super) fn new(
        network: Arc<dyn NetworkProvider>,
        transport: TransportConfig,
        local: Option<SocketAddr>,
    ) -> Self {
        Self {
            network,
            transport,
            local,
            open: Mutex::default(),
        }
    }

    /// Returns the local address that the options ask for.
    pub(super) const fn local(&self) -> Option<SocketAddr> {
        self.local
    }

    /// Returns whether `remote` is of the address family of the local address that the options ask for.
    pub(super) fn reaches(&self, remote: SocketAddr) -> bool {
        self.local
            .is_none_or(|local| local.is_ipv4() == remote.is_ipv4())
    }

    /// Returns the endpoint for the address family of `remote`, opening it if needed.
    pub(super) fn get(&self, remote: SocketAddr) -> Result<Endpoint, BindError> {
        let mut open = self.lock();
        let slot = open.family(remote);
        if let Some(endpoint) = slot {
            return Ok(endpoint.clone());
        }
        let local = self.local.unwrap_or_else(|| any_local(remote));
        let endpoint = client_endpoint(local, &self.transport, self.network.as_ref())?;
        Ok(slot.insert(endpoint).clone())
    }

    /// Discards the endpoint for the address family of `remote`, which has failed. The next use opens a new one.
    pub(super) fn discard(&self, remote: SocketAddr) {
        self.lock().family(remote).take();
    }

    /// Moves every endpoint and its connections to a new socket. On an error, the endpoint of one family may have moved.
    pub(super) fn rebind(&self) -> Result<(), BindError> {
        let open = self.lock();
        for endpoint in [&open.v4, &open.v6].into_iter().flatten() {
            let address = match (self.local, endpoint.local_addr()) {
                (Some(local), _) => local,
                (None, Ok(used)) => any_local(used),
                (None, Err(_)) => continue,
            };
            // The old port is still in use by the old socket.
            let address = SocketAddr::new(address.ip(), 0);
            self.network
                .bind(address)
                .and_then(|socket| endpoint.rebind_abstract(socket))
                .map_err(|source| BindError { address, source })?;
        }
        Ok(())
    }

    /// Waits until every closed connection has drained: its peer has received the close, or the time for that is over.
    pub(super) async fn wait_idle(&self) {
        let endpoints = {
            let open = self.lock();
            [open.v4.clone(), open.v6.clone()]
        };
        for endpoint in endpoints.into_iter().flatten() {
            endpoint.wait_idle().await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Open> {
        // No code panics half-way through a change while it holds this lock.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the unspecified address of the family of `remote`, with port 0.
///
/// A socket of the peer's address family avoids IPv4-mapped IPv6 addresses.
fn any_local(remote: SocketAddr) -> SocketAddr {
    let ip = match remote {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    SocketAddr::new(ip, 0)
}

/// Opens a client's endpoint at `local`.
///
/// # Errors
///
/// The address cannot be bound.
pub fn client_endpoint(
    local: SocketAddr,
    transport: &TransportConfig,
    network: &dyn NetworkProvider,
) -> Result<Endpoint, BindError> {
    quic::endpoint(local, None, EndpointConfig::default(), transport, network)
}

/// Creates quinn's configuration of a client, without the transport parameters: see [`client_config_for`].
///
/// # Errors
///
/// `tls` lacks the cipher suite that QUIC starts with.
pub fn client_config(tls: Arc<rustls::ClientConfig>) -> Result<quinn::ClientConfig, TlsError> {
    let crypto = QuicClientConfig::try_from(tls).map_err(|_| TlsError::ReadyWithoutInitialSuite)?;
    Ok(quinn::ClientConfig::new(Arc::new(crypto)))
}

/// Returns `base` for one connection, which publishes its statistics to `monitor`. Connections of one `base` share
/// session tickets and address validation tokens.
#[must_use]
pub fn client_config_for(
    base: &quinn::ClientConfig,
    transport: &TransportConfig,
    monitor: Arc<PathMonitor>,
) -> quinn::ClientConfig {
    let mut config = base.clone();
    config.transport_config(Arc::new(transport.to_quinn(Some(monitor))));
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_s_socket_is_of_the_family_of_the_server() {
        let v4 = any_local("192.0.2.1:4433".parse().unwrap());
        let v6 = any_local("[2001:db8::1]:4433".parse().unwrap());
        assert_eq!(v4, "0.0.0.0:0".parse().unwrap());
        assert_eq!(v6, "[::]:0".parse().unwrap());
    }
}
