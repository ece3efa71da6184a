//! The broker's certificate, and how clients verify it.

use std::{
    fmt, fs,
    net::IpAddr,
    path::{Path, PathBuf},
    time::SystemTime,
};

use anabranch::conn::{
    DevCerts, ServerTls,
    tls::{CertifiedKey, ClientCertificates, Fingerprint, Pem},
};
use anyhow::Context;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use time::OffsetDateTime;

use super::Args;

/// The broker's certificate and key, and how clients verify them.
pub(super) struct Identity {
    pub(super) tls: ServerTls,
    pub(super) trust: Trust,
}

/// How clients verify the certificate.
pub(super) enum Trust {
    /// By the authority that signed the development certificate, in this file.
    Ca(PathBuf),
    /// By its fingerprint: the file of its authority is unknown, or there is none.
    Pin(Fingerprint),
}

impl Identity {
    /// Loads the certificate of `--cert`, or else makes one for development: in the data folder, where it is found again, or
    /// in memory if there is no data folder.
    pub(super) fn find(args: &Args, listen: IpAddr) -> anyhow::Result<Self> {
        let (certificate, trust) = match (&args.cert, &args.key) {
            (Some(chain), Some(key)) => {
                let shown = CertificateDer::from_pem_file(chain)
                    .with_context(|| format!("cannot read the certificate {}", chain.display()))?;
                let pin = Trust::Pin(Fingerprint::of(&shown));
                (CertifiedKey::files(chain, key), pin)
            }
            _ => {
                let names = names(args, listen);
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                match args.data() {
                    Some(folder) => {
                        let made = DevCerts::ensure(folder, &names)?;
                        let certificate = CertifiedKey::files(made.certificate, made.key);
                        (certificate, Trust::Ca(made.ca))
                    }
                    None => in_memory(&names)?,
                }
            }
        };
        let tls = ServerTls::Parts {
            certificate,
            clients: clients(args),
        };
        Ok(Self { tls, trust })
    }

    /// Returns when the certificate expires, if that is known.
    pub(super) fn expiry(&self) -> Option<Expiry> {
        self.tls.expires_at().map(|at| Expiry {
            at,
            now: SystemTime::now(),
        })
    }

    /// Finds the certificate again, as [`Identity::find`]. One that was made in memory stays.
    pub(super) fn again(&self, args: &Args, listen: IpAddr) -> anyhow::Result<ServerTls> {
        match args.cert.is_none() && args.data().is_none() {
            true => Ok(self.tls.clone()),
            false => Ok(Self::find(args, listen)?.tls),
        }
    }
}

/// When a certificate expires.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expiry {
    at: SystemTime,
    now: SystemTime,
}

impl Expiry {
    /// Returns the days until then. `None` if the certificate has expired.
    fn days(&self) -> Option<u64> {
        let left = self.at.duration_since(self.now).ok()?;
        Some(left.as_secs() / (24 * 60 * 60))
    }

    /// Returns the date, in UTC.
    pub(super) fn date(&self) -> String {
        OffsetDateTime::from(self.at).date().to_string()
    }

    /// Returns a warning if the certificate has expired or will soon.
    pub(super) fn warning(&self) -> Option<String> {
        let date = self.date();
        match self.days() {
            None => Some(format!(
                "the certificate has expired on {date}: clients refuse it"
            )),
            Some(days) if days < 14 => Some(format!(
                "the certificate expires on {date}, in {days} days: clients will refuse it"
            )),
            Some(_) => None,
        }
    }
}

impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "until {}", self.date())?;
        match self.days() {
            Some(days) => write!(f, ", {days} days from now"),
            None => Ok(()),
        }
    }
}

/// Returns whether clients must show a certificate.
fn clients(args: &Args) -> ClientCertificates {
    match &args.client_ca {
        Some(ca) => ClientCertificates::Required {
            ca: ca.clone().into(),
        },
        None => ClientCertificates::NotAsked,
    }
}

/// Makes a development certificate that leaves no file behind. A later broker has another one.
fn in_memory(names: &[&str]) -> anyhow::Result<(CertifiedKey, Trust)> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let made = DevCerts::ensure(folder.path(), names)?;
    let read = |path: &Path| {
        let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        text.map(Pem::Text)
    };
    let certificate = CertifiedKey {
        chain: read(&made.certificate)?,
        key: read(&made.key)?,
    };
    folder
        .close()
        .context("cannot remove the temporary folder")?;
    Ok((certificate, Trust::Pin(made.fingerprint)))
}

/// Returns the names the certificate must be valid for, besides those of loopback.
fn names(args: &Args, listen: IpAddr) -> Vec<String> {
    let mut names = args.dns_names.clone();
    names.extend(args.listen.name().map(Into::into));
    if listen.is_unspecified() {
        names.extend(host_name());
    } else if !listen.is_loopback() {
        names.push(listen.to_string());
    }
    names
}

/// Returns this machine's host name, if it is a valid DNS name.
fn host_name() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| fs::read_to_string("/etc/hostname"))
        .ok()?;
    let name = name.trim();
    rustls::pki_types::DnsName::try_from(name).ok()?;
    Some(name.into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_expiry_is_told_with_its_date_and_warned_of_when_it_is_near() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let day = Duration::from_secs(24 * 60 * 60);
        let expiry = |now| Expiry { at, now };
        let far = expiry(at - 100 * day);
        assert_eq!(far.to_string(), "until 2023-11-14, 100 days from now");
        assert_eq!(far.warning(), None);
        let near = expiry(at - 3 * day).warning().unwrap();
        assert!(near.contains("expires on 2023-11-14, in 3 days"), "{near}");
        let over = expiry(at + day).warning().unwrap();
        assert!(over.contains("has expired on 2023-11-14"), "{over}");
    }
}
