//! A client's certificates and token. Those in files are read anew before each attempt to connect, because they are renewed
//! while the client runs.

use std::{fs, path::PathBuf};

use bytes::Bytes;

use super::{config::Config, endpoints::client_config, error::TrustedBy, token::Token};
use crate::conn::tls::{ClientTls, TlsError};

/// What a client presents and trusts at present.
#[derive(Debug)]
pub(super) struct Credentials {
    options: ClientTls,
    token: Token,
    /// The content of each file when `tls` was made; `None` for one that could not be read.
    files: Vec<Option<Vec<u8>>>,
    tls: quinn::ClientConfig,
    secret: Bytes,
}

impl Credentials {
    /// Reads everything. A token that cannot be read yet is empty: it is read again before the first attempt.
    ///
    /// # Errors
    ///
    /// A certificate or a key cannot be used.
    pub(super) fn read(config: &Config) -> Result<Self, TlsError> {
        let options = config.tls.clone();
        // Before they are used: what changes in between is found by the next `refresh`.
        let files = contents(&options);
        let mut credentials = Self {
            tls: client_config(options.to_rustls()?)?,
            token: config.token.clone(),
            secret: Bytes::new(),
            options,
            files,
        };
        credentials.refresh_token();
        Ok(credentials)
    }

    /// Reads the files and the token again, and returns whether something changed. What cannot be read or used stays as it
    /// was. While nothing changes, connections share session tickets and address validation tokens.
    pub(super) fn refresh(&mut self) -> bool {
        let tls_changed = self.refresh_tls();
        self.refresh_token() || tls_changed
    }

    fn refresh_tls(&mut self) -> bool {
        let files = contents(&self.options);
        if files == self.files {
            return false;
        }
        self.files = files;
        match self.options.to_rustls().and_then(client_config) {
            Ok(tls) => {
                tracing::info!("certificates have changed and are used from now on");
                self.tls = tls;
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the changed certificates cannot be used; the earlier ones stay in use");
                false
            }
        }
    }

    fn refresh_token(&mut self) -> bool {
        match self.token.read() {
            Ok(secret) if secret == self.secret => false,
            Ok(secret) => {
                self.secret = secret;
                true
            }
            Err(error) => {
                tracing::warn!(%error, token = ?self.token, "the token cannot be read; the earlier one stays in use");
                false
            }
        }
    }

    /// Returns quinn's configuration.
    pub(super) const fn tls(&self) -> &quinn::ClientConfig {
        &self.tls
    }

    /// Returns the token.
    pub(super) fn secret(&self) -> Bytes {
        self.secret.clone()
    }

    /// Returns what a server's certificate is verified with.
    pub(super) fn trusted_by(&self) -> TrustedBy {
        TrustedBy::of(&self.options)
    }
}

/// Reads the files of `options`: the trusted authorities, the certificate and its key.
fn contents(options: &ClientTls) -> Vec<Option<Vec<u8>>> {
    let read = |path: PathBuf| fs::read(path).ok();
    options.files().into_iter().map(read).collect()
}
