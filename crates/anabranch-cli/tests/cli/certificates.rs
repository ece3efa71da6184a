//! Certificates with faults, and a server of another protocol.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tempfile::TempDir;

use crate::support::file;

/// Makes a self-signed certificate for `localhost`, and its key. It is valid until `until` after 1 January 1970, or for long.
pub fn make(folder: &TempDir, until: Option<Duration>) -> (PathBuf, PathBuf) {
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    if let Some(until) = until {
        params.not_before = rcgen::date_time_ymd(1970, 1, 1);
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + until;
    }
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (
        file(folder, "cert.pem", certificate.pem().as_bytes()),
        file(folder, "key.pem", key.serialize_pem().as_bytes()),
    )
}

/// Starts a QUIC server with this certificate that speaks only `protocol`. It listens until the runtime is dropped.
pub fn quic_server(
    certificate: &Path,
    key: &Path,
    protocol: &str,
) -> (tokio::runtime::Runtime, u16) {
    let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    tls.alpn_protocols = vec![protocol.into()];
    let tls = quinn::crypto::rustls::QuicServerConfig::try_from(tls).unwrap();
    let config = quinn::ServerConfig::with_crypto(Arc::new(tls));

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let entered = runtime.enter();
    let endpoint = quinn::Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
    let port = endpoint.local_addr().unwrap().port();
    runtime.spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            // The handshake fails, as intended.
            let _ = incoming.await;
        }
    });
    drop(entered);
    (runtime, port)
}
