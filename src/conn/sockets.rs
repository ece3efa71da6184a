//! The local sockets of a client: one for each family of addresses, opened when it is first needed.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use quinn::Endpoint;

use super::{
    network::{NetworkProvider, any_local},
    quic::{self, BindError, TransportConfig},
};

/// A client's endpoints. They outlive connections, and connections move with them ([`Sockets::rebind`]).
#[derive(Debug)]
pub(super) struct Sockets {
    network: Arc<dyn NetworkProvider>,
    settings: TransportConfig,
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

impl Sockets {
    pub(super) fn new(
        network: Arc<dyn NetworkProvider>,
        settings: TransportConfig,
        local: Option<SocketAddr>,
    ) -> Self {
        Self {
            network,
            settings,
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
        let endpoint = quic::client_endpoint(local, &self.settings, self.network.as_ref())?;
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
