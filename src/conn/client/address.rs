//! Sans-I/O: the address of a server as text.

use std::{fmt, net::Ipv6Addr, str::FromStr};

/// A host and a port: `broker.example:4433`, `192.0.2.7:4433`, `[2001:db8::7]:4433`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerAddress {
    host: String,
    port: u16,
}

impl ServerAddress {
    /// Returns the host: a name, or an IP address without brackets. It is resolved, and the server's certificate must be
    /// valid for it unless the options give another name.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port, which is never 0.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Error of a text that is not a host and a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be HOST:PORT, such as broker.example:4433 or [::1]:4433")]
pub struct ServerAddressError;

impl FromStr for ServerAddress {
    type Err = ServerAddressError;

    fn from_str(text: &str) -> Result<Self, ServerAddressError> {
        let (host, port) = text.rsplit_once(':').ok_or(ServerAddressError)?;
        if !port.bytes().all(|b| b.is_ascii_digit()) {
            return Err(ServerAddressError);
        }
        let port: u16 = port.parse().map_err(|_| ServerAddressError)?;
        let host = match host.strip_prefix('[') {
            Some(rest) => rest
                .strip_suffix(']')
                .filter(|v6| v6.parse::<Ipv6Addr>().is_ok()),
            None => Some(host).filter(|name| {
                name.chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
            }),
        };
        let host = host
            .filter(|host| !host.is_empty() && port != 0)
            .ok_or(ServerAddressError)?;
        Ok(Self {
            host: host.into(),
            port,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_host_and_a_port_are_read_in_every_usual_form() {
        for (text, host, port) in [
            ("localhost:4433", "localhost", 4433),
            ("broker-1.example:1", "broker-1.example", 1),
            ("192.0.2.7:65535", "192.0.2.7", 65535),
            ("[::1]:4433", "::1", 4433),
        ] {
            let address: ServerAddress = text.parse().unwrap();
            assert_eq!((address.host(), address.port()), (host, port));
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn what_is_not_a_host_and_a_port_is_refused() {
        for text in [
            "",
            ":",
            "host",
            "host:",
            ":4433",
            "host:0",
            "host:65536",
            "host:x",
            "::1:4433",
            "[::1]",
            "[host]:1",
            "[::1:1",
            "::1]:1",
            "[]:1",
            "a b:1",
            "quic://host:1",
            "host:1/",
            "host:+1",
        ] {
            assert_eq!(
                text.parse::<ServerAddress>(),
                Err(ServerAddressError),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics_and_what_was_read_is_written_the_same_way(text in ".{0,40}") {
            if let Ok(address) = text.parse::<ServerAddress>() {
                prop_assert_eq!(address.to_string().parse(), Ok(address));
            }
        }
    }
}
