//! The broker's certificate in simulated runs.

use std::sync::OnceLock;

use anabranch::conn::{
    ServerTls,
    tls::{CertifiedKey, Fingerprint, Pem},
};

/// Address the certificate is valid for. Clients pin the fingerprint instead.
const NAME: &str = "10.0.0.2";

/// Returns the broker's certificate and its fingerprint. They are made once per process.
///
/// The key is of Ed25519, whose signatures have a fixed length. Runs would differ by the length of other signatures.
pub(crate) fn identity() -> &'static (ServerTls, Fingerprint) {
    static IDENTITY: OnceLock<(ServerTls, Fingerprint)> = OnceLock::new();
    IDENTITY.get_or_init(|| {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("ring makes keys");
        let params =
            rcgen::CertificateParams::new([NAME.to_owned()]).expect("an address is a valid name");
        let certificate = params.self_signed(&key).expect("a key signs for itself");
        let shown = CertifiedKey {
            chain: Pem::Text(certificate.pem().into_bytes()),
            key: Pem::Text(key.serialize_pem().into_bytes()),
        };
        (
            ServerTls::presenting(shown),
            Fingerprint::of(certificate.der()),
        )
    })
}
