//! Development certificates: created on first use, kept in a folder, renewed before they expire.
//!
//! ```text
//! folder/ca.pem     the certificate of the authority, which clients trust (`Trust::CaFile`)
//! folder/cert.pem   the server's certificate, for localhost, 127.0.0.1, ::1 and the given names
//! folder/key.pem    the server's private key, which only the owner can read
//! ```
//!
//! The authority's private key is discarded after it has signed the server's certificate, so it cannot be stolen. When the
//! certificate is renewed, clients therefore need the new `ca.pem` as well.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PKCS_ED25519,
};
use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};

use super::private_file;
use crate::{
    conn::tls::{self, CertifiedKey, Fingerprint, ServerTls, Trust},
    time,
};

/// Validity of a development certificate.
const VALIDITY: Duration = Duration::from_secs(365 * DAY);
/// A certificate that expires within this time is replaced.
const RENEWAL_MARGIN: Duration = Duration::from_secs(14 * DAY);
const DAY: u64 = 24 * 60 * 60;

/// The names that every development certificate is valid for.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Paths of a development certificate, its key and the certificate of its authority.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DevCerts {
    /// Path of the authority's certificate.
    pub ca: PathBuf,
    /// Path of the server's certificate.
    pub certificate: PathBuf,
    /// Path of the server's private key.
    pub key: PathBuf,
    /// Fingerprint of the server's certificate, for [`Trust::Pinned`].
    pub fingerprint: Fingerprint,
}

/// Error of creating development certificates.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DevCertsError {
    /// A name is neither a DNS name nor an IP address.
    #[error("{0:?} is neither a DNS name nor an IP address")]
    Name(String),
    /// A file or the folder cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A certificate could not be created.
    #[error("cannot create a certificate")]
    Create(#[from] rcgen::Error),
}

impl DevCerts {
    /// Returns the certificate in `folder`. Creates a new one if there is none, if it is not valid yet or expires within two
    /// weeks, or if it is not valid for all of `names`: DNS names or IP addresses, in addition to `localhost`, `127.0.0.1` and `::1`.
    ///
    /// # Errors
    ///
    /// A name is invalid, or the folder cannot be written.
    pub fn ensure(folder: impl AsRef<Path>, names: &[&str]) -> Result<Self, DevCertsError> {
        Self::ensure_at(folder.as_ref(), names, time::unix_time())
    }

    fn ensure_at(folder: &Path, names: &[&str], now: Duration) -> Result<Self, DevCertsError> {
        let names: Vec<&str> = LOCAL_NAMES.iter().chain(names).copied().collect();
        for name in &names {
            ServerName::try_from(*name).map_err(|_| DevCertsError::Name((*name).into()))?;
        }
        match Self::usable(folder, &names, [now, now + RENEWAL_MARGIN]) {
            Some(certs) => Ok(certs),
            None => Self::create(folder, &names, now),
        }
    }

    /// Returns the TLS options of a server that presents this certificate.
    #[must_use]
    pub fn server_tls(&self) -> ServerTls {
        ServerTls::presenting(CertifiedKey::files(&self.certificate, &self.key))
    }

    /// Returns what a client must trust to connect to such a server.
    #[must_use]
    pub fn trust(&self) -> Trust {
        Trust::CaFile(self.ca.clone())
    }

    fn at(folder: &Path, certificate: &CertificateDer<'_>) -> Self {
        Self {
            ca: folder.join("ca.pem"),
            certificate: folder.join("cert.pem"),
            key: folder.join("key.pem"),
            fingerprint: Fingerprint::of(certificate),
        }
    }

    /// Returns the certificate in `folder` if a client that trusts its authority would accept it for each of `names` at these
    /// times.
    fn usable(folder: &Path, names: &[&str], times: [Duration; 2]) -> Option<Self> {
        let ca = CertificateDer::from_pem_file(folder.join("ca.pem")).ok()?;
        let certificate = CertificateDer::from_pem_file(folder.join("cert.pem")).ok()?;
        let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).ok()?;
        rustls::sign::CertifiedKey::from_der(vec![certificate.clone()], key, &tls::provider())
            .ok()?;
        let times = times.map(UnixTime::since_unix_epoch);
        names
            .iter()
            .all(|name| {
                ServerName::try_from(*name).is_ok_and(|name| {
                    times
                        .iter()
                        .all(|at| would_be_trusted(&ca, &certificate, &name, *at))
                })
            })
            .then(|| Self::at(folder, &certificate))
    }

    fn create(folder: &Path, names: &[&str], now: Duration) -> Result<Self, DevCertsError> {
        let ca_key = KeyPair::generate_for(&PKCS_ED25519)?;
        let mut ca = params(&[], now)?;
        // The authority's name is unique. With the `ca.pem` of another authority of the same name, a client would report a
        // bad signature, which does not point to an outdated file.
        let id = ca.key_identifier(&ca_key);
        let id: String = id
            .iter()
            .take(4)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        set_common_name(&mut ca, &format!("anabranch development CA {id}"));
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca = CertifiedIssuer::self_signed(ca, ca_key)?;

        let mut server = params(names, now)?;
        set_common_name(&mut server, "anabranch development server");
        server.use_authority_key_identifier_extension = true;
        server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        // Ed25519 signatures have a fixed length, so that a simulated handshake is the same in each run.
        let key = KeyPair::generate_for(&PKCS_ED25519)?;
        let certificate = server.signed_by(&key, &ca)?;

        fs::create_dir_all(folder).map_err(|source| DevCertsError::Write {
            path: folder.into(),
            source,
        })?;
        let certs = Self::at(folder, certificate.der());
        write(&certs.key, &key.serialize_pem(), 0o600)?;
        write(&certs.certificate, &certificate.pem(), 0o644)?;
        write(&certs.ca, &ca.pem(), 0o644)?;
        Ok(certs)
    }
}

/// Returns whether a client that trusts `ca` would accept `certificate` for `name` at the time `at`.
fn would_be_trusted(
    ca: &CertificateDer<'static>,
    certificate: &CertificateDer<'_>,
    name: &ServerName<'_>,
    at: UnixTime,
) -> bool {
    let mut roots = RootCertStore::empty();
    if roots.add(ca.clone()).is_err() {
        return false;
    }
    WebPkiServerVerifier::builder_with_provider(roots.into(), tls::provider())
        .build()
        .is_ok_and(|verifier| {
            verifier
                .verify_server_cert(certificate, &[], name, &[], at)
                .is_ok()
        })
}

fn params(names: &[&str], now: Duration) -> Result<CertificateParams, rcgen::Error> {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names)?;
    let now = rcgen::date_time_ymd(1970, 1, 1) + now;
    // Valid since a day ago, for clients whose clock is behind.
    params.not_before = now - Duration::from_secs(DAY);
    params.not_after = now + VALIDITY;
    Ok(params)
}

fn set_common_name(params: &mut CertificateParams, name: &str) {
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, name);
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), DevCertsError> {
    private_file::write(path, text.as_bytes(), mode).map_err(|source| DevCertsError::Write {
        path: path.into(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn age(days: u64) -> Duration {
        time::unix_time() + Duration::from_secs(days * DAY)
    }

    #[test]
    fn a_certificate_is_made_once_and_then_reused() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("certs");
        let first = DevCerts::ensure(&inner, &["broker.example", "192.0.2.7"]).unwrap();
        let again = DevCerts::ensure(&inner, &["192.0.2.7"]).unwrap();
        assert_eq!(first, again);
        assert_eq!(
            DevCerts::ensure_at(&inner, &[], age(350)).unwrap(),
            first,
            "it is valid for two more weeks"
        );
        assert_eq!(fs::read_dir(&inner).unwrap().count(), 3, "no other file");
    }

    #[test]
    fn a_certificate_is_replaced_before_it_expires() {
        let folder = tempfile::tempdir().unwrap();
        let first = DevCerts::ensure(folder.path(), &[]).unwrap();
        let second = DevCerts::ensure_at(folder.path(), &[], age(352)).unwrap();
        assert_ne!(first.fingerprint, second.fingerprint);
        let at = age(352 + 300);
        assert_eq!(DevCerts::ensure_at(folder.path(), &[], at).unwrap(), second);
    }

    #[test]
    fn a_certificate_that_is_not_valid_yet_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        // Made by a clock that was two days ahead: it is valid from tomorrow on.
        let ahead = DevCerts::ensure_at(folder.path(), &[], age(2)).unwrap();
        let now = DevCerts::ensure(folder.path(), &[]).unwrap();
        assert_ne!(ahead.fingerprint, now.fingerprint);
        assert_eq!(DevCerts::ensure(folder.path(), &[]).unwrap(), now);
    }

    #[test]
    fn a_new_name_makes_a_new_certificate() {
        let folder = tempfile::tempdir().unwrap();
        let first = DevCerts::ensure(folder.path(), &["a.example"]).unwrap();
        let second = DevCerts::ensure(folder.path(), &["b.example"]).unwrap();
        assert_ne!(first.fingerprint, second.fingerprint);
    }

    #[test]
    fn a_file_that_is_lost_or_of_another_pair_makes_all_of_them_new() {
        let folder = tempfile::tempdir().unwrap();
        let other = tempfile::tempdir().unwrap();
        let stranger = DevCerts::ensure(other.path(), &[]).unwrap();
        let mut known = DevCerts::ensure(folder.path(), &[]).unwrap();
        for (mine, theirs) in [
            (&known.ca.clone(), &stranger.ca),
            (&known.certificate.clone(), &stranger.certificate),
            (&known.key.clone(), &stranger.key),
        ] {
            fs::copy(theirs, mine).unwrap();
            let renewed = DevCerts::ensure(folder.path(), &[]).unwrap();
            assert_ne!(renewed.fingerprint, known.fingerprint, "{mine:?} swapped");
            fs::remove_file(mine).unwrap();
            known = DevCerts::ensure(folder.path(), &[]).unwrap();
            assert_ne!(known.fingerprint, renewed.fingerprint, "{mine:?} lost");
        }
    }

    #[cfg(unix)]
    #[test]
    fn the_private_key_is_readable_by_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let certs = DevCerts::ensure(folder.path(), &[]).unwrap();
        let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&certs.key), 0o600);
        // The same when an existing file is replaced.
        fs::set_permissions(&certs.key, fs::Permissions::from_mode(0o644)).unwrap();
        let certs = DevCerts::ensure(folder.path(), &["other.example"]).unwrap();
        assert_eq!(mode(&certs.key), 0o600);
    }

    #[test]
    fn what_is_no_name_is_refused_and_nothing_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let error = DevCerts::ensure(folder.path(), &["not a name"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#""not a name" is neither a DNS name nor an IP address"#
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
