//! A server's QUIC endpoint and its configuration.

use std::{net::SocketAddr, sync::Arc};

use quinn::{Endpoint, EndpointConfig, crypto::rustls::QuicServerConfig};

use super::{admission::Admission, stateless_reset::StatelessResetKey};
use crate::conn::{
    quic::{self, BindError, NetworkProvider, TransportConfig},
    tls::TlsError,
};

/// Opens a server's endpoint at `listen`, whose connections the caller accepts with [`Endpoint::accept`]. Port 0 means any
/// free port. `[::]` also accepts IPv4 if the operating system allows that.
///
/// # Errors
///
/// The address cannot be bound.
pub fn server_endpoint(
    listen: SocketAddr,
    config: quinn::ServerConfig,
    transport: &TransportConfig,
    network: &dyn NetworkProvider,
    reset_key: Option<&StatelessResetKey>,
) -> Result<Endpoint, BindError> {
    let mut endpoint = EndpointConfig::default();
    if let Some(key) = reset_key {
        key.apply(&mut endpoint);
    }
    quic::endpoint(listen, Some(config), endpoint, transport, network)
}

/// Creates quinn's configuration of a server.
///
/// # Errors
///
/// `tls` lacks the cipher suite that QUIC starts with.
pub fn server_config(
    tls: Arc<rustls::ServerConfig>,
    transport: &TransportConfig,
    admission: &Admission,
) -> Result<quinn::ServerConfig, TlsError> {
    let crypto = QuicServerConfig::try_from(tls).map_err(|_| TlsError::ReadyWithoutInitialSuite)?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(Arc::new(transport.to_quinn(None)))
        .max_incoming(admission.max_incoming)
        .incoming_buffer_size(INCOMING_BYTES)
        .incoming_buffer_size_total(
            INCOMING_BYTES
                .saturating_mul(u64::try_from(admission.max_incoming).unwrap_or(u64::MAX)),
        );
    Ok(config)
}

/// Bytes buffered for an attempt that is not accepted yet. A client sends a few packets before it has an answer.
const INCOMING_BYTES: u64 = 16 << 10;
