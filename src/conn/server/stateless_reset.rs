//! How a broker that was killed and started again tells its clients so.
//!
//! To the new process, the packets of an old connection are strange. With the same [`StatelessResetKey`] as before it can
//! answer them with a stateless reset (RFC 9000, section 10.3), which the client knows for genuine: it reconnects
//! after one round trip. Without, it answers nothing, and the client waits for pongs until its ping timeout.

use std::{fmt, fs, io, path::Path, sync::Arc};

use quinn::{EndpointConfig, crypto::HmacKey};
use quinn_proto::{HashedConnectionIdGenerator, crypto::CryptoError};
use rustls::crypto::{
    ring::cipher_suite::TLS13_AES_128_GCM_SHA256,
    tls13::{Hkdf, OkmBlock},
};

use super::private_file;
use crate::conn::tls;

/// The secret by which resets are told from forgeries. To be kept across restarts, and from everybody else: who has
/// it can cut connections.
#[derive(Clone, PartialEq, Eq)]
pub struct StatelessResetKey([u8; 32]);

impl fmt::Debug for StatelessResetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StatelessResetKey(..)")
    }
}

impl StatelessResetKey {
    /// The key that consists of these bytes, which must come from a source that nobody can guess.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key in the file at `path`, made by chance where there is none or where it is damaged. The file is readable
    /// by its owner alone; its folder must exist.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read or written.
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
            .map_err(|_| io::Error::other("the operating system gives no random numbers"))?;
        private_file::write(path, &bytes, 0o600)?;
        Ok(Self(bytes))
    }

    /// Makes `config` that of an endpoint with this key.
    pub(super) fn apply(&self, config: &mut EndpointConfig) {
        // Connection ids carry a checksum, by which the next process knows them for its own.
        let ids = {
            let mut id_key = [0; 8];
            id_key.copy_from_slice(&self.sign(b"connection ids").as_ref()[..8]);
            u64::from_le_bytes(id_key)
        };
        config
            .reset_key(Arc::new(self.clone()))
            .cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(ids)))
            // quinn's 20 ms are for servers that reset strangers. A thousand clients of ours would wait 20 s.
            .min_reset_interval(std::time::Duration::from_millis(1));
    }

    /// HMAC-SHA256, from the TLS provider that is linked anyway.
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
        // quinn signs with this key and verifies nothing, so it does not matter how long this takes.
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
        // RFC 4231, test case 1, has a key of 20 bytes; trailing zeros change nothing in HMAC.
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
