//! The flags of every command that connects to a broker.

use std::{path::PathBuf, time::Duration};

use anabranch::conn::{
    ClientTls, Config, Congestion, ServerAddress, Trust,
    tls::{CertifiedKey, Fingerprint},
};
use clap::{ValueEnum, builder::BoolishValueParser};

use crate::units;

/// Where the broker is, whom we trust, and who we are.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectionArgs {
    /// The broker. Several may be given, to be tried in turn.
    #[arg(
        long,
        env = "ANABRANCH_SERVER",
        value_name = "HOST:PORT",
        value_delimiter = ',',
        default_value = "127.0.0.1:4470"
    )]
    server: Vec<ServerAddress>,

    /// Trust the certificate authorities in this PEM file, instead of those of the operating system.
    #[arg(long, env = "ANABRANCH_CA", value_name = "FILE", conflicts_with_all = ["pin", "insecure"])]
    ca: Option<PathBuf>,

    /// Trust the one certificate with this SHA-256 fingerprint.
    #[arg(
        long,
        env = "ANABRANCH_PIN",
        value_name = "HEX",
        conflicts_with = "insecure"
    )]
    pin: Option<Fingerprint>,

    /// Trust whoever answers. Anybody on the way can then read and change everything.
    #[arg(long, env = "ANABRANCH_INSECURE", value_parser = BoolishValueParser::new())]
    insecure: bool,

    /// The name that the broker's certificate must be valid for, where it is not the host of --server.
    #[arg(long, env = "ANABRANCH_SERVER_NAME", value_name = "NAME")]
    server_name: Option<String>,

    /// Our certificate, for a broker that asks for one: a PEM file.
    #[arg(
        long,
        env = "ANABRANCH_CLIENT_CERT",
        value_name = "FILE",
        requires = "client_key"
    )]
    client_cert: Option<PathBuf>,

    /// The private key of our certificate: a PEM file.
    #[arg(
        long,
        env = "ANABRANCH_CLIENT_KEY",
        value_name = "FILE",
        requires = "client_cert"
    )]
    client_key: Option<PathBuf>,

    /// A token to show to the broker. Other users of this machine can see it unless it is given by the environment.
    #[arg(
        long,
        env = "ANABRANCH_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true
    )]
    token: Option<String>,

    /// How long the first connection may take.
    #[arg(
        long,
        env = "ANABRANCH_CONNECT_TIMEOUT",
        value_name = "TIME",
        default_value = "10s",
        value_parser = units::some_duration
    )]
    connect_timeout: Duration,
}

impl ConnectionArgs {
    /// These flags as the library wants them.
    pub(crate) fn config(&self) -> Config {
        let trust = if self.insecure {
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

/// Which congestion controller a connection has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Controller {
    /// What most of the Internet uses: takes every loss for congestion.
    #[default]
    Cubic,
    /// The older standard.
    Newreno,
    /// quinn's; does not mind single losses; experimental.
    Bbr,
    /// Ours, for links that lose.
    Thalweg,
}

impl From<Controller> for Congestion {
    fn from(controller: Controller) -> Self {
        match controller {
            Controller::Cubic => Self::Cubic,
            Controller::Newreno => Self::NewReno,
            Controller::Bbr => Self::Bbr,
            Controller::Thalweg => Self::Thalweg,
        }
    }
}
