//! Sans-I/O: a client's TLS as a table of options.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, de::Error};

use super::{
    certified_key::CertifiedKey,
    client::{ClientTls, Trust},
};
use crate::de::{Written, table_of_options};

/// The files of a client's TLS. At most one of `ca_file` and `fingerprint` is given, and both of `certificate` and `key` or
/// neither.
#[derive(Debug, Clone, Default)]
struct TlsOptions {
    ca_file: Option<PathBuf>,
    fingerprint: Option<String>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

table_of_options! {
    TlsOptions = TlsOptions::default();
    ca_file, fingerprint, certificate, key
}

impl<'de> Deserialize<'de> for Written<ClientTls> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let options = TlsOptions::deserialize(from)?;
        let trust = match (options.ca_file, options.fingerprint) {
            (None, None) => Trust::SystemRoots,
            (Some(file), None) => Trust::CaFile(file),
            (None, Some(text)) => Trust::Pinned(text.parse().map_err(D::Error::custom)?),
            (Some(_), Some(_)) => {
                return Err(D::Error::custom(
                    "only one of ca_file and fingerprint can be set",
                ));
            }
        };
        let tls = ClientTls::trusting(trust);
        match (options.certificate, options.key) {
            (None, None) => Ok(Self(tls)),
            (Some(chain), Some(key)) => {
                Ok(Self(tls.with_certificate(CertifiedKey::files(chain, key))))
            }
            _ => Err(D::Error::custom(
                "certificate and key can only be set together",
            )),
        }
    }
}
