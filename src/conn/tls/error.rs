//! What can be wrong with TLS options, with the file and the reason in one sentence.

use std::{io, path::PathBuf};

use rustls::pki_types::pem;

/// TLS options that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read the {what} {}", path.display())]
    Read {
        /// What the file is for.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A text looks like PEM and is not.
    #[error("the {what} {place} is damaged")]
    Malformed {
        /// What the text is for.
        what: &'static str,
        /// Where it stands.
        place: String,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// A text holds no certificate, or no private key.
    #[error("there is no {wanted} in {place}{}", instead(*found))]
    Missing {
        /// "certificate" or "private key".
        wanted: &'static str,
        /// Where it was looked for.
        place: String,
        /// What stands there instead; `None`: no PEM at all.
        found: Option<&'static str>,
    },
    /// A certificate is PEM but not a certificate that can be used.
    #[error("a certificate in {place} cannot be used")]
    NotACertificate {
        /// Where it stands.
        place: String,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// The private key is not the certificate's.
    #[error("the private key in {key} does not belong to the certificate in {certificate}")]
    KeyMismatch {
        /// Where the certificate stands.
        certificate: String,
        /// Where the key stands.
        key: String,
    },
    /// The certificate and its key cannot be used for another reason.
    #[error("the certificate in {certificate} with the private key in {key} cannot be used")]
    Unusable {
        /// Where the certificate stands.
        certificate: String,
        /// Where the key stands.
        key: String,
        /// Why not.
        source: rustls::Error,
    },
    /// The operating system's store of trusted certificates holds none.
    #[error(
        "the operating system trusts no certificate authority{}",
        because(detail)
    )]
    NoSystemRoots {
        /// What went wrong while looking for them; may be empty.
        detail: String,
    },
    /// The authorities that sign client certificates cannot be used.
    #[error("the CA file {place} cannot be used to check client certificates")]
    ClientAuthorities {
        /// Where they stand.
        place: String,
        /// Why not.
        source: rustls::server::VerifierBuilderError,
    },
    /// A ready configuration does not name this protocol.
    #[error(
        "the ready TLS configuration does not list the protocol `{}` (alpn_protocols)",
        super::ALPN
    )]
    ReadyWithoutProtocol,
    /// A ready configuration cannot do QUIC, for want of TLS 1.3 or of its cipher suites.
    #[error("the ready TLS configuration cannot be used with QUIC")]
    ReadyWithoutQuic(#[source] rustls::Error),
    /// A ready configuration lacks the one cipher suite that QUIC begins with.
    #[error("the ready TLS configuration has no TLS13_AES_128_GCM_SHA256, with which QUIC begins")]
    ReadyWithoutInitialSuite,
}

fn instead(found: Option<&'static str>) -> String {
    match found {
        Some(found) => format!(", but {found}"),
        None => ", nor any other PEM".into(),
    }
}

fn because(detail: &str) -> String {
    if detail.is_empty() {
        String::new()
    } else {
        format!(": {detail}")
    }
}
