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

mod certified_key;
mod client;
mod error;
#[cfg(feature = "serde")]
mod options;
mod pem;
mod protocol;
mod server;
mod validity;
mod verify;

#[cfg(test)]
pub(in crate::conn) use pem::authorities;
#[cfg(any(feature = "broker", feature = "dev-certs", test))]
pub(in crate::conn) use protocol::provider;
pub use {
    certified_key::CertifiedKey,
    client::{ClientTls, Trust},
    error::TlsError,
    pem::Pem,
    protocol::ALPN,
    server::{ClientCertificates, ServerTls},
    verify::{Fingerprint, FingerprintError},
};
