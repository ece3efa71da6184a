//! Sets the options of a producer one by one.

use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use super::{
    BuildError, Config, NameConflict, Producer, StartError, Strategy, WhenFull, start::start,
};
use crate::{
    conn::{self, Congestion, Trust, tls::CertifiedKey},
    pool,
    scaler::{self, ScalePolicy},
};

impl Producer {
    /// Returns a builder with the default options.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

/// Collects the options of a producer. Made by [`Producer::builder`].
///
/// Setters never fail and never adjust; [`Builder::build`] checks every option and names all that are wrong.
///
/// ```no_run
/// # async fn f() -> Result<(), anabranch::producer::StartError> {
/// use std::time::Duration;
/// use anabranch::Producer;
///
/// let producer = Producer::builder()
///     .server("broker.example:4433")
///     .ca_file("ca.pem")
///     .token(std::env::var("BROKER_TOKEN").unwrap_or_default())
///     .topic("events")
///     .buffer_bytes(32 << 20)
///     .delivery_timeout(Duration::from_secs(30))
///     .connect()
///     .await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "a builder does nothing until it builds"]
pub struct Builder {
    config: Config,
}

impl Builder {
    /// Replaces all options, also those that were set before.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Adds a broker's address, `HOST:PORT`. At least one is required. Several are tried in turn; all of them must be the
    /// same broker to the client.
    pub fn server(mut self, server: impl Into<String>) -> Self {
        self.config.connection.servers.push(server.into());
        self
    }

    /// Sets the topic of messages that name none: 1 to 200 ASCII letters, digits, `.`, `_` or `-`, not beginning with `.` or
    /// `-`. Required.
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.config.topic = topic.into();
        self
    }

    /// Trusts the authorities in this PEM file, and no others. Default: the authorities that the system trusts.
    pub fn ca_file(self, path: impl Into<PathBuf>) -> Self {
        self.trust(Trust::CaFile(path.into()))
    }

    /// Sets whose certificate a broker must have. Default: one from the authorities that the system trusts.
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
    pub fn tls(mut self, tls: conn::ClientTls) -> Self {
        self.config.connection.tls = tls;
        self
    }

    /// Sets a token to show to the broker, at most 65 535 bytes. Default: none.
    pub fn token(mut self, token: impl Into<conn::Token>) -> Self {
        self.config.connection.token = token.into();
        self
    }

    /// Replaces all options of the connection, also those that were set before.
    pub fn connection(mut self, connection: conn::Config) -> Self {
        self.config.connection = connection;
        self
    }

    /// Sets how long [`connect`](Self::connect) waits for the first connection before it returns the reason why there is none.
    /// Default 10 s, more than zero. [`build`](Self::build) does not wait, and its producer goes on trying without end.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.config.connection.connect_timeout = timeout;
        self
    }

    /// Sets the congestion controller of the connection. Default: [`Congestion::Cubic`]. [`Congestion::Thalweg`] is the one
    /// for links that lose packets.
    pub fn congestion(mut self, congestion: Congestion) -> Self {
        self.config.connection.transport.congestion = congestion;
        self
    }

    /// Sets the producer's name, 1 to 200 bytes. Default: a random one. A later producer of the same name
    /// [fences](Config::name) this one.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.config.name = Some(name.into());
        self
    }

    /// Sets what becomes of two live producers of one name. Default: [`NameConflict::Fence`].
    pub fn name_conflict(mut self, name_conflict: NameConflict) -> Self {
        self.config.name_conflict = name_conflict;
        self
    }

    /// Sets how many streams carry the messages of `send_async`. Default: [`Strategy::Adaptive`].
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.config.strategy = strategy;
        self
    }

    /// Lets a scaling policy of your own decide how many lanes there are: [`Strategy::custom`].
    pub fn policy<P: ScalePolicy + 'static>(
        self,
        make: impl Fn() -> P + Send + Sync + 'static,
    ) -> Self {
        self.strategy(Strategy::custom(make))
    }

    /// Keeps this number of lanes, 1 to 64: [`Strategy::Fixed`].
    pub fn fixed_lanes(self, lanes: NonZeroUsize) -> Self {
        self.strategy(Strategy::Fixed(lanes))
    }

    /// Sets the options of the adaptive strategy. Default: [`scaler::Config::default`], with up to 64 lanes.
    pub fn scaler(mut self, scaler: scaler::Config) -> Self {
        self.config.scaler = scaler;
        self
    }

    /// Sets the options of the stream pool. Default: [`pool::Config::default`].
    pub fn pool(mut self, pool: pool::Config) -> Self {
        self.config.pool = pool;
        self
    }

    /// Sets how many messages may be held at once, queued and unanswered together. Default 262 144, 1 to 16 777 215.
    pub fn buffer_messages(mut self, messages: usize) -> Self {
        self.config.buffer_messages = messages;
        self
    }

    /// Sets how many bytes may be held at once, queued and unanswered together, at 256 bytes for each message and its
    /// content. Default 64 MiB, 64 KiB to 512 GiB.
    pub fn buffer_bytes(mut self, bytes: u64) -> Self {
        self.config.buffer_bytes = bytes;
        self
    }

    /// Sets what `send` and `send_async` do when the buffer is full. Default: they wait, until `delivery_timeout`.
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.config.when_full = when_full;
        self
    }

    /// Sets the most bytes of key, headers and payload of one message. Default 8 MiB, at least 1. The broker's own limit
    /// applies too.
    pub fn max_message_bytes(mut self, bytes: u64) -> Self {
        self.config.max_message_bytes = bytes;
        self
    }

    /// Sets the bytes that one batch may have, about. Default 64 KiB, 1 KiB to 4 MiB. Larger batches cost less for each
    /// message; smaller ones let a lost packet stall fewer messages.
    pub fn batch_bytes(mut self, bytes: u64) -> Self {
        self.config.batch_bytes = bytes;
        self
    }

    /// Sets the messages that one batch may have. Default 4096, 1 to 65 536.
    pub fn batch_messages(mut self, messages: usize) -> Self {
        self.config.batch_messages = messages;
        self
    }

    /// Sets how long a lane that was woken waits for more messages before it takes those that are queued. Default zero, less
    /// than `delivery_timeout`.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.config.linger = linger;
        self
    }

    /// Sets the bytes after which a lane leaves the queue to the next lane. Default 1200, a packet; at least 1.
    pub fn lane_switch_bytes(mut self, bytes: u64) -> Self {
        self.config.lane_switch_bytes = bytes;
        self
    }

    /// Sets the time from the call to the outcome, including all retries. Default 120 s, 1 ms to a day.
    pub fn delivery_timeout(mut self, timeout: Duration) -> Self {
        self.config.delivery_timeout = timeout;
        self
    }

    /// Sets a folder for the messages that the buffer has no room for while no server can be reached, or all options of the
    /// spool. Default: none. One producer at a time can have a folder.
    #[cfg(feature = "spool")]
    pub fn spool(mut self, spool: impl Into<super::spool::Config>) -> Self {
        self.config.spool = Some(spool.into());
        self
    }

    /// Checks every option and starts the producer, which connects in the background. Must be called in a tokio runtime.
    ///
    /// Messages are accepted from the start; they are sent once there is a connection. A server that does not answer is tried
    /// without end: [`Producer::connection_state`] says why there is no connection yet. With a [spool](Config::spool), the
    /// calling thread waits for the disk while the folder is opened.
    ///
    /// # Errors
    /// [`BuildError`]: every wrong option at once, a certificate that cannot be used, or a spool that cannot be opened.
    pub fn build(self) -> Result<Producer, BuildError> {
        let Self { mut config } = self;
        let topic = config.checked()?;
        // One more than the lanes: the ordered stream comes from the same pool.
        let lanes = config.strategy.max_lanes(&config.scaler);
        config.pool.max = config.pool.max.max(lanes + 1);
        start(config, topic).map(Producer::from_inner)
    }

    /// Starts the producer as [`Builder::build`] does, and waits for the first connection, at most
    /// [`connect_timeout`](Self::connect_timeout).
    ///
    /// A program that must start before its broker does calls [`Builder::build`] instead: that producer accepts messages at
    /// once and goes on trying to connect.
    ///
    /// # Errors
    /// [`StartError`]: those of [`Builder::build`], or the reason why there is no connection. A refusal, and a certificate
    /// that is not trusted, are returned at once.
    ///
    /// # Cancel safety
    /// Dropped while it waits, it ends the producer and leaves nothing behind.
    pub async fn connect(self) -> Result<Producer, StartError> {
        let limit = self.config.connection.connect_timeout;
        let producer = self.build()?;
        producer.wait_connected_within(limit).await?;
        Ok(producer)
    }
}
