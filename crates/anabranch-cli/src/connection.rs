//! Flags of every command that connects to a broker.

use std::{path::PathBuf, time::Duration};

use anabranch::conn::{
    ClientTls, Config, ServerAddress, Trust,
    tls::{CertifiedKey, Fingerprint},
};
use clap::builder::BoolishValueParser;

use crate::{args, progress};

/// Address of the broker, trusted certificates, and credentials.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectionArgs {
    /// Address of the broker. Several addresses are tried in turn.
    #[arg(
        long,
        value_name = "HOST:PORT",
        value_delimiter = ',',
        default_value = "127.0.0.1:4433"
    )]
    server: Vec<ServerAddress>,

    /// PEM file of trusted certificate authorities, instead of those of the operating system.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["pin", "insecure"])]
    ca: Option<PathBuf>,

    /// SHA-256 fingerprint of the only certificate to trust.
    #[arg(long, value_name = "HEX", conflicts_with = "insecure")]
    pin: Option<Fingerprint>,

    /// Accept any certificate. Anyone on the path can then read and change everything.
    #[arg(long, value_parser = BoolishValueParser::new())]
    insecure: bool,

    /// Name that the broker's certificate must be valid for, if it differs from the host of --server.
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,

    /// PEM file of the client certificate, for a broker that requires one.
    #[arg(long, value_name = "FILE", requires = "client_key")]
    client_cert: Option<PathBuf>,

    /// PEM file of the client certificate's private key.
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    client_key: Option<PathBuf>,

    /// Access token for the broker. Other users of this machine can see it, unless it is set in the environment.
    #[arg(long, value_name = "TOKEN", hide_env_values = true)]
    token: Option<String>,

    /// How long to wait for the first connection. With --spool, `produce` does not wait for one.
    #[arg(
        long,
        value_name = "TIME",
        default_value = "10s",
        value_parser = args::positive_duration
    )]
    connect_timeout: Duration,
}

impl ConnectionArgs {
    /// Converts the flags to the library's options.
    pub(crate) fn config(&self) -> Config {
        let trust = if self.insecure {
            progress::warn(
                "--insecure: any server is accepted, so anyone on the path can read and change everything",
            );
            Trust::DangerouslyAcceptAny
        } else if let Some(pin) = self.pin {
            Trust::Pinned(pin)
        } else if let Some(ca) = &self.ca {
            Trust::CaFile(ca.clone())
        } else {
            Trust::SystemRoots
        };
        let certificate = match (&self.client_cert, &self.client_key) {
            (Some(chain), Some(key)) => Some(CertifiedKey::files(chain, key)),
            _ => None,
        };
        let mut config = Config::default();
        config.servers = self.server.iter().map(ToString::to_string).collect();
        config.server_name = self.server_name.clone();
        config.tls = ClientTls::Parts { trust, certificate };
        if let Some(token) = &self.token {
            config.token = token.clone().into();
        }
        config.connect_timeout = self.connect_timeout;
        config.handshake_timeout = config.handshake_timeout.min(self.connect_timeout);
        config
    }
}
