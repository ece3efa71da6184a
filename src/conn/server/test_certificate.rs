//! A certificate in memory, for tests and simulations.

use rcgen::{CertificateParams, KeyPair, PKCS_ED25519, SerialNumber};

use crate::conn::{
    ClientTls, ServerTls, Trust,
    tls::{CertifiedKey, Fingerprint, Pem},
};

/// A certificate of its own for a broker in a test, and how clients trust it.
///
/// Key, serial number and signature have a fixed length, so that the packets of a simulated run have the same sizes each
/// time.
///
/// ```
/// use anabranch::conn::TestCertificate;
///
/// let certificate = TestCertificate::new();
/// let broker = anabranch::Broker::builder().tls(certificate.server_tls());
/// let producer = anabranch::Producer::builder().tls(certificate.client_tls());
/// ```
#[derive(Debug, Clone)]
pub struct TestCertificate {
    certified: CertifiedKey,
    fingerprint: Fingerprint,
}

impl TestCertificate {
    /// Makes a certificate and its key, which no other one has.
    ///
    /// # Panics
    /// If the system has no random numbers.
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "a default would be another certificate each time"
    )]
    pub fn new() -> Self {
        let key = KeyPair::generate_for(&PKCS_ED25519).expect("ring makes keys");
        let mut params = CertificateParams::new(["broker".to_owned()]).expect("it is a DNS name");
        params.serial_number = Some(SerialNumber::from(vec![1; 8]));
        let certificate = params.self_signed(&key).expect("a key signs for itself");
        let certified = CertifiedKey {
            chain: Pem::Text(certificate.pem().into_bytes()),
            key: Pem::Text(key.serialize_pem().into_bytes()),
        };
        Self {
            certified,
            fingerprint: Fingerprint::of(certificate.der()),
        }
    }

    /// Returns the TLS of a broker that shows this certificate.
    #[must_use]
    pub fn server_tls(&self) -> ServerTls {
        ServerTls::presenting(self.certified.clone())
    }

    /// Returns the TLS of a client that trusts this certificate and no other.
    #[must_use]
    pub fn client_tls(&self) -> ClientTls {
        ClientTls::trusting(Trust::Pinned(self.fingerprint))
    }
}
