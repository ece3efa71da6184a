//! When a certificate expires.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::{
    CertificateError, Error, RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use super::protocol::provider;

/// The last second of the year 9999, in seconds since 1970. RFC 5280 (4.1.2.5) writes "never" so.
const NEVER: u64 = 253_402_300_799;

/// Returns when a certificate expires. `None` if it never does, or cannot be read.
pub(super) fn expires_at(certificate: &CertificateDer<'static>) -> Option<SystemTime> {
    // The verifier looks at the validity first, and its error names the end.
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).ok()?;
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider())
        .build()
        .ok()?;
    let name = ServerName::try_from("localhost").expect("a valid name");
    let never = UnixTime::since_unix_epoch(Duration::from_secs(NEVER));
    match verifier.verify_server_cert(certificate, &[], &name, &[], never) {
        Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
            Some(UNIX_EPOCH + Duration::from_secs(not_after.as_secs()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_certificate_is_read_from_it() {
        for (year, end) in [
            (2031, Some(1_924_992_000)),
            (1999, Some(915_148_800)),
            (9999, None),
        ] {
            let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
            params.not_before = rcgen::date_time_ymd(1990, 1, 1);
            params.not_after = match year {
                9999 => rcgen::date_time_ymd(9999, 12, 31) + Duration::from_secs(86_399),
                year => rcgen::date_time_ymd(year, 1, 1),
            };
            let key = rcgen::KeyPair::generate().unwrap();
            let certificate = params.self_signed(&key).unwrap();
            let end = end.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!(expires_at(certificate.der()), end, "{year}");
        }
        assert_eq!(
            expires_at(&CertificateDer::from(b"no certificate".to_vec())),
            None
        );
    }
}
