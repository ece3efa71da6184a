//! TLS of a server.

use std::{sync::Arc, time::SystemTime};

use rustls::{quic, server::WebPkiClientVerifier};

use super::{
    certified_key::CertifiedKey,
    error::TlsError,
    pem::{Pem, authorities},
    protocol::{ALPN, names_protocol, provider},
    validity,
};

/// Whether a server asks clients for a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ClientCertificates {
    /// Clients are not asked for a certificate. The default.
    #[default]
    NotAsked,
    /// A client may present a certificate. One that is not signed by these authorities is refused.
    Optional {
        /// The authorities' certificates, as PEM.
        ca: Pem,
    },
    /// A client must present a certificate signed by these authorities.
    Required {
        /// The authorities' certificates, as PEM.
        ca: Pem,
    },
}

/// TLS options of a server.
#[derive(Debug, Clone)]
pub enum ServerTls {
    /// A configuration made from these parts.
    Parts {
        /// The server's certificate.
        certificate: CertifiedKey,
        /// Whether clients are asked for a certificate.
        clients: ClientCertificates,
    },
    /// A custom configuration, used as it is. It must list [`ALPN`] in `alpn_protocols` and support TLS 1.3.
    Ready(Arc<rustls::ServerConfig>),
}

impl ServerTls {
    /// Presents `certificate` and does not ask clients for one.
    #[must_use]
    pub const fn presenting(certificate: CertifiedKey) -> Self {
        Self::Parts {
            certificate,
            clients: ClientCertificates::NotAsked,
        }
    }

    /// Returns when the server's certificate expires. `None` if that is never or not known, as for a custom
    /// configuration. Reads the file.
    #[must_use]
    pub fn expires_at(&self) -> Option<SystemTime> {
        match self {
            Self::Parts { certificate, .. } => {
                let (chain, _) = certificate.read().ok()?;
                validity::expires_at(chain.first()?)
            }
            Self::Ready(_) => None,
        }
    }

    /// Reads the files and creates the rustls configuration.
    ///
    /// # Errors
    ///
    /// A file or a part of the options cannot be used.
    pub fn to_rustls(&self) -> Result<Arc<rustls::ServerConfig>, TlsError> {
        let (certificate, clients) = match self {
            Self::Parts {
                certificate,
                clients,
            } => (certificate, clients),
            Self::Ready(config) => {
                if !names_protocol(&config.alpn_protocols) {
                    return Err(TlsError::ReadyWithoutProtocol);
                }
                quic::ServerConnection::new(Arc::clone(config), quic::Version::V1, vec![])
                    .map_err(TlsError::ReadyWithoutQuic)?;
                return Ok(Arc::clone(config));
            }
        };
        let provider = provider();
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("ring does TLS 1.3");
        let builder = match clients {
            ClientCertificates::NotAsked => builder.with_no_client_auth(),
            ClientCertificates::Optional { ca } | ClientCertificates::Required { ca } => {
                let mut verifier =
                    WebPkiClientVerifier::builder_with_provider(authorities(ca)?.into(), provider);
                if matches!(clients, ClientCertificates::Optional { .. }) {
                    verifier = verifier.allow_unauthenticated();
                }
                builder.with_client_cert_verifier(verifier.build().map_err(|source| {
                    TlsError::ClientAuthorities {
                        place: ca.to_string(),
                        source,
                    }
                })?)
            }
        };
        let (chain, key) = certificate.read()?;
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|e| certificate.unusable(e))?;
        config.alpn_protocols = vec![ALPN.into()];
        Ok(Arc::new(config))
    }
}
