//! Sans-I/O: a client's TLS as a table of options.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, de::Error};

use super::{
    certified_key::CertifiedKey,
    client::{ClientTls, Trust},
};
use crate::de::{ReadOption, table_of_options};

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

impl ReadOption for ClientTls {
    fn read<'de, D: Deserializer<'de>>(&mut self, from: D) -> Result<(), D::Error> {
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
        let certificate = match (options.certificate, options.key) {
            (None, None) => None,
            (Some(chain), Some(key)) => Some(CertifiedKey::files(chain, key)),
            _ => {
                return Err(D::Error::custom(
                    "certificate and key can only be set together",
                ));
            }
        };
        *self = Self::Parts { trust, certificate };
        Ok(())
    }
}
