//! What `serve` prints when the broker is ready: its address, and command lines that reach it.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};

use serde::Serialize;

use super::{
    Args, StoreKind,
    identity::{Identity, Trust},
};
use crate::output::{self, Output};

/// Everything a client needs to reach the broker.
#[derive(Debug, Serialize)]
pub(super) struct Announcement {
    /// Address the broker listens at.
    listening: String,
    /// Address for clients on this machine.
    server: String,
    /// Description of the store.
    store: String,
    /// File of the certificate authority that clients must trust.
    #[serde(skip_serializing_if = "Option::is_none")]
    ca: Option<String>,
    /// Fingerprint of the certificate that clients must trust, if there is no file of its authority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pin: Option<String>,
    /// Last day of the certificate, in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_expires: Option<String>,
    /// Address of the metrics.
    #[serde(skip_serializing_if = "Option::is_none")]
    metrics: Option<String>,
    /// Command line that sends messages.
    produce: String,
    /// Command line that reads messages.
    consume: String,
    #[serde(skip)]
    notes: Vec<String>,
}

impl Announcement {
    pub(super) fn new(args: &Args, identity: &Identity, address: SocketAddr) -> Self {
        let server = match args.listen.name() {
            Some(name) => format!("{name}:{}", address.port()),
            None => SocketAddr::new(local(address.ip()), address.port()).to_string(),
        };
        let mut flags = format!("--server {server}");
        let (mut ca, mut pin) = (None, None);
        match &identity.trust {
            Trust::Ca(path) => {
                let path = absolute(path);
                flags.push_str(&format!(" --ca {}", quoted(&path)));
                ca = Some(path);
            }
            Trust::Pin(fingerprint) => {
                flags.push_str(&format!(" --pin {fingerprint}"));
                pin = Some(fingerprint.to_string());
            }
        }
        let mut notes = Vec::new();
        let expiry = identity.expiry();
        if let Some(expiry) = &expiry {
            let kind = match args.cert {
                Some(_) => "the certificate",
                None => "the certificate, one for development,",
            };
            notes.push(format!("{kind} is valid {expiry}"));
        }
        if let Some(file) = &args.token_file {
            notes.push(format!(
                "clients need a token from {}, in --token or ANABRANCH_TOKEN",
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
                StoreKind::Log => format!("messages on disk in {}", args.log().display()),
                StoreKind::Memory => "messages in memory".into(),
            },
            ca,
            pin,
            certificate_expires: expiry.map(|expiry| expiry.date()),
            metrics: args.metrics.map(|at| format!("http://{at}/metrics")),
            produce: format!("{program} produce {flags} --topic events"),
            consume: format!("{program} consume {flags} --topic events --from earliest --follow"),
            notes,
        }
    }

    pub(super) fn print(&self, output: Output) -> anyhow::Result<()> {
        output::result(output, self)
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
        write!(f, "read lines:  {}", self.consume)
    }
}

/// Returns the loopback address in place of the unspecified one.
fn local(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

/// Returns the name this program was called by, quoted for a shell.
fn program() -> String {
    let name = std::env::args().next();
    quoted(&name.unwrap_or_else(|| "anabranch".into()))
}

/// Returns the absolute path.
fn absolute(path: &Path) -> String {
    let absolute = std::path::absolute(path);
    absolute.as_deref().unwrap_or(path).display().to_string()
}

/// Quotes a word for a shell.
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
