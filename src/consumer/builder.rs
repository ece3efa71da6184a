//! The options of a consumer, and how it starts.

use std::{path::PathBuf, time::Duration};

use super::{
    Config, ConsumeError, Start,
    consumer::{self, Consumer},
};
use crate::conn::{self, ClientTls, Token, Trust, tls::CertifiedKey};

/// Options of a [`Consumer`]. [`Builder::subscribe`] checks all of them at once.
///
/// A server and a topic are needed.
#[derive(Debug, Clone, Default)]
#[must_use = "a builder does nothing before subscribe"]
pub struct Builder {
    config: Config,
}

impl Consumer {
    /// Returns a builder with the default options.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

impl Builder {
    /// Replaces all options by those of `config`.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Replaces all options of the connection: servers, TLS, token, pings, reconnecting.
    pub fn connection(mut self, connection: conn::Config) -> Self {
        self.config.connection = connection;
        self
    }

    /// Adds a server, as `HOST:PORT`. With several, the consumer uses the first that it can reach.
    pub fn server(mut self, server: impl Into<String>) -> Self {
        self.config.connection.servers.push(server.into());
        self
    }

    /// Trusts brokers whose certificate is signed by an authority in this PEM file, and no others. Default: the
    /// authorities that the operating system trusts.
    pub fn ca_file(self, path: impl Into<PathBuf>) -> Self {
        self.trust(Trust::CaFile(path.into()))
    }

    /// Sets whose certificate a broker must have. Default: one from the authorities that the operating system trusts.
    pub fn trust(mut self, trust: Trust) -> Self {
        let tls = &mut self.config.connection.tls;
        *tls = std::mem::take(tls).with_trust(trust);
        self
    }

    /// Sets the certificate chain and the private key, PEM files, that are shown to a broker that asks for a certificate.
    /// Default: none.
    pub fn certificate_files(mut self, chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        let tls = &mut self.config.connection.tls;
        *tls = std::mem::take(tls).with_certificate(CertifiedKey::files(chain, key));
        self
    }

    /// Replaces what [`ca_file`](Self::ca_file), [`trust`](Self::trust) and
    /// [`certificate_files`](Self::certificate_files) set, for example by a `rustls` configuration of your own.
    pub fn tls(mut self, tls: ClientTls) -> Self {
        self.config.connection.tls = tls;
        self
    }

    /// Sets the token that is sent to the broker. Default: none.
    pub fn token(mut self, token: impl Into<Token>) -> Self {
        self.config.connection.token = token.into();
        self
    }

    /// Sets how long [`subscribe`](Self::subscribe) waits for the first connection before it returns the reason why there is
    /// none. Default 10 s, more than zero. Once subscribed, a consumer reconnects without end.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.config.connection.connect_timeout = timeout;
        self
    }

    /// Sets the topic to read, by its name.
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.config.topic = topic.into();
        self
    }

    /// Sets the name under which the broker stores the acknowledged position, so that the next consumer of this name
    /// continues there. It shuts out an earlier consumer of this name. Default: no name, and no position is stored.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.config.name = Some(name.into());
        self
    }

    /// Sets whether to wait for a topic that does not exist, and then begin with its first message. Default: false.
    pub fn wait_for_topic(mut self, wait: bool) -> Self {
        self.config.wait_for_topic = wait;
        self
    }

    /// Sets where to begin. A name that has a stored position continues there instead. Default: [`Start::Latest`].
    pub fn from(mut self, from: Start) -> Self {
        self.config.from = from;
        self
    }

    /// Limits the bytes of batches that wait for the application. Default: 4 MiB. Less holds up the broker on a link
    /// with a long round trip, where this much is the most that can be in flight.
    pub fn credit_bytes(mut self, bytes: u64) -> Self {
        self.config.credit_bytes = bytes;
        self
    }

    /// Connects and subscribes. Waits until the broker has answered with the offset that the consumer begins with. With
    /// [`Builder::wait_for_topic`] it waits for the topic, without a limit.
    ///
    /// # Errors
    /// [`ConsumeError`]: wrong options, the reason why there is no connection within
    /// [`connect_timeout`](Self::connect_timeout), no answer, or a refusal. A refusal, and a certificate that is not trusted,
    /// are returned at once.
    ///
    /// # Cancel safety
    /// If the future is dropped, nothing keeps running. A new name may already have a stored position.
    pub async fn subscribe(self) -> Result<Consumer, ConsumeError> {
        consumer::subscribe(self.config).await
    }
}
