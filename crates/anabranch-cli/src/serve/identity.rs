//! The certificate that the broker shows, and how a client comes to trust it.

use std::{fs, net::IpAddr, path::PathBuf};

use anabranch::conn::{
    DevCerts, ServerTls,
    tls::{CertifiedKey, ClientCertificates, Fingerprint},
};
use anyhow::Context;
use rustls::pki_types::{CertificateDer, pem::PemObject};

use super::Args;

/// What the broker shows.
pub(super) struct Identity {
    pub(super) tls: ServerTls,
    pub(super) trust: HowToTrust,
}

/// What a client that is to trust it is told.
pub(super) enum HowToTrust {
    /// The authority that signed the development certificate.
    Ca(PathBuf),
    /// The certificate that was given: we do not know who signed it.
    Pin(Fingerprint),
}

impl Identity {
    /// The certificate that was given, or one for development, made where it is missing.
    pub(super) fn find(args: &Args, listen: IpAddr) -> anyhow::Result<Self> {
        let (certificate, trust) = match (&args.cert, &args.key) {
            (Some(chain), Some(key)) => {
                let shown = CertificateDer::from_pem_file(chain)
                    .with_context(|| format!("cannot read the certificate {}", chain.display()))?;
                let pin = HowToTrust::Pin(Fingerprint::of(&shown));
                (CertifiedKey::files(chain, key), pin)
            }
            _ => {
                let names = names(args.listen.name(), listen);
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let made = DevCerts::ensure(&args.data, &names)?;
                let certificate = CertifiedKey::files(made.certificate, made.key);
                (certificate, HowToTrust::Ca(made.ca))
            }
        };
        let clients = match &args.client_ca {
            Some(ca) => ClientCertificates::Required {
                ca: ca.clone().into(),
            },
            None => ClientCertificates::NotAsked,
        };
        let tls = ServerTls::Parts {
            certificate,
            clients,
        };
        Ok(Self { tls, trust })
    }
}

/// The names that clients may know the broker by, beside those of this machine to itself.
fn names(given: Option<&str>, listen: IpAddr) -> Vec<String> {
    let mut names: Vec<String> = given.map(Into::into).into_iter().collect();
    if listen.is_unspecified() {
        names.extend(host_name());
    } else if !listen.is_loopback() {
        names.push(listen.to_string());
    }
    names
}

/// This machine's own name, where the system tells one that can stand in a certificate.
fn host_name() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| fs::read_to_string("/etc/hostname"))
        .ok()?;
    let name = name.trim();
    rustls::pki_types::DnsName::try_from(name).ok()?;
    Some(name.into())
}
