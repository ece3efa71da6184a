//! The configuration of a broker's endpoint, for connections that begin.

use std::time::UNIX_EPOCH;

use super::{
    Config,
    session::{UNAUTHENTICATED_STREAMS, UNAUTHENTICATED_WINDOW},
};
use crate::{
    conn::{self, ServerTls, TlsError},
    metrics::broker as metrics,
};

/// Reads the certificates, and returns the configuration of connections that begin from now on.
pub(super) fn server_config(
    config: &Config,
    tls: &ServerTls,
) -> Result<quinn::ServerConfig, TlsError> {
    // For connections that are not authenticated yet. `session` raises the limits afterwards.
    let mut narrow = config.transport.clone();
    narrow.receive_window = narrow.receive_window.min(UNAUTHENTICATED_WINDOW);
    narrow.max_streams = narrow.max_streams.min(UNAUTHENTICATED_STREAMS);
    let server = conn::server_config(tls.to_rustls()?, &narrow, &config.admission)?;
    let expires = tls.expires_at();
    if let Some(expires) = expires.and_then(|at| at.duration_since(UNIX_EPOCH).ok()) {
        metrics::certificate_expires(expires);
    }
    Ok(server)
}
