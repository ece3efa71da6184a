use std::{error::Error as _, fs, path::Path, sync::Arc};

use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::conn::{
    DevCerts,
    tls::{authorities, *},
};

/// Formats an error with its causes, as a program prints it.
fn with_causes(error: &TlsError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

fn trusting(path: &Path) -> ClientTls {
    ClientTls::ca_file(path)
}

fn presenting(chain: &Path, key: &Path) -> ServerTls {
    ServerTls::presenting(CertifiedKey::files(chain, key))
}

fn client_error(tls: &ClientTls) -> String {
    with_causes(&tls.to_rustls().unwrap_err())
}

fn server_error(tls: &ServerTls) -> String {
    with_causes(&tls.to_rustls().unwrap_err())
}

#[test]
fn both_ends_speak_tls_1_3_and_this_protocol_alone() {
    let folder = tempfile::tempdir().unwrap();
    let certs = DevCerts::ensure(folder.path(), &[]).unwrap();
    let client = ClientTls::trusting(certs.trust()).to_rustls().unwrap();
    let server = certs.server_tls().to_rustls().unwrap();
    assert_eq!(client.alpn_protocols, [b"anabranch/2"]);
    assert_eq!(server.alpn_protocols, [b"anabranch/2"]);
    assert!(!client.enable_early_data);
    assert_eq!(server.max_early_data_size, 0);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nothing.pem");
    let error = client_error(&trusting(&path));
    assert!(error.starts_with("cannot read the CA file "), "{error}");
    assert!(error.contains("nothing.pem: No such file"), "{error}");

    let certs = DevCerts::ensure(folder.path(), &[]).unwrap();
    let error = server_error(&presenting(&path, &certs.key));
    assert!(error.starts_with("cannot read the certificate "), "{error}");
    let error = server_error(&presenting(&certs.certificate, &path));
    assert!(error.starts_with("cannot read the private key "), "{error}");
}

#[test]
fn swapped_files_are_told_by_what_is_in_them() {
    let folder = tempfile::tempdir().unwrap();
    let certs = DevCerts::ensure(folder.path(), &[]).unwrap();
    let error = server_error(&presenting(&certs.key, &certs.certificate));
    assert!(error.starts_with("there is no certificate in "), "{error}");
    assert!(error.ends_with("key.pem, but a private key"), "{error}");
    let error = server_error(&presenting(&certs.certificate, &certs.certificate));
    assert!(error.starts_with("there is no private key in "), "{error}");
    assert!(error.ends_with("cert.pem, but a certificate"), "{error}");
}

#[test]
fn a_file_without_pem_is_told_from_one_that_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    fs::write(&path, "hello\n").unwrap();
    let error = client_error(&trusting(&path));
    assert!(error.ends_with("ca.pem, nor any other PEM"), "{error}");

    let text = "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n";
    fs::write(&path, text).unwrap();
    let error = client_error(&trusting(&path));
    assert!(
        error.contains("CA file ") && error.contains("is damaged: "),
        "{error}"
    );

    let text = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
    fs::write(&path, text).unwrap();
    let error = client_error(&trusting(&path));
    assert!(error.starts_with("a certificate in "), "{error}");
    assert!(error.contains("ca.pem cannot be used: "), "{error}");
}

#[test]
fn a_key_of_another_certificate_is_told() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mine = DevCerts::ensure(one.path(), &[]).unwrap();
    let other = DevCerts::ensure(two.path(), &[]).unwrap();
    let error = server_error(&presenting(&mine.certificate, &other.key));
    assert_eq!(
        error,
        format!(
            "the private key in {} does not belong to the certificate in {}",
            other.key.display(),
            mine.certificate.display()
        )
    );
    let client = ClientTls::Parts {
        trust: mine.trust(),
        certificate: Some(CertifiedKey::files(&mine.certificate, &other.key)),
    };
    assert_eq!(client_error(&client), error);
}

#[test]
fn pem_at_hand_serves_as_well_as_a_file_and_is_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let certs = DevCerts::ensure(folder.path(), &[]).unwrap();
    let text = |path: &Path| Pem::Text(fs::read(path).unwrap());
    let tls = ServerTls::Parts {
        certificate: CertifiedKey {
            chain: text(&certs.certificate),
            key: text(&certs.key),
        },
        clients: ClientCertificates::Required {
            ca: text(&certs.ca),
        },
    };
    tls.to_rustls().unwrap();
    let shown = format!("{tls:?}");
    assert!(
        !shown.contains("BEGIN") && shown.contains(" bytes)"),
        "{shown}"
    );
    ClientTls::trusting(Trust::CaPem(fs::read(&certs.ca).unwrap()))
        .to_rustls()
        .unwrap();
    let error = client_error(&ClientTls::trusting(Trust::CaPem(vec![])));
    assert!(error.contains("in the PEM text given, nor any"), "{error}");
}

#[test]
fn a_ca_file_may_hold_several_authorities() {
    let authority = || {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    };
    let both = Pem::Text((authority().pem() + &authority().pem()).into_bytes());
    assert_eq!(authorities(&both).unwrap().len(), 2);
}

#[test]
fn a_ready_configuration_passes_through_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let certs = DevCerts::ensure(folder.path(), &[]).unwrap();
    let client = ClientTls::trusting(certs.trust()).to_rustls().unwrap();
    let passed = ClientTls::Ready(Arc::clone(&client)).to_rustls().unwrap();
    assert!(Arc::ptr_eq(&client, &passed));
    let server = certs.server_tls().to_rustls().unwrap();
    let passed = ServerTls::Ready(Arc::clone(&server)).to_rustls().unwrap();
    assert!(Arc::ptr_eq(&server, &passed));
}

#[test]
fn trust_and_certificate_are_set_in_either_order_and_replace_a_ready_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let certs = DevCerts::ensure(folder.path(), &[]).unwrap();
    let trust = Trust::CaFile("ca.pem".into());
    let key = || CertifiedKey::files("own.pem", "own.key");
    let shown = |tls: ClientTls| format!("{tls:?}");
    let both = ClientTls::Parts {
        trust: trust.clone(),
        certificate: Some(key()),
    };
    let trusting = ClientTls::default().with_trust(trust.clone());
    assert_eq!(shown(trusting.with_certificate(key())), shown(both.clone()));
    let presenting = ClientTls::default().with_certificate(key());
    assert_eq!(shown(presenting.with_trust(trust.clone())), shown(both));

    let ready = || ClientTls::Ready(ClientTls::trusting(certs.trust()).to_rustls().unwrap());
    let alone = ClientTls::default().with_certificate(key());
    assert_eq!(shown(ready().with_certificate(key())), shown(alone));
    assert_eq!(
        shown(ready().with_trust(trust.clone())),
        shown(ClientTls::trusting(trust))
    );
}

#[test]
fn a_ready_configuration_that_cannot_work_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let certs = DevCerts::ensure(folder.path(), &[]).unwrap();
    let mut client = (*ClientTls::trusting(certs.trust()).to_rustls().unwrap()).clone();
    client.alpn_protocols = vec![b"h3".to_vec()];
    assert_eq!(
        client_error(&ClientTls::Ready(client.into())),
        "the ready TLS configuration does not list the protocol `anabranch/2` (alpn_protocols)"
    );
    let mut server = (*certs.server_tls().to_rustls().unwrap()).clone();
    server.max_early_data_size = 1;
    let error = server_error(&ServerTls::Ready(server.into()));
    assert!(error.contains("cannot be used with QUIC: "), "{error}");
}
