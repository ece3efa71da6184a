//! Errors of TLS options, each with the file and the reason in one line.

use std::{io, path::PathBuf};

use rustls::pki_types::pem;

/// Error of TLS options that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read the {what} {}", path.display())]
    Read {
        /// The purpose of the file.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A text is not valid PEM.
    #[error("the {what} {place} is damaged")]
    Malformed {
        /// The purpose of the text.
        what: &'static str,
        /// The file, or a description of the text.
        place: String,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// A text contains no certificate, or no private key.
    #[error("there is no {wanted} in {place}{}", found_instead(*found))]
    Missing {
        /// "certificate" or "private key".
        wanted: &'static str,
        /// The file, or a description of the text.
        place: String,
        /// What it contains instead; `None` if it contains no PEM.
        found: Option<&'static str>,
    },
    /// A certificate is valid PEM and cannot be used.
    #[error("a certificate in {place} cannot be used")]
    NotACertificate {
        /// The file, or a description of the text.
        place: String,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// The private key does not belong to the certificate.
    #[error("the private key in {key} does not belong to the certificate in {certificate}")]
    KeyMismatch {
        /// The file of the certificate, or a description of the text.
        certificate: String,
        /// The file of the key, or a description of the text.
        key: String,
    },
    /// The certificate and its key cannot be used for another reason.
    #[error("the certificate in {certificate} with the private key in {key} cannot be used")]
    Unusable {
        /// The file of the certificate, or a description of the text.
        certificate: String,
        /// The file of the key, or a description of the text.
        key: String,
        /// Why it failed.
        source: rustls::Error,
    },
    /// The operating system's store of trusted certificates is empty.
    #[error(
        "the operating system trusts no certificate authority{}",
        detail_suffix(detail)
    )]
    NoSystemRoots {
        /// The first error of reading the store, or empty.
        detail: String,
    },
    /// The certificates of the authorities for client certificates cannot be used.
    #[error("the CA file {place} cannot be used to check client certificates")]
    ClientAuthorities {
        /// The file, or a description of the text.
        place: String,
        /// Why it failed.
        source: rustls::server::VerifierBuilderError,
    },
    /// A ready configuration does not list this protocol.
    #[error(
        "the ready TLS configuration does not list the protocol `{}` (alpn_protocols)",
        super::protocol::ALPN
    )]
    ReadyWithoutProtocol,
    /// A ready configuration cannot be used with QUIC, because it lacks TLS 1.3 or its cipher suites.
    #[error("the ready TLS configuration cannot be used with QUIC")]
    ReadyWithoutQuic(#[source] rustls::Error),
    /// A ready configuration lacks the cipher suite that QUIC starts with.
    #[error("the ready TLS configuration has no TLS13_AES_128_GCM_SHA256, with which QUIC starts")]
    ReadyWithoutInitialSuite,
}

fn found_instead(found: Option<&'static str>) -> String {
    match found {
        Some(found) => format!(", but {found}"),
        None => ", nor any other PEM".into(),
    }
}

fn detail_suffix(detail: &str) -> String {
    if detail.is_empty() {
        String::new()
    } else {
        format!(": {detail}")
    }
}
