//! The local sockets of a client: one for each family of addresses, opened when it is first needed.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use quinn::{Endpoint, EndpointConfig, crypto::rustls::QuicClientConfig};

use crate::conn::{
    quic::{self, BindError, NetworkProvider, PathMonitor, TransportConfig, any_local},
    tls::TlsError,
};

/// A client's endpoints. They outlive connections, and connections move with them ([`Endpoints::rebind`]).
#[derive(Debug)]
pub(super) struct Endpoints {
    network: Arc<dyn NetworkProvider>,
    transport: TransportConfig,
    local: Option<SocketAddr>,
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

    /// Whether `remote` can be reached from the local address that the options ask for.
    pub(super) fn reaches(&self, remote: SocketAddr) -> bool {
        self.local
            .is_none_or(|local| local.is_ipv4() == remote.is_ipv4())
    }

    /// The endpoint to reach `remote` from.
    pub(super) fn toward(&self, remote: SocketAddr) -> Result<Endpoint, BindError> {
        let mut open = self.lock();
        let slot = open.family(remote);
        if let Some(endpoint) = slot {
            return Ok(endpoint.clone());
        }
        let local = self.local.unwrap_or_else(|| any_local(remote));
        let endpoint = client_endpoint(local, &self.transport, self.network.as_ref())?;
        Ok(slot.insert(endpoint).clone())
    }

    /// The endpoint toward `remote` has failed: the next one is a new one.
    pub(super) fn discard(&self, remote: SocketAddr) {
        self.lock().family(remote).take();
    }

    /// Moves to new sockets, and the connections with them. On an error, those of one family may have moved.
    pub(super) fn rebind(&self) -> Result<(), BindError> {
        let open = self.lock();
        for endpoint in [&open.v4, &open.v6].into_iter().flatten() {
            let address = match (self.local, endpoint.local_addr()) {
                (Some(local), _) => local,
                (None, Ok(used)) => any_local(used),
                (None, Err(_)) => continue,
            };
            // The old socket still has the old port.
            let address = SocketAddr::new(address.ip(), 0);
            self.network
                .bind(address)
                .and_then(|socket| endpoint.rebind_abstract(socket))
                .map_err(|source| BindError { address, source })?;
        }
        Ok(())
    }

    /// Waits until the peers of all connections know that these are closed, or can be presumed to.
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
        // Nothing that holds the lock can leave the books half written.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client's endpoint at `local`.
///
/// # Errors
///
/// Where the address cannot be used.
pub fn client_endpoint(
    local: SocketAddr,
    transport: &TransportConfig,
    network: &dyn NetworkProvider,
) -> Result<Endpoint, BindError> {
    quic::endpoint(local, None, EndpointConfig::default(), transport, network)
}

/// What a client tells quinn, with the numbers still open: see [`client_config_for`].
///
/// # Errors
///
/// Where `tls` cannot do QUIC.
pub fn client_config(tls: Arc<rustls::ClientConfig>) -> Result<quinn::ClientConfig, TlsError> {
    let crypto = QuicClientConfig::try_from(tls).map_err(|_| TlsError::ReadyWithoutInitialSuite)?;
    Ok(quinn::ClientConfig::new(Arc::new(crypto)))
}

/// `base` for one connection, which publishes into `sight`. Connections of one `base` share what they
/// remember of the server: session tickets and address tokens.
#[must_use]
pub fn client_config_for(
    base: &quinn::ClientConfig,
    transport: &TransportConfig,
    sight: Arc<PathMonitor>,
) -> quinn::ClientConfig {
    let mut config = base.clone();
    config.transport_config(Arc::new(transport.to_quinn(Some(sight))));
    config
}
