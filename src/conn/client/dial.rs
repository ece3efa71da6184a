//! Opens a QUIC connection to a server: resolves its name, tries its addresses, and takes the first that answers.
//!
//! The addresses of one server are tried in the resolver's order, each starting shortly after the previous one while that
//! one is still in progress (Happy Eyeballs, RFC 8305). Tried strictly in turn, `localhost` would cost a full timeout
//! whenever the server listens only at the second of its two addresses.

use std::{collections::VecDeque, io, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use quinn::Connection;

use super::{
    config::Target,
    credentials::Credentials,
    endpoints::{Endpoints, client_config_for},
    error::{Cause, ConnectError},
};
use crate::conn::quic::{CloseReason, NetworkProvider, PathMonitor, TransportConfig};
use crate::time;

/// Delay before the next address is tried while the previous one is still in progress (RFC 8305).
const CONNECTION_ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Opens QUIC connections to servers.
#[derive(Debug)]
pub(super) struct Dialer {
    pub(super) network: Arc<dyn NetworkProvider>,
    pub(super) endpoints: Arc<Endpoints>,
    pub(super) credentials: Credentials,
    pub(super) transport: TransportConfig,
}

/// A connection that is not authenticated yet, and the monitor of its path.
pub(super) type Dialed = (Connection, Arc<PathMonitor>);

impl Dialer {
    /// Connects to `target`, at whichever of its addresses answers first.
    pub(super) async fn dial(
        &self,
        target: &Target,
        limit: Duration,
    ) -> Result<Dialed, ConnectError> {
        let server = target.address.to_string();
        let failed = |address, cause| {
            let error = ConnectError::connecting(&server, address, cause);
            error.with_trust(self.credentials.trusted_by())
        };
        let resolving = self
            .network
            .resolve(target.address.host(), target.address.port());
        let found = match time::timeout(limit, resolving).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => return Err(failed(None, Cause::Resolve(Some(Arc::new(error))))),
            Err(_) => {
                let error = io::Error::from(io::ErrorKind::TimedOut);
                return Err(failed(None, Cause::Resolve(Some(Arc::new(error)))));
            }
        };
        let mut untried: VecDeque<_> = found
            .into_iter()
            .filter(|address| self.endpoints.reaches(*address))
            .collect();

        let mut trying = FuturesUnordered::new();
        let mut reported: Option<ConnectError> = None;
        // One iteration for each address that is started, and one for each that fails.
        loop {
            if let Some(address) = untried.pop_front() {
                let attempt = self.attempt(address, &target.name, limit);
                trying.push(async move { (address, attempt.await) });
            }
            let outcome = tokio::select! {
                biased;
                outcome = trying.next() => outcome,
                () = time::sleep(CONNECTION_ATTEMPT_DELAY), if !untried.is_empty() => continue,
            };
            match outcome {
                Some((_, Ok(dialed))) => return Ok(dialed),
                Some((address, Err(cause))) => {
                    let error = failed(Some(address), cause);
                    tracing::debug!(%error, "cannot connect to one address");
                    reported = Some(match reported {
                        Some(before) => error.or(before),
                        None => error,
                    });
                }
                None => {
                    return Err(reported.unwrap_or_else(|| failed(None, Cause::Resolve(None))));
                }
            }
        }
    }

    async fn attempt(
        &self,
        address: SocketAddr,
        name: &str,
        limit: Duration,
    ) -> Result<Dialed, Cause> {
        let monitor = Arc::new(PathMonitor::new(time::now()));
        let tls = self.credentials.tls();
        let config = client_config_for(tls, &self.transport, Arc::clone(&monitor));
        let connecting = match self.begin(&config, address, name)? {
            Ok(connecting) => connecting,
            Err(quinn::ConnectError::EndpointStopping) => {
                self.endpoints.discard(address);
                self.begin(&config, address, name)?
                    .map_err(Cause::Unusable)?
            }
            Err(error) => return Err(Cause::Unusable(error)),
        };
        let local = self.endpoints.local().map(|local| local.ip());
        let connected = tokio::select! {
            biased;
            connected = time::timeout(limit, connecting) => connected,
            () = self.network.port_closed(address, local) => return Err(Cause::PortClosed),
        };
        match connected {
            Ok(Ok(connection)) => Ok((connection, monitor)),
            Ok(Err(error)) => Err(Cause::Ended(CloseReason::of(&error))),
            Err(_) => Err(Cause::NoAnswer(limit)),
        }
    }

    fn begin(
        &self,
        config: &quinn::ClientConfig,
        address: SocketAddr,
        name: &str,
    ) -> Result<Result<quinn::Connecting, quinn::ConnectError>, Cause> {
        let endpoint = self
            .endpoints
            .get(address)
            .map_err(|error| Cause::Bind(Arc::new(error)))?;
        Ok(endpoint.connect_with(config.clone(), address, name))
    }
}
