//! Sans-I/O: a client's options for its connection.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rustls::pki_types::ServerName;

use super::{
    address::{ServerAddress, ServerAddressError},
    backoff::BackoffConfig,
    token::{MAX_TOKEN, Token},
};
use crate::config::{ConfigError, Problems, rules};
use crate::conn::{
    quic::{NetworkProvider, TransportConfig, Udp},
    tls::ClientTls,
};

/// Options of a client's connection to its broker.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// The servers, each as `HOST:PORT`. Default: none; at least one is required. They are tried in order, starting with the
    /// last one that was connected, and names are resolved again on each attempt. All of them must serve the same store:
    /// a message stored by one must be known to the others.
    pub servers: Vec<String>,
    /// The name that the server's certificate must be valid for. Default: `None`, which means the host in `servers`.
    pub server_name: Option<String>,
    /// Trusted certificate authorities and the client certificate. Default: the operating system's authorities, and no client
    /// certificate. Files are read anew before each attempt to connect.
    pub tls: ClientTls,
    /// The token sent to the broker after the TLS handshake. Default: nothing. At most 65,535 bytes. One in a file is read
    /// anew before each attempt to connect.
    pub token: Token,
    /// The local address to connect from. Default: `None`, any address. With one, only servers of the same address family
    /// can be reached.
    pub local_address: Option<SocketAddr>,
    /// How long a call that needs the first connection waits for it, over all attempts, before it returns the reason why
    /// there is none. Default: 10 s. Calls that do not wait are not affected: a client that was built goes on trying
    /// without end.
    pub connect_timeout: Duration,
    /// Time limit for one attempt, from the first packet to the authenticated session. Default: 5 s.
    pub handshake_timeout: Duration,
    /// Interval between pings. Default: 5 s. Pings also keep the connection from going idle, so it must be less than half
    /// of `transport.idle_timeout`. While a producer sends nothing, it pings at every third interval only, provided that
    /// three intervals are at most half of `transport.idle_timeout`.
    pub ping_interval: Duration,
    /// Time after which a ping without a pong means that the connection is lost. Default: 5 s. A shorter timeout detects a
    /// dead connection sooner, and more often mistakes a stalled network or an overloaded broker for one.
    pub ping_timeout: Duration,
    /// Delays between attempts to reconnect. Default: 100 ms to 10 s.
    pub reconnect_backoff: BackoffConfig,
    /// QUIC's windows, limits and timeouts.
    pub transport: TransportConfig,
    /// The network that packets go through. Default: [`Udp`].
    pub network: Arc<dyn NetworkProvider>,
}

/// The largest multiple of `ping_interval` at which an idle producer pings. A ping on an idle connection costs both ends
/// about 125 µs, most of it for waking up: a thousand idle producers that ping every 5 s would use 2.5 % of a processor.
const MAX_IDLE_PING_MULTIPLE: u32 = 3;

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
    /// Returns the defaults with one server.
    #[must_use]
    pub fn to(server: impl Into<String>) -> Self {
        Self {
            servers: vec![server.into()],
            ..Self::default()
        }
    }

    /// Checks every field. Files are not read: see [`ClientTls::to_rustls`].
    ///
    /// # Errors
    ///
    /// Reports every invalid field.
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
            // Not every name that can be resolved is valid in a certificate.
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
            self.token.fixed_len() <= MAX_TOKEN,
            "token",
            &format_args!("{} bytes", self.token.fixed_len()),
            "must have at most 65535 bytes",
        );
        let in_a_day =
            |time: Duration| !time.is_zero() && time <= Duration::from_secs(24 * 60 * 60);
        let rule = "must be more than zero and at most a day";
        let two_pings = self.ping_interval.saturating_mul(2);
        rules!(problems, self;
            connect_timeout where !self.connect_timeout.is_zero() => "must be more than zero";
            handshake_timeout where in_a_day(self.handshake_timeout) => rule;
            ping_interval where in_a_day(self.ping_interval) => rule;
            ping_timeout where in_a_day(self.ping_timeout) => rule;
            ping_interval where two_pings < self.transport.idle_timeout => "must be less than half of transport.idle_timeout";
        );
        self.reconnect_backoff.problems(problems);
        self.transport.problems(problems);
    }

    /// Returns the multiple of `ping_interval` at which an idle producer pings.
    pub(super) fn idle_ping_multiple(&self) -> u32 {
        let mut multiple = MAX_IDLE_PING_MULTIPLE;
        while multiple > 1 && self.ping_interval * multiple * 2 > self.transport.idle_timeout {
            multiple -= 1;
        }
        multiple
    }

    /// Returns the servers with the names that their certificates must be valid for.
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

/// A server to connect to, and how to verify it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) address: ServerAddress,
    /// The name that its certificate must be valid for.
    pub(super) name: String,
}

#[cfg(feature = "serde")]
crate::de::text_option!(Token, |text| Ok::<_, &str>(Token::from(text.to_owned())));
#[cfg(feature = "serde")]
crate::de::table_of_options! {
    Config = Config::default();
    servers, server_name, tls, token, local_address, connect_timeout, handshake_timeout, ping_interval, ping_timeout, reconnect_backoff, transport;
    except network
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
        let fields: Vec<_> = error.problems().iter().map(|p| p.field.as_str()).collect();
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
}
