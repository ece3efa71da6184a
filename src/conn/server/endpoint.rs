//! A server's QUIC endpoint and its configuration.

use std::{net::SocketAddr, sync::Arc};

use quinn::{Endpoint, EndpointConfig, crypto::rustls::QuicServerConfig};

use super::{admission::Admission, stateless_reset::StatelessResetKey};
use crate::conn::{
    quic::{self, BindError, NetworkProvider, TransportConfig},
    tls::TlsError,
};

/// A server's endpoint at `listen`, which is [`Endpoint::accept`]ed from. Port 0 takes any free port, and
/// `[::]` serves IPv4 too where the system allows that.
///
/// The caller decides what becomes of each attempt, by [`Admission::decide`].
///
/// # Errors
///
/// Where the address cannot be used.
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

/// What a server tells quinn: its TLS, its numbers, and how many attempts may wait.
///
/// To change certificates under way, make another one and hand it to [`Endpoint::set_server_config`].
///
/// # Errors
///
/// Where `tls` cannot do QUIC.
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

/// What is kept of an attempt that nobody has accepted yet: a client sends a few packets before it has an answer.
const INCOMING_BYTES: u64 = 16 << 10;
