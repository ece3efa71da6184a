//! A certificate chain with its private key.

use std::path::PathBuf;

use rustls::{
    Error,
    pki_types::{CertificateDer, PrivateKeyDer},
};

use super::{
    error::TlsError,
    pem::{Pem, Source},
};

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

    pub(super) fn read(
        &self,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        let chain = Source::read("certificate", &self.chain)?.certificates()?;
        let key = Source::read("private key", &self.key)?.private_key()?;
        Ok((chain, key))
    }

    pub(super) fn unusable(&self, source: Error) -> TlsError {
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
