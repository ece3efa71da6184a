//! Sans-I/O: the protocol's name and the cryptography of both ends.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// The ALPN name of the protocol, with its version.
pub const ALPN: &str = "anabranch/2";

/// Returns whether a configuration's ALPN names include [`ALPN`].
pub(super) fn names_protocol(names: &[Vec<u8>]) -> bool {
    names.iter().any(|name| name == ALPN.as_bytes())
}

/// Returns the cryptography provider, which is ring for both ends.
pub(in crate::conn) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
