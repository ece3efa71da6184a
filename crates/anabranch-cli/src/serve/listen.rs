//! The value of `--listen`.

use std::{net::SocketAddr, str::FromStr};

use anyhow::Context;

/// Host and port. A host name is kept, because the certificate must be valid for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Listen {
    Address(SocketAddr),
    Name { host: String, port: u16 },
}

impl FromStr for Listen {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const RULE: &str = "must be HOST:PORT, such as 127.0.0.1:4433, [::]:4433 or localhost:4433";
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let (host, port) = text.rsplit_once(':').ok_or(RULE)?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if host.is_empty() || !host.chars().all(allowed) {
            return Err(RULE);
        }
        Ok(Self::Name {
            host: host.into(),
            port: port.parse().map_err(|_| RULE)?,
        })
    }
}

impl Listen {
    /// Resolves the host name.
    pub(super) async fn resolve(&self) -> anyhow::Result<SocketAddr> {
        match self {
            Self::Address(address) => Ok(*address),
            Self::Name { host, port } => tokio::net::lookup_host((host.as_str(), *port))
                .await
                .with_context(|| format!("cannot resolve the name {host}"))?
                .next()
                .with_context(|| format!("the name {host} has no address")),
        }
    }

    /// Returns the host name. `None` for an IP address.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Address(_) => None,
            Self::Name { host, .. } => Some(host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_or_a_name_with_a_port_is_read_and_nothing_else() {
        for right in ["127.0.0.1:0", "[::]:4433", "0.0.0.0:1", "localhost:4433"] {
            assert!(right.parse::<Listen>().is_ok(), "{right}");
        }
        for wrong in [
            "",
            ":4433",
            "localhost",
            "::1:1x",
            "a b:1",
            "localhost:70000",
        ] {
            assert!(wrong.parse::<Listen>().is_err(), "{wrong}");
        }
    }
}
