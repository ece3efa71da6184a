//! From a server's text to an open connection: look the name up, try its addresses, take the first that answers.
//!
//! The addresses of one server are tried in the order in which the resolver gives them, each one a little after
//! the one before and beside it (RFC 8305). Otherwise `localhost`, which is two addresses almost everywhere, would
//! cost a whole timeout wherever the server listens at the second.

use std::{collections::VecDeque, io, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use quinn::Connection;

use super::{
    config::Target,
    endpoints::{Endpoints, client_config_for},
    error::{Cause, ConnectError},
};
use crate::conn::quic::{CloseReason, NetworkProvider, PathMonitor, TransportConfig};
use crate::time;

/// How long the next address waits for the one before.
const STAGGER: Duration = Duration::from_millis(250);

/// Opens connections.
#[derive(Debug)]
pub(super) struct Dialer {
    pub(super) network: Arc<dyn NetworkProvider>,
    pub(super) endpoints: Arc<Endpoints>,
    pub(super) tls: quinn::ClientConfig,
    pub(super) transport: TransportConfig,
}

/// A connection whose session is not open yet, and the sight of it.
pub(super) type Dialed = (Connection, Arc<PathMonitor>);

impl Dialer {
    /// A connection to `target`, on whichever of its addresses answers first.
    pub(super) async fn dial(
        &self,
        target: &Target,
        limit: Duration,
    ) -> Result<Dialed, ConnectError> {
        let server = target.address.to_string();
        let failed = |address, cause| ConnectError::connecting(&server, address, cause);
        let looking = self
            .network
            .resolve(target.address.host(), target.address.port());
        let found = match time::timeout(limit, looking).await {
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
        let mut worst: Option<ConnectError> = None;
        // Once around for each address that is started, and for each that fails.
        loop {
            if let Some(address) = untried.pop_front() {
                let attempt = self.attempt(address, &target.name, limit);
                trying.push(async move { (address, attempt.await) });
            }
            let outcome = tokio::select! {
                biased;
                outcome = trying.next() => outcome,
                () = time::sleep(STAGGER), if !untried.is_empty() => continue,
            };
            match outcome {
                Some((_, Ok(dialed))) => return Ok(dialed),
                Some((address, Err(cause))) => {
                    let error = failed(Some(address), cause);
                    tracing::debug!(%error, "one address is out");
                    // A refusal tells more than a silence, and the first of two more than the second.
                    worst = Some(match worst {
                        Some(before) if !before.is_retryable() || error.is_retryable() => before,
                        _ => error,
                    });
                }
                None => {
                    return Err(worst.unwrap_or_else(|| failed(None, Cause::Resolve(None))));
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
        let sight = Arc::new(PathMonitor::new(time::now()));
        let config = client_config_for(&self.tls, &self.transport, Arc::clone(&sight));
        let connecting = match self.begin(&config, address, name)? {
            Ok(connecting) => connecting,
            Err(quinn::ConnectError::EndpointStopping) => {
                self.endpoints.discard(address);
                self.begin(&config, address, name)?
                    .map_err(Cause::Unusable)?
            }
            Err(error) => return Err(Cause::Unusable(error)),
        };
        match time::timeout(limit, connecting).await {
            Ok(Ok(connection)) => Ok((connection, sight)),
            Ok(Err(error)) => Err(Cause::Ended(CloseReason::of(&error))),
            Err(_) => Err(Cause::TooSlow(limit)),
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
            .toward(address)
            .map_err(|error| Cause::Bind(Arc::new(error)))?;
        Ok(endpoint.connect_with(config.clone(), address, name))
    }
}
