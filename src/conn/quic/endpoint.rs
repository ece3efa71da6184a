//! Opens QUIC endpoints.

use std::{io, net::SocketAddr};

use quinn::{Endpoint, EndpointConfig};

use super::{network::NetworkProvider, transport::TransportConfig};

/// The largest UDP payload of an Ethernet frame over IPv4, which is quinn's default.
const ETHERNET_PAYLOAD: u16 = 1472;

/// Error of a UDP socket that could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open a UDP socket at {address}")]
pub struct BindError {
    /// The address that was to be bound.
    pub address: SocketAddr,
    /// Why it failed.
    pub source: io::Error,
}

/// Opens an endpoint at `address`; with `server` it also accepts connections.
pub(crate) fn endpoint(
    address: SocketAddr,
    server: Option<quinn::ServerConfig>,
    mut config: EndpointConfig,
    transport: &TransportConfig,
    network: &dyn NetworkProvider,
) -> Result<Endpoint, BindError> {
    config
        .max_udp_payload_size(transport.mtu_upper_bound.max(ETHERNET_PAYLOAD))
        .expect("between 1472 and 65535, and larger payloads do not exist")
        .rng_seed(network.seed());
    network
        .bind(address)
        .and_then(|socket| {
            Endpoint::new_with_abstract_socket(config, server, socket, network.runtime())
        })
        .map_err(|source| BindError { address, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::quic::Udp;

    #[test]
    fn an_address_in_use_is_named() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let _entered = runtime.enter();
        let transport = TransportConfig::default();
        let network = Udp::default();
        let bind = |address| {
            endpoint(
                address,
                None,
                EndpointConfig::default(),
                &transport,
                &network,
            )
        };
        let first = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let taken = first.local_addr().unwrap();
        let error = bind(taken).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(
            error.to_string(),
            format!("cannot open a UDP socket at {taken}")
        );
    }
}
