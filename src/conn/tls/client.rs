//! TLS of a client.

use std::{net::Ipv4Addr, path::PathBuf, sync::Arc};

use rustls::{RootCertStore, pki_types::ServerName, quic};

use super::{
    certified_key::CertifiedKey,
    error::TlsError,
    pem::{Pem, authorities},
    protocol::{ALPN, names_protocol, provider},
    verify::{ChainlessVerifier, Fingerprint},
};

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

    /// Trusts `trust` instead, and keeps the client certificate. [`ClientTls::Ready`] is replaced as a whole: it then presents
    /// no certificate.
    #[must_use]
    pub fn with_trust(self, trust: Trust) -> Self {
        let certificate = match self {
            Self::Parts { certificate, .. } => certificate,
            Self::Ready(_) => None,
        };
        Self::Parts { trust, certificate }
    }

    /// Presents `key` to servers that ask for a certificate, and keeps which servers are trusted. [`ClientTls::Ready`] is
    /// replaced as a whole: the authorities that the operating system trusts are trusted then.
    #[must_use]
    pub fn with_certificate(self, key: CertifiedKey) -> Self {
        let trust = match self {
            Self::Parts { trust, .. } => trust,
            Self::Ready(_) => Trust::default(),
        };
        Self::Parts {
            trust,
            certificate: Some(key),
        }
    }

    /// Returns the files that it is made of.
    pub(in crate::conn) fn files(&self) -> Vec<PathBuf> {
        let Self::Parts { trust, certificate } = self else {
            return Vec::new();
        };
        let authorities = match trust {
            Trust::CaFile(path) => Some(path),
            _ => None,
        };
        let own = certificate.iter().flat_map(|own| [&own.chain, &own.key]);
        let own = own.filter_map(|pem| match pem {
            Pem::File(path) => Some(path),
            Pem::Text(_) => None,
        });
        authorities.into_iter().chain(own).cloned().collect()
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
                if !names_protocol(&config.alpn_protocols) {
                    return Err(TlsError::ReadyWithoutProtocol);
                }
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

/// Returns the authorities that the operating system trusts.
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
