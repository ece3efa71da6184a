//! Pure: a client's options for its connection.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use rustls::pki_types::ServerName;

use super::{
    address::{ServerAddress, ServerAddressError},
    backoff::BackoffConfig,
};
use crate::config::{ConfigError, Problems};
use crate::conn::{
    quic::{NetworkProvider, TransportConfig, Udp},
    tls::ClientTls,
};

/// A secret that is shown to the broker and to nobody else. It does not show in `Debug`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Token(Bytes);

impl Token {
    /// The secret.
    #[must_use]
    pub const fn as_bytes(&self) -> &Bytes {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() {
            "Token(none)"
        } else {
            "Token(..)"
        })
    }
}

impl<T: Into<Bytes>> From<T> for Token {
    fn from(secret: T) -> Self {
        Self(secret.into())
    }
}

/// How a client reaches its broker.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// The servers, each as `HOST:PORT`. Default: none; at least one is needed. They are tried in turn, the one that
    /// was connected last first, and names are looked up anew each time. All of them must be the same broker to
    /// the client: what one has stored, the next must know.
    pub servers: Vec<String>,
    /// The name that the server's certificate must be valid for. Default: `None`, the host in `servers`.
    pub server_name: Option<String>,
    /// Who is trusted, and who we are. Default: the operating system's authorities, and no client certificate.
    pub tls: ClientTls,
    /// What is shown to the broker after the TLS handshake. Default: nothing. At most 65,535 bytes.
    pub token: Token,
    /// The local address to connect from. Default: `None`, any. With one, only servers of its family are reached.
    pub local_address: Option<SocketAddr>,
    /// How long the first connection may take, all attempts together. Default: 10 s. Reconnecting has no such limit:
    /// messages have deadlines of their own.
    pub connect_timeout: Duration,
    /// How long one attempt may take, from the first packet to the open session. Default: 5 s.
    pub handshake_timeout: Duration,
    /// How often the link is tested by a ping. Default: 5 s. It also keeps the connection from going idle, so it must
    /// be less than half of `transport.idle_timeout`. The link of a producer on which nothing is sent is tested at every third
    /// interval only, where that is at most half of `transport.idle_timeout` too.
    pub ping_interval: Duration,
    /// How long after a ping without a pong the link counts as dead. Default: 5 s. Shorter finds a dead link sooner
    /// and takes a stalled one, or a broker in trouble, for dead more often.
    pub ping_timeout: Duration,
    /// The waits between attempts to reconnect. Default: 100 ms to 10 s.
    pub reconnect_backoff: BackoffConfig,
    /// The numbers of QUIC.
    pub transport: TransportConfig,
    /// Where packets go. Default: [`Udp`].
    pub network: Arc<dyn NetworkProvider>,
}

/// A ping of an idle link costs both ends about 125 µs, most of it to wake up; a thousand idle producers at a ping every
/// 5 s would cost a fortieth of a processor.
const MOST_RESTING: u32 = 3;

impl Default for Config {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            server_name: None,
            tls: ClientTls::default(),
            token: Token::default(),
            local_address: None,
            connect_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(5),
            ping_interval: Duration::from_secs(5),
            ping_timeout: Duration::from_secs(5),
            reconnect_backoff: BackoffConfig::default(),
            transport: TransportConfig::default(),
            network: Arc::new(Udp::default()),
        }
    }
}

impl Config {
    /// The defaults, with one server.
    #[must_use]
    pub fn to(server: impl Into<String>) -> Self {
        Self {
            servers: vec![server.into()],
            ..Self::default()
        }
    }

    /// Whether everything can be used. Files are not looked at: see [`ClientTls::to_rustls`].
    ///
    /// # Errors
    ///
    /// Every wrong field.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut problems = Problems::default();
        self.problems(&mut problems);
        problems.into_result()
    }

    pub(crate) fn problems(&self, problems: &mut Problems) {
        problems.expect(
            !self.servers.is_empty(),
            "servers",
            &self.servers,
            "must name at least one",
        );
        for server in &self.servers {
            let address = server.parse::<ServerAddress>();
            problems.expect(
                address.is_ok(),
                "servers",
                server,
                "must be HOST:PORT, such as broker.example:4433 or [::1]:4433",
            );
            // Not every name that can be looked up can stand in a certificate.
            problems.expect(
                self.server_name.is_some()
                    || address.is_err()
                    || address.is_ok_and(|a| ServerName::try_from(a.host()).is_ok()),
                "servers",
                server,
                "is not a name that certificates are made for; set server_name",
            );
        }
        if let Some(name) = &self.server_name {
            problems.expect(
                ServerName::try_from(name.as_str()).is_ok(),
                "server_name",
                name,
                "must be a DNS name or an IP address",
            );
        }
        problems.expect(
            self.token.0.len() <= usize::from(u16::MAX),
            "token",
            &format_args!("{} bytes", self.token.0.len()),
            "must have at most 65535 bytes",
        );
        for (field, value) in [
            ("connect_timeout", self.connect_timeout),
            ("handshake_timeout", self.handshake_timeout),
            ("ping_interval", self.ping_interval),
            ("ping_timeout", self.ping_timeout),
        ] {
            let day = Duration::from_secs(24 * 60 * 60);
            problems.expect(
                !value.is_zero() && value <= day,
                field,
                &value,
                "must be more than zero and at most a day",
            );
        }
        problems.expect(
            self.ping_interval.saturating_mul(2) < self.transport.idle_timeout,
            "ping_interval",
            &self.ping_interval,
            "must be less than half of transport.idle_timeout",
        );
        self.reconnect_backoff.problems(problems);
        self.transport.problems(problems);
    }

    /// One `ping_interval` in so many brings a ping while a producer sends nothing.
    pub(super) fn resting(&self) -> u32 {
        let mut rest = MOST_RESTING;
        while rest > 1 && self.ping_interval * rest * 2 > self.transport.idle_timeout {
            rest -= 1;
        }
        rest
    }

    /// The servers with the names that their certificates must be valid for.
    pub(super) fn targets(&self) -> Result<Vec<Target>, ServerAddressError> {
        self.servers
            .iter()
            .map(|server| {
                let address: ServerAddress = server.parse()?;
                let name = self.server_name.as_deref().unwrap_or(address.host()).into();
                Ok(Target { address, name })
            })
            .collect()
    }
}

/// A server to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) address: ServerAddress,
    /// What its certificate must be valid for.
    pub(super) name: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::Admission;

    #[test]
    fn the_defaults_need_nothing_but_a_server() {
        assert_eq!(
            Config::default().check().unwrap_err().to_string(),
            "servers = []: must name at least one"
        );
        Config::to("localhost:4433").check().unwrap();
        Config::to("[::1]:4433").check().unwrap();
        TransportConfig::server().check().unwrap();
        Admission::default().check().unwrap();
    }

    #[test]
    fn every_wrong_field_is_told_at_once() {
        let mut config = Config::to("nowhere");
        config.servers.push("-.example:1".into());
        config.token = vec![0; 65_536].into();
        config.ping_interval = Duration::from_secs(15);
        config.ping_timeout = Duration::ZERO;
        config.reconnect_backoff.max = Duration::from_millis(150);
        config.transport.receive_window = 1 << 20;
        config.transport.mtu_upper_bound = 500;
        let error = config.check().unwrap_err();
        let fields: Vec<_> = error.problems().iter().map(|p| p.field).collect();
        assert_eq!(
            fields,
            [
                "servers",
                "servers",
                "token",
                "ping_timeout",
                "ping_interval",
                "reconnect_backoff.max",
                "transport.receive_window",
                "transport.mtu_upper_bound",
            ]
        );
        let text = error.to_string();
        assert!(
            text.contains("ping_timeout = 0ns: must be more than zero"),
            "{text}"
        );
        assert!(text.contains("token = 65536 bytes: "), "{text}");
    }

    #[test]
    fn the_name_on_the_certificate_is_the_host_unless_another_is_given() {
        let mut config = Config::to("192.0.2.7:4433");
        config.servers.push("b.example:1".into());
        let names = |config: &Config| {
            let targets = config.targets().unwrap();
            targets.into_iter().map(|t| t.name).collect::<Vec<_>>()
        };
        assert_eq!(names(&config), ["192.0.2.7", "b.example"]);
        config.server_name = Some("broker.example".into());
        assert_eq!(names(&config), ["broker.example", "broker.example"]);
    }

    #[test]
    fn a_token_never_shows() {
        let mut config = Config::to("localhost:1");
        config.token = "s3cret".into();
        let shown = format!("{config:?}");
        assert!(
            shown.contains("Token(..)") && !shown.contains("s3cret"),
            "{shown}"
        );
    }
}
