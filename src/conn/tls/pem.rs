//! Reads certificates and private keys from PEM, with errors that name the file.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use rustls::{
    RootCertStore,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject, SectionKind},
    },
};

use super::error::TlsError;

/// A PEM text, or the path of a file that contains it. The file is read when the client or the broker starts.
#[derive(Clone, PartialEq, Eq)]
pub enum Pem {
    /// The path of a file.
    File(PathBuf),
    /// The text itself. It may contain a private key, so it is never printed.
    Text(Vec<u8>),
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
        }
    }
}

impl fmt::Display for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Text(_) => f.write_str("the PEM text given"),
        }
    }
}

impl From<PathBuf> for Pem {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl From<&Path> for Pem {
    fn from(path: &Path) -> Self {
        Self::File(path.into())
    }
}

/// A text that should be PEM, and where it comes from, for error messages.
pub(super) struct Source {
    what: &'static str,
    place: String,
    text: Vec<u8>,
}

impl Source {
    /// Reads `pem`. Errors call it a `what`, such as "CA file" or "private key".
    pub(super) fn read(what: &'static str, pem: &Pem) -> Result<Self, TlsError> {
        let text = match pem {
            Pem::File(path) => fs::read(path).map_err(|source| TlsError::Read {
                what,
                path: path.clone(),
                source,
            })?,
            Pem::Text(text) => text.clone(),
        };
        Ok(Self {
            what,
            place: pem.to_string(),
            text,
        })
    }

    /// Returns all certificates, at least one.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let certificates = CertificateDer::pem_slice_iter(&self.text)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|source| self.malformed(source))?;
        if certificates.is_empty() {
            return Err(self.missing("certificate"));
        }
        Ok(certificates)
    }

    /// Returns the first private key, in PKCS#8, PKCS#1 or SEC1.
    pub(super) fn private_key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(&self.text).map_err(|error| match error {
            pem::Error::NoItemsFound => self.missing("private key"),
            source => self.malformed(source),
        })
    }

    /// Returns all certificates as trusted authorities.
    pub(super) fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates()? {
            roots
                .add(certificate)
                .map_err(|source| TlsError::NotACertificate {
                    place: self.place.clone(),
                    source,
                })?;
        }
        Ok(roots)
    }

    fn malformed(&self, source: pem::Error) -> TlsError {
        TlsError::Malformed {
            what: self.what,
            place: self.place.clone(),
            source,
        }
    }

    /// Creates the error of a text without `wanted`. It tells what the text contains instead, because the usual cause is that
    /// two files were swapped.
    fn missing(&self, wanted: &'static str) -> TlsError {
        let found = pem::SliceIter::<(SectionKind, Vec<u8>)>::new(&self.text)
            .filter_map(Result::ok)
            .map(|(kind, _)| name(kind))
            .next();
        TlsError::Missing {
            wanted,
            place: self.place.clone(),
            found,
        }
    }
}

/// Reads the certificates of trusted authorities.
pub(in crate::conn) fn authorities(ca: &Pem) -> Result<RootCertStore, TlsError> {
    Source::read("CA file", ca)?.roots()
}

fn name(kind: SectionKind) -> &'static str {
    match kind {
        SectionKind::Certificate => "a certificate",
        SectionKind::PublicKey => "a public key",
        SectionKind::RsaPrivateKey | SectionKind::PrivateKey | SectionKind::EcPrivateKey => {
            "a private key"
        }
        SectionKind::Crl => "a revocation list",
        SectionKind::Csr => "a certificate signing request",
        _ => "something else",
    }
}
