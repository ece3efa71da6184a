//! TLS for both ends: trusted authorities and certificates.
//!
//! Both ends use TLS 1.3 and the ALPN name [`ALPN`], which includes the protocol's version. Ends without a common version
//! fail in the handshake, before any data of the protocol is read. 0-RTT is disabled, because its data can be replayed.
//!
//! | | |
//! |---|---|
//! | [`ClientTls`], [`Trust`] | whom a client trusts, and the certificate that it presents |
//! | [`ServerTls`], [`ClientCertificates`] | the certificate that a server presents, and whether it asks clients for one |
//! | [`CertifiedKey`], [`Pem`] | a certificate chain with its private key, in files or in memory |
//! | [`Fingerprint`] | the SHA-256 of a certificate |
//! | [`TlsError`] | what is wrong with these options, and in which file |
//!
//! A custom `rustls` configuration is used unchanged: [`ClientTls::Ready`], [`ServerTls::Ready`].

mod error;
#[cfg(feature = "serde")]
mod options;
mod pem;
mod verify;

use std::{net::Ipv4Addr, path::PathBuf, sync::Arc};

use rustls::{
    Error, RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
    quic,
    server::WebPkiClientVerifier,
};

pub use self::{
    error::TlsError,
    pem::Pem,
    verify::{Fingerprint, FingerprintError},
};
use self::{pem::Source, verify::ChainlessVerifier};

/// The ALPN name of the protocol, with its version.
pub const ALPN: &str = "anabranch/1";

/// Which server certificates a client trusts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Trust {
    /// Certificates signed by an authority that the operating system trusts. The environment variables `SSL_CERT_FILE` and
    /// `SSL_CERT_DIR` replace its store. The default.
    #[default]
    SystemRoots,
    /// Certificates signed by an authority in this PEM file.
    CaFile(PathBuf),
    /// Certificates signed by an authority in this PEM text.
    CaPem(Vec<u8>),
    /// Only the certificate with this fingerprint. Its names and dates are not checked.
    Pinned(Fingerprint),
    /// Any certificate. **Anyone on the network path can read and change all data.** For experiments on one machine.
    DangerouslyAcceptAny,
}

/// A certificate chain, starting with the end's own certificate, and its private key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertifiedKey {
    /// The certificate chain, as PEM.
    pub chain: Pem,
    /// The private key, as PEM: PKCS#8, PKCS#1 or SEC1.
    pub key: Pem,
}

impl CertifiedKey {
    /// Takes the chain and the key from these files, which are read when the client or the broker starts.
    #[must_use]
    pub fn files(chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            chain: Pem::File(chain.into()),
            key: Pem::File(key.into()),
        }
    }

    fn read(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        let chain = Source::read("certificate", &self.chain)?.certificates()?;
        let key = Source::read("private key", &self.key)?.private_key()?;
        Ok((chain, key))
    }

    fn unusable(&self, source: Error) -> TlsError {
        let (certificate, key) = (self.chain.to_string(), self.key.to_string());
        match source {
            Error::InconsistentKeys(_) => TlsError::KeyMismatch { certificate, key },
            source => TlsError::Unusable {
                certificate,
                key,
                source,
            },
        }
    }
}

/// TLS options of a client.
#[derive(Debug, Clone)]
pub enum ClientTls {
    /// A configuration made from these parts.
    Parts {
        /// Which server certificates are trusted.
        trust: Trust,
        /// The certificate for servers that ask for one. Default: none.
        certificate: Option<CertifiedKey>,
    },
    /// A custom configuration, used as it is. It must list [`ALPN`] in `alpn_protocols` and support TLS 1.3.
    Ready(Arc<rustls::ClientConfig>),
}

impl Default for ClientTls {
    fn default() -> Self {
        Self::trusting(Trust::default())
    }
}

impl ClientTls {
    /// Trusts `trust` and presents no certificate.
    #[must_use]
    pub const fn trusting(trust: Trust) -> Self {
        Self::Parts {
            trust,
            certificate: None,
        }
    }

    /// Trusts the certificate authorities in the PEM file at `path`, and presents no certificate.
    #[must_use]
    pub fn ca_file(path: impl Into<PathBuf>) -> Self {
        Self::trusting(Trust::CaFile(path.into()))
    }

    /// Replaces whom the client trusts. Replaces the whole of [`ClientTls::Ready`].
    #[must_use]
    pub fn with_trust(self, trust: Trust) -> Self {
        let certificate = match self {
            Self::Parts { certificate, .. } => certificate,
            Self::Ready(_) => None,
        };
        Self::Parts { trust, certificate }
    }

    /// Presents `key` to servers that ask for a certificate. Has no effect on [`ClientTls::Ready`].
    #[must_use]
    pub fn with_certificate(mut self, key: CertifiedKey) -> Self {
        if let Self::Parts { certificate, .. } = &mut self {
            *certificate = Some(key);
        }
        self
    }

    /// Reads the files and creates the rustls configuration.
    ///
    /// # Errors
    ///
    /// A file or a part of the options cannot be used.
    pub fn to_rustls(&self) -> Result<Arc<rustls::ClientConfig>, TlsError> {
        let (trust, certificate) = match self {
            Self::Parts { trust, certificate } => (trust, certificate),
            Self::Ready(config) => {
                check_protocol(&config.alpn_protocols)?;
                // quinn would panic at the first connection if the configuration lacks TLS 1.3.
                let name = ServerName::IpAddress(Ipv4Addr::LOCALHOST.into());
                quic::ClientConnection::new(Arc::clone(config), quic::Version::V1, name, vec![])
                    .map_err(TlsError::ReadyWithoutQuic)?;
                return Ok(Arc::clone(config));
            }
        };
        let provider = provider();
        let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("ring does TLS 1.3");
        let builder = match trust {
            Trust::SystemRoots => builder.with_root_certificates(system_roots()?),
            Trust::CaFile(path) => {
                builder.with_root_certificates(authorities(&path.clone().into())?)
            }
            Trust::CaPem(text) => {
                builder.with_root_certificates(authorities(&Pem::Text(text.clone()))?)
            }
            Trust::Pinned(fingerprint) => {
                builder
                    .dangerous()
                    .with_custom_certificate_verifier(ChainlessVerifier::pinned(
                        *fingerprint,
                        provider,
                    ))
            }
            Trust::DangerouslyAcceptAny => builder
                .dangerous()
                .with_custom_certificate_verifier(ChainlessVerifier::any(provider)),
        };
        let mut config = match certificate {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let (chain, key) = own.read()?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|e| own.unusable(e))?
            }
        };
        config.alpn_protocols = vec![ALPN.into()];
        Ok(Arc::new(config))
    }
}

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
                check_protocol(&config.alpn_protocols)?;
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

/// Returns the cryptography provider, which is ring for both ends.
pub(in crate::conn) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

pub(in crate::conn) fn authorities(ca: &Pem) -> Result<RootCertStore, TlsError> {
    Source::read("CA file", ca)?.roots()
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Such stores may contain certificates that rustls cannot parse. The others are enough.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(TlsError::NoSystemRoots {
            detail: found
                .errors
                .first()
                .map(ToString::to_string)
                .unwrap_or_default(),
        });
    }
    Ok(roots)
}

fn check_protocol(protocols: &[Vec<u8>]) -> Result<(), TlsError> {
    if protocols.iter().any(|name| name == ALPN.as_bytes()) {
        Ok(())
    } else {
        Err(TlsError::ReadyWithoutProtocol)
    }
}
