//! Putting a consumer together.

use super::{Config, ConsumeError, Consumer, Start, receive};
use crate::conn::{self, ClientTls, Token};

/// Takes a consumer's options; [`Builder::subscribe`] checks them all at once.
///
/// A server and a topic must be given.
#[derive(Debug, Clone, Default)]
#[must_use = "nothing is read before subscribe"]
pub struct Builder {
    config: Config,
}

impl Builder {
    /// Everything in [`Config`] at once. What was set there before is replaced.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// How the broker is reached. What was set of it before is replaced.
    pub fn connection(mut self, connection: conn::Config) -> Self {
        self.config.connection = connection;
        self
    }

    /// One more server, as `HOST:PORT`.
    pub fn server(mut self, server: impl Into<String>) -> Self {
        self.config.connection.servers.push(server.into());
        self
    }

    /// Who is trusted, and who we are.
    pub fn tls(mut self, tls: ClientTls) -> Self {
        self.config.connection.tls = tls;
        self
    }

    /// What is shown to the broker.
    pub fn token(mut self, token: impl Into<Token>) -> Self {
        self.config.connection.token = token.into();
        self
    }

    /// The topic's name.
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.config.topic = topic.into();
        self
    }

    /// The name under which the broker keeps the position; see [`Config::name`].
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.config.name = Some(name.into());
        self
    }

    /// Where to begin; see [`Config::from`].
    pub fn from(mut self, from: Start) -> Self {
        self.config.from = from;
        self
    }

    /// How many bytes may wait for the application; see [`Config::credit_bytes`].
    pub fn credit_bytes(mut self, bytes: u64) -> Self {
        self.config.credit_bytes = bytes;
        self
    }

    /// Connects and subscribes: waits until the broker has said where the reader begins.
    ///
    /// # Errors
    /// [`ConsumeError`]: wrong options, no connection within
    /// [`connect_timeout`](conn::Config::connect_timeout), no answer, or a refusal.
    ///
    /// # Cancel safety
    /// Dropping this leaves nothing behind but, for a new name, the position that it begins with.
    pub async fn subscribe(self) -> Result<Consumer, ConsumeError> {
        receive::subscribe(self.config).await
    }
}
