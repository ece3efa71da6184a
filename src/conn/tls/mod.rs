//! TLS for both ends: who is trusted, who we are, and the one protocol that is spoken.
//!
//! Always TLS 1.3, always with the ALPN name [`ALPN`], which carries the protocol's version: two ends without a
//! common version part in the handshake, before a byte of theirs is read. There is no 0-RTT: what is sent in it
//! can be replayed.
//!
//! | | |
//! |---|---|
//! | [`ClientTls`], [`Trust`] | whose certificate a client believes, and the one it shows |
//! | [`ServerTls`], [`ClientCertificates`] | the certificate a server shows, and whose it wants to see |
//! | [`CertifiedKey`], [`Pem`] | a certificate chain with its private key, in files or at hand |
//! | [`Fingerprint`] | a certificate by its SHA-256 |
//! | [`TlsError`] | what is wrong with such options, and in which file |
//!
//! A `rustls` configuration of one's own passes through unchanged: [`ClientTls::Ready`], [`ServerTls::Ready`].

mod error;
mod pem;
mod verify;

use std::{net::Ipv4Addr, path::PathBuf, sync::Arc};

use rustls::{
    Error, RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime},
    quic,
    server::WebPkiClientVerifier,
};

pub use self::{
    error::TlsError,
    pem::Pem,
    verify::{Fingerprint, FingerprintError},
};
use self::{pem::Source, verify::Unchained};

/// The name of the protocol and its version, as both ends state it in the TLS handshake.
pub const ALPN: &str = "anabranch/1";

/// Whose certificate a client believes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Trust {
    /// One that an authority has signed whom the operating system trusts. `SSL_CERT_FILE` and `SSL_CERT_DIR`
    /// are obeyed. The default.
    #[default]
    SystemRoots,
    /// One that an authority has signed whose certificate stands in this PEM file, and no other.
    CaFile(PathBuf),
    /// The same, with the PEM text at hand.
    CaPem(Vec<u8>),
    /// The one certificate with this fingerprint. Its names and its dates are not looked at.
    Pinned(Fingerprint),
    /// Any certificate at all. **Anybody on the way can read and change everything.** For experiments on
    /// one's own machine.
    DangerouslyAcceptAny,
}

/// A certificate chain, its own certificate first, and the private key that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertifiedKey {
    /// The chain, as PEM.
    pub chain: Pem,
    /// The private key, as PEM: PKCS#8, PKCS#1 or SEC1.
    pub key: Pem,
}

impl CertifiedKey {
    /// The chain and the key from these files.
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

/// A client's TLS.
#[derive(Debug, Clone)]
pub enum ClientTls {
    /// Made from these parts.
    Parts {
        /// Whose certificate is believed.
        trust: Trust,
        /// What is shown to a server that asks for a client certificate. Default: nothing.
        certificate: Option<CertifiedKey>,
    },
    /// A configuration of one's own, used as it is. It must list [`ALPN`] in `alpn_protocols` and know TLS 1.3.
    Ready(Arc<rustls::ClientConfig>),
}

impl Default for ClientTls {
    fn default() -> Self {
        Self::trusting(Trust::default())
    }
}

impl ClientTls {
    /// Trusts `trust` and shows no certificate.
    #[must_use]
    pub const fn trusting(trust: Trust) -> Self {
        Self::Parts {
            trust,
            certificate: None,
        }
    }

    /// Reads the files and makes the configuration.
    ///
    /// # Errors
    ///
    /// Names the file and what is wrong with it.
    pub fn to_rustls(&self) -> Result<Arc<rustls::ClientConfig>, TlsError> {
        let (trust, certificate) = match self {
            Self::Parts { trust, certificate } => (trust, certificate),
            Self::Ready(config) => {
                check_protocol(&config.alpn_protocols)?;
                // quinn panics on a configuration without TLS 1.3 when it first connects.
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
            Trust::Pinned(fingerprint) => builder
                .dangerous()
                .with_custom_certificate_verifier(Unchained::pinned(*fingerprint, provider)),
            Trust::DangerouslyAcceptAny => builder
                .dangerous()
                .with_custom_certificate_verifier(Unchained::any(provider)),
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

/// Whose certificates a server wants to see.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ClientCertificates {
    /// Nobody's: none is asked for. The default.
    #[default]
    NotAsked,
    /// A client may show one. One that the authorities did not sign is refused; showing none is fine.
    Optional {
        /// The authorities' certificates, as PEM.
        ca: Pem,
    },
    /// A client must show one that the authorities have signed.
    Required {
        /// The authorities' certificates, as PEM.
        ca: Pem,
    },
}

/// A server's TLS.
#[derive(Debug, Clone)]
pub enum ServerTls {
    /// Made from these parts.
    Parts {
        /// What is shown to clients.
        certificate: CertifiedKey,
        /// What clients are asked to show.
        clients: ClientCertificates,
    },
    /// A configuration of one's own, used as it is. It must list [`ALPN`] in `alpn_protocols` and know TLS 1.3.
    Ready(Arc<rustls::ServerConfig>),
}

impl ServerTls {
    /// Shows `certificate` and asks clients for none.
    #[must_use]
    pub const fn showing(certificate: CertifiedKey) -> Self {
        Self::Parts {
            certificate,
            clients: ClientCertificates::NotAsked,
        }
    }

    /// Reads the files and makes the configuration.
    ///
    /// # Errors
    ///
    /// Names the file and what is wrong with it.
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

/// The fingerprint of the certificate that the peer showed, where it showed one.
#[must_use]
pub fn peer_fingerprint(connection: &quinn::Connection) -> Option<Fingerprint> {
    let identity = connection.peer_identity()?;
    let chain = identity.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    chain.first().map(Fingerprint::of)
}

/// Checks a server certificate as a client would that trusts `ca`, at another time than now if need be.
pub(in crate::conn) fn would_be_trusted(
    ca: &CertificateDer<'static>,
    certificate: &CertificateDer<'_>,
    name: &ServerName<'_>,
    at: UnixTime,
) -> bool {
    let mut roots = RootCertStore::empty();
    if roots.add(ca.clone()).is_err() {
        return false;
    }
    WebPkiServerVerifier::builder_with_provider(roots.into(), provider())
        .build()
        .is_ok_and(|verifier| {
            verifier
                .verify_server_cert(certificate, &[], name, &[], at)
                .is_ok()
        })
}

/// The one implementation of cryptography that is used.
pub(in crate::conn) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

pub(in crate::conn) fn authorities(ca: &Pem) -> Result<RootCertStore, TlsError> {
    Source::read("CA file", ca)?.roots()
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Stores hold the odd certificate that rustls cannot read; those that it can are enough.
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
