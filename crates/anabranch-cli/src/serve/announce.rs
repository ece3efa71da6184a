//! What is said when the broker serves: where, and the lines that reach it.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};

use serde::Serialize;

use super::{
    Args, LOG, StoreKind,
    identity::{HowToTrust, Identity},
};
use crate::output::{self, Output};

/// Everything that is needed to reach the broker.
#[derive(Debug, Serialize)]
pub(super) struct Announcement {
    /// Where it listens.
    listening: String,
    /// Where clients on this machine reach it.
    server: String,
    /// The store, in words.
    store: String,
    /// The authority that clients are to trust.
    #[serde(skip_serializing_if = "Option::is_none")]
    ca: Option<String>,
    /// The fingerprint of the certificate, where its authority is not known here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pin: Option<String>,
    /// Where metrics are.
    #[serde(skip_serializing_if = "Option::is_none")]
    metrics: Option<String>,
    /// A line that sends.
    produce: String,
    /// A line that reads.
    consume: String,
    #[serde(skip)]
    notes: Vec<String>,
}

impl Announcement {
    pub(super) fn new(args: &Args, identity: &Identity, address: SocketAddr) -> Self {
        let server = match args.listen.name() {
            Some(name) => format!("{name}:{}", address.port()),
            None => SocketAddr::new(from_here(address.ip()), address.port()).to_string(),
        };
        let mut flags = format!("--server {server}");
        let (mut ca, mut pin) = (None, None);
        match &identity.trust {
            HowToTrust::Ca(path) => {
                let path = absolute(path);
                flags.push_str(&format!(" --ca {}", quoted(&path)));
                ca = Some(path);
            }
            HowToTrust::Pin(fingerprint) => {
                flags.push_str(&format!(" --pin {fingerprint}"));
                pin = Some(fingerprint.to_string());
            }
        }
        let mut notes = Vec::new();
        if let Some(file) = &args.token_file {
            notes.push(format!(
                "clients need a token of {}, in --token or ANABRANCH_TOKEN",
                file.display()
            ));
        }
        if let Some(file) = &args.client_ca {
            notes.push(format!(
                "clients need a certificate signed by {}, in --client-cert and --client-key",
                file.display()
            ));
        }
        let program = program();
        Self {
            listening: address.to_string(),
            server,
            store: match args.store {
                StoreKind::Log => format!("messages on disk in {}", args.data.join(LOG).display()),
                StoreKind::Memory => "messages in memory".into(),
            },
            ca,
            pin,
            metrics: args.metrics.map(|at| format!("http://{at}/metrics")),
            produce: format!("{program} produce {flags} --topic events"),
            consume: format!("{program} consume {flags} --topic events --from earliest --follow"),
            notes,
        }
    }

    pub(super) fn tell(&self, output: Output) -> anyhow::Result<()> {
        match output {
            Output::Json => output::json(self),
            Output::Text => output::line(self),
        }
    }
}

impl fmt::Display for Announcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "serving at {}, {}", self.listening, self.store)?;
        if let Some(metrics) = &self.metrics {
            writeln!(f, "metrics at {metrics}")?;
        }
        for note in &self.notes {
            writeln!(f, "{note}")?;
        }
        writeln!(f, "send lines:  {}", self.produce)?;
        write!(f, "read them:   {}", self.consume)
    }
}

/// An address of this machine to itself, where the broker listens at all of them.
fn from_here(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

/// How this program was called.
fn program() -> String {
    let name = std::env::args().next();
    quoted(&name.unwrap_or_else(|| "anabranch".into()))
}

/// A path that is right in any folder.
fn absolute(path: &Path) -> String {
    let absolute = std::path::absolute(path);
    absolute.as_deref().unwrap_or(path).display().to_string()
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+:=@%,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_with_a_blank_or_a_quote_is_one_word_to_a_shell() {
        assert_eq!(quoted("/tmp/ca.pem"), "/tmp/ca.pem");
        assert_eq!(quoted("/tmp/my data/ca.pem"), "'/tmp/my data/ca.pem'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
