//! Pure: a client's options for its connection.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use rustls::pki_types::ServerName;

use super::{
    address::{ServerAddress, ServerAddressError},
    backoff::BackoffConfig,
    network::{NetworkProvider, Udp},
    quic::TransportConfig,
    tls::ClientTls,
};
use crate::config::{ConfigError, Problems};

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
    /// be less than half of `settings.idle_timeout`. The link of a producer on which nothing is sent is tested at every third
    /// interval only, where that is at most half of `settings.idle_timeout` too.
    pub ping_interval: Duration,
    /// How long after a ping without a pong the link counts as dead. Default: 5 s. Shorter finds a dead link sooner
    /// and takes a stalled one, or a broker in trouble, for dead more often.
    pub ping_timeout: Duration,
    /// The waits between attempts to reconnect. Default: 100 ms to 10 s.
    pub reconnect_backoff: BackoffConfig,
    /// The numbers of QUIC.
    pub settings: TransportConfig,
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
            settings: TransportConfig::default(),
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
            self.ping_interval.saturating_mul(2) < self.settings.idle_timeout,
            "ping_interval",
            &self.ping_interval,
            "must be less than half of settings.idle_timeout",
        );
        self.reconnect_backoff.problems(problems);
        self.settings.problems(problems);
    }

    /// One `ping_interval` in so many brings a ping while a producer sends nothing.
    pub(super) fn resting(&self) -> u32 {
        let mut rest = MOST_RESTING;
        while rest > 1 && self.ping_interval * rest * 2 > self.settings.idle_timeout {
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
    use crate::conn::{admission::Admission, congestion::Congestion, tls::Trust};

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
        config.settings.receive_window = 1 << 20;
        config.settings.mtu_upper_bound = 500;
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
                "settings.receive_window",
                "settings.mtu_upper_bound",
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

    /// Every documented default is the real one.
    #[test]
    fn the_documented_defaults_are_the_real_ones() {
        let config = Config::default();
        let admission = Admission::default();
        let (client, server) = (TransportConfig::default(), TransportConfig::server());
        let secs = |s| Duration::from_secs(s);
        let real = |condition: bool, file: &str, field: &str, text: &str| {
            assert!(condition, "{field}: {text}");
            let doc = file
                .split(&format!("    pub {field}: "))
                .next()
                .and_then(|before| before.rsplit("    pub ").next())
                .unwrap();
            let doc = doc.replace("\n    /// ", " ");
            assert!(doc.contains(&format!("Default: {text}")), "{field}: {doc}");
        };
        let here = include_str!("config.rs");
        real(config.servers.is_empty(), here, "servers", "none");
        real(config.server_name.is_none(), here, "server_name", "`None`");
        let trust_system = matches!(
            config.tls,
            ClientTls::Parts {
                trust: Trust::SystemRoots,
                certificate: None
            }
        );
        real(
            trust_system,
            here,
            "tls",
            "the operating system's authorities",
        );
        real(config.token.0.is_empty(), here, "token", "nothing");
        real(
            config.local_address.is_none(),
            here,
            "local_address",
            "`None`",
        );
        real(
            config.connect_timeout == secs(10),
            here,
            "connect_timeout",
            "10 s",
        );
        real(
            config.handshake_timeout == secs(5),
            here,
            "handshake_timeout",
            "5 s",
        );
        real(
            config.ping_interval == secs(5),
            here,
            "ping_interval",
            "5 s",
        );
        real(config.ping_timeout == secs(5), here, "ping_timeout", "5 s");

        let backoff = include_str!("backoff.rs");
        let waits = config.reconnect_backoff;
        real(
            waits.min == Duration::from_millis(100),
            backoff,
            "min",
            "100 ms",
        );
        real(waits.max == secs(10), backoff, "max", "10 s");
        real(waits.seed.is_none(), backoff, "seed", "`None`");
        real(true, here, "reconnect_backoff", "100 ms to 10 s");

        let quic = include_str!("quic.rs");
        let streams = (client.max_streams, server.max_streams) == (0, 128);
        real(
            streams,
            quic,
            "max_streams",
            "0 for a client, 128 for a server",
        );
        let window = client.stream_receive_window == 2 << 20;
        real(window, quic, "stream_receive_window", "2 MiB");
        real(
            client.receive_window == 16 << 20,
            quic,
            "receive_window",
            "16 MiB",
        );
        real(client.send_window == 8 << 20, quic, "send_window", "8 MiB");
        real(
            client.idle_timeout == secs(30),
            quic,
            "idle_timeout",
            "30 s",
        );
        real(client.keep_alive.is_none(), quic, "keep_alive", "`None`");
        let ms = Duration::from_millis;
        real(client.initial_rtt == ms(100), quic, "initial_rtt", "100 ms");
        real(
            client.max_ack_delay == Some(ms(5)),
            quic,
            "max_ack_delay",
            "5 ms",
        );
        real(
            client.mtu_upper_bound == 1452,
            quic,
            "mtu_upper_bound",
            "1452",
        );
        real(client.gso, quic, "gso", "`true`");
        real(client.reset_key.is_none(), quic, "reset_key", "`None`");
        real(client.fair_streams, quic, "fair_streams", "`true`");
        let cubic = matches!(client.congestion, Congestion::Cubic);
        real(cubic, quic, "congestion", "[`Congestion::Cubic`]");

        let door = include_str!("admission.rs");
        real(admission.max_incoming == 1024, door, "max_incoming", "1024");
        real(admission.retry_above == 64, door, "retry_above", "64");
        real(
            admission.max_handshakes == 512,
            door,
            "max_handshakes",
            "512",
        );
        let most = admission.max_connections == 10_000;
        real(most, door, "max_connections", "10,000");
        real(
            admission.handshake_timeout == secs(10),
            door,
            "handshake_timeout",
            "10 s",
        );
        let buffer = Udp::default().buffer_bytes == 4 << 20;
        real(buffer, include_str!("network.rs"), "buffer_bytes", "4 MiB");
    }
}
