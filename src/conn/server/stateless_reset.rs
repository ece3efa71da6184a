//! Stateless resets (RFC 9000, section 10.3), with which a restarted server tells its clients that it was restarted.
//!
//! The new process does not know the connections of the old one. With the [`StatelessResetKey`] of the old process it can
//! answer their packets with a stateless reset that the clients accept, and they reconnect after one round trip. Otherwise it
//! ignores these packets, and the clients wait until their ping timeout.

use std::{fmt, fs, io, path::Path, sync::Arc};

use quinn::{EndpointConfig, crypto::HmacKey};
use quinn_proto::{HashedConnectionIdGenerator, crypto::CryptoError};
use rustls::crypto::{
    ring::cipher_suite::TLS13_AES_128_GCM_SHA256,
    tls13::{Hkdf, OkmBlock},
};

use super::private_file;
use crate::conn::tls;

/// The secret that makes stateless resets unforgeable.
///
/// A server keeps it across restarts and secret: with it, an attacker can cut the server's connections.
#[derive(Clone, PartialEq, Eq)]
pub struct StatelessResetKey([u8; 32]);

impl fmt::Debug for StatelessResetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StatelessResetKey(..)")
    }
}

impl StatelessResetKey {
    /// Creates a key from these bytes, which must be unpredictable.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads the key from the file at `path`. If the file does not exist or is damaged, generates a key and writes it there.
    /// Only the owner can read the file. Its folder must exist.
    ///
    /// # Errors
    ///
    /// The file cannot be read or written.
    pub fn in_file(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        match fs::read(path).map(<[u8; 32]>::try_from) {
            Ok(Ok(bytes)) => return Ok(Self(bytes)),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(Err(_)) | Err(_) => {}
        }
        let mut bytes = [0; 32];
        tls::provider()
            .secure_random
            .fill(&mut bytes)
            .map_err(|_| io::Error::other("the operating system provides no random numbers"))?;
        private_file::write(path, &bytes, 0o600)?;
        Ok(Self(bytes))
    }

    /// Makes `config` use this key.
    pub(super) fn apply(&self, config: &mut EndpointConfig) {
        // Connection ids carry a keyed checksum, so that the next process recognizes those of this one.
        let ids = {
            let mut id_key = [0; 8];
            id_key.copy_from_slice(&self.sign(b"connection ids").as_ref()[..8]);
            u64::from_le_bytes(id_key)
        };
        config
            .reset_key(Arc::new(self.clone()))
            .cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(ids)))
            // With quinn's 20 ms between resets, a thousand clients would wait up to 20 s.
            .min_reset_interval(std::time::Duration::from_millis(1));
    }

    /// Computes HMAC-SHA256 with the TLS provider, which is linked anyway.
    fn sign(&self, data: &[u8]) -> rustls::crypto::hmac::Tag {
        let hkdf: &dyn Hkdf = TLS13_AES_128_GCM_SHA256
            .tls13()
            .expect("a TLS 1.3 suite is one")
            .hkdf_provider;
        hkdf.hmac_sign(&OkmBlock::new(&self.0), data)
    }
}

impl HmacKey for StatelessResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        signature_out.copy_from_slice(Self::sign(self, data).as_ref());
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        // quinn only signs with this key, so a comparison in constant time is not needed.
        if Self::sign(self, data).as_ref() == signature {
            Ok(())
        } else {
            Err(CryptoError)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_hmac_sha_256() {
        // RFC 4231, test case 1, has a key of 20 bytes. Trailing zeros do not change an HMAC.
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        let mut signature = [0; 32];
        HmacKey::sign(&StatelessResetKey(key), b"Hi There", &mut signature);
        let hex: String = signature.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex,
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
        assert!(
            StatelessResetKey(key)
                .verify(b"Hi There", &signature)
                .is_ok()
        );
        assert!(
            StatelessResetKey(key)
                .verify(b"Hi there", &signature)
                .is_err()
        );
    }

    #[test]
    fn a_key_is_made_once_and_kept_and_never_shows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("reset.key");
        let first = StatelessResetKey::in_file(&path).unwrap();
        assert_eq!(StatelessResetKey::in_file(&path).unwrap(), first);
        assert_eq!(format!("{first:?}"), "StatelessResetKey(..)");
        fs::write(&path, b"short").unwrap();
        let second = StatelessResetKey::in_file(&path).unwrap();
        assert_ne!(second, first);
        assert_eq!(StatelessResetKey::in_file(&path).unwrap(), second);
        assert!(StatelessResetKey::in_file(folder.path().join("no/folder")).is_err());
    }
}
