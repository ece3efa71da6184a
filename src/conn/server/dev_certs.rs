//! A certificate authority of one's own for development: made on first use, kept in a folder, renewed in time.
//!
//! ```text
//! folder/ca.pem     the authority's certificate: what clients trust (`Trust::CaFile`)
//! folder/cert.pem   the server's certificate, for localhost, 127.0.0.1, ::1 and the names asked for
//! folder/key.pem    its private key, readable by its owner alone
//! ```
//!
//! The authority's own key is thrown away as soon as it has signed, so that nobody can make another certificate
//! in its name. With a new certificate, clients therefore need the new `ca.pem` too.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PKCS_ED25519,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};

use super::private_file;
use crate::{
    conn::tls::{self, CertifiedKey, Fingerprint, ServerTls, Trust},
    time,
};

/// How long a development certificate is valid.
const VALID: Duration = Duration::from_secs(365 * DAY);
/// One that is valid for less than this is replaced.
const MARGIN: Duration = Duration::from_secs(14 * DAY);
const DAY: u64 = 24 * 60 * 60;

/// Names that every development certificate is valid for.
const ALWAYS: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// A development certificate and the authority that signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DevCerts {
    /// The authority's certificate.
    pub ca: PathBuf,
    /// The server's certificate.
    pub certificate: PathBuf,
    /// The server's private key.
    pub key: PathBuf,
    /// The server certificate's fingerprint, for [`Trust::Pinned`].
    pub fingerprint: Fingerprint,
}

/// Development certificates could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DevCertsError {
    /// A name is neither a DNS name nor an IP address.
    #[error("{0:?} is neither a DNS name nor an IP address")]
    Name(String),
    /// A file or the folder cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The certificates could not be made.
    #[error("cannot make a certificate")]
    Make(#[from] rcgen::Error),
}

impl DevCerts {
    /// The certificate in `folder`, made if there is none, if it expires within two weeks, or if it is not valid
    /// for all of `names` (DNS names or IP addresses, beside `localhost`, `127.0.0.1` and `::1`).
    ///
    /// # Errors
    ///
    /// A name that is none, and a folder that cannot be written.
    pub fn ensure(folder: impl AsRef<Path>, names: &[&str]) -> Result<Self, DevCertsError> {
        Self::ensure_at(folder.as_ref(), names, time::wall())
    }

    fn ensure_at(folder: &Path, names: &[&str], now: Duration) -> Result<Self, DevCertsError> {
        let names: Vec<&str> = ALWAYS.iter().chain(names).copied().collect();
        for name in &names {
            ServerName::try_from(*name).map_err(|_| DevCertsError::Name((*name).into()))?;
        }
        match Self::usable(folder, &names, now + MARGIN) {
            Some(certs) => Ok(certs),
            None => Self::make(folder, &names, now),
        }
    }

    /// What a server shows that has this certificate.
    #[must_use]
    pub fn server_tls(&self) -> ServerTls {
        ServerTls::showing(CertifiedKey::files(&self.certificate, &self.key))
    }

    /// What a client trusts that is to reach such a server.
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

    /// What is in `folder`, if a client that trusts it would accept it under each of `names` at the time `until`.
    fn usable(folder: &Path, names: &[&str], until: Duration) -> Option<Self> {
        let ca = CertificateDer::from_pem_file(folder.join("ca.pem")).ok()?;
        let certificate = CertificateDer::from_pem_file(folder.join("cert.pem")).ok()?;
        let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).ok()?;
        rustls::sign::CertifiedKey::from_der(vec![certificate.clone()], key, &tls::provider())
            .ok()?;
        let until = UnixTime::since_unix_epoch(until);
        names
            .iter()
            .all(|name| {
                ServerName::try_from(*name)
                    .is_ok_and(|name| tls::would_be_trusted(&ca, &certificate, &name, until))
            })
            .then(|| Self::at(folder, &certificate))
    }

    fn make(folder: &Path, names: &[&str], now: Duration) -> Result<Self, DevCertsError> {
        let ca_key = KeyPair::generate_for(&PKCS_ED25519)?;
        let mut ca = params(&[], now)?;
        // A name of its own: of two authorities with one name, a client that has the other's certificate hears of a
        // bad signature, and nobody thinks of an old `ca.pem` then.
        let id = ca.key_identifier(&ca_key);
        let id: String = id
            .iter()
            .take(4)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        call(&mut ca, &format!("anabranch development CA {id}"));
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca = CertifiedIssuer::self_signed(ca, ca_key)?;

        let mut server = params(names, now)?;
        call(&mut server, "anabranch development server");
        server.use_authority_key_identifier_extension = true;
        server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        // Its signatures have one length, so a handshake in a simulation is the same each time.
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

fn params(names: &[&str], now: Duration) -> Result<CertificateParams, rcgen::Error> {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names)?;
    let now = rcgen::date_time_ymd(1970, 1, 1) + now;
    // A day back, for clients whose clock is behind.
    params.not_before = now - Duration::from_secs(DAY);
    params.not_after = now + VALID;
    Ok(params)
}

fn call(params: &mut CertificateParams, name: &str) {
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
        time::wall() + Duration::from_secs(days * DAY)
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
            "it is valid for a fortnight more"
        );
        assert_eq!(fs::read_dir(&inner).unwrap().count(), 3, "and nothing else");
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
        // ... again where one is written over.
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
