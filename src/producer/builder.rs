//! How a producer begins.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{
    Config, NameConflict, Producer, Strategy, WhenFull,
    accumulator::{Accumulator, Cost},
    config::Scaling,
    producer::ProducerInner,
    scaling::{Autoscale, Lanes},
    sender::{
        Lane, LaneContext, LaneSource, PerMessage, Streams, Transport, expire_loop, recover_loop,
    },
};
#[cfg(feature = "spool")]
use super::{accumulator::Overflow, spool::Spool};
use crate::{
    TopicName,
    config::{ConfigError, Problems},
    conn::{self, Congestion, ConnectError, Supervisor, TlsError},
    ordered_watch,
    pool::StreamPool,
    scaler::{MAX_LANES, ScalePolicy},
    tasks::Tasks,
    wire::ProducerIdentity,
};

/// Options with which a producer cannot begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Fields that break a rule.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A certificate or key that cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The spool's folder cannot be used.
    #[cfg(feature = "spool")]
    #[error("the spool cannot be opened: {0}")]
    Spool(#[from] super::spool::OpenError),
}

impl From<conn::StartError> for BuildError {
    fn from(error: conn::StartError) -> Self {
        match error {
            conn::StartError::Config(error) => Self::Config(error),
            conn::StartError::Tls(error) => Self::Tls(error),
        }
    }
}

/// Why a producer did not begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Its options.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] Arc<ConnectError>),
}

/// Collects a producer's options. Setters never fail and never adjust; [`Builder::build`] checks all of them.
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until it builds"]
pub struct Builder {
    config: Config,
    strategy: Strategy,
    topic: String,
}

impl Builder {
    /// All options at once, in place of what was set before.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// A broker's `HOST:PORT`. May be called again: servers are tried in turn.
    pub fn server(mut self, server: impl Into<String>) -> Self {
        self.config.connection.servers.push(server.into());
        self
    }

    /// The topic of messages that name none. Required.
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.topic = topic.into();
        self
    }

    /// Who decides how much may be in flight towards the broker. Default: [`Congestion::Cubic`]; see
    /// [`congestion`](crate::congestion) for the one for links that lose.
    pub fn congestion(mut self, congestion: Congestion) -> Self {
        self.config.connection.transport.congestion = congestion;
        self
    }

    /// See [`Config::name`].
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.config.name = Some(name.into());
        self
    }

    /// See [`Config::name_conflict`].
    pub fn name_conflict(mut self, name_conflict: NameConflict) -> Self {
        self.config.name_conflict = name_conflict;
        self
    }

    /// How the broker's certificate is checked and what is shown to it. Default: the system's roots, nothing shown.
    pub fn tls(mut self, tls: conn::ClientTls) -> Self {
        self.config.connection.tls = tls;
        self
    }

    /// A token to show to the broker. Default: none.
    pub fn token(mut self, token: impl Into<conn::Token>) -> Self {
        self.config.connection.token = token.into();
        self
    }

    /// How many streams carry the messages of `send_async`. Default: [`Strategy::Adaptive`].
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// A scaling policy of one's own.
    pub fn policy(self, policy: impl ScalePolicy + 'static) -> Self {
        self.strategy(Strategy::Custom(Box::new(policy)))
    }

    /// Always `n` lanes.
    pub fn fixed_lanes(self, n: NonZeroUsize) -> Self {
        self.strategy(Strategy::Fixed(n))
    }

    /// See [`Config::buffer_messages`] and [`Config::buffer_bytes`].
    pub fn buffer(mut self, messages: u32, bytes: u64) -> Self {
        self.config.buffer_messages = messages;
        self.config.buffer_bytes = bytes;
        self
    }

    /// See [`Config::when_full`].
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.config.when_full = when_full;
        self
    }

    /// See [`Config::max_message_bytes`].
    pub fn max_message_bytes(mut self, bytes: usize) -> Self {
        self.config.max_message_bytes = bytes;
        self
    }

    /// See [`Config::linger`].
    pub fn linger(mut self, linger: Duration) -> Self {
        self.config.linger = linger;
        self
    }

    /// See [`Config::spool`].
    #[cfg(feature = "spool")]
    pub fn spool(mut self, spool: super::spool::Config) -> Self {
        self.config.spool = Some(spool);
        self
    }

    /// See [`Config::delivery_timeout`].
    pub fn delivery_timeout(mut self, timeout: Duration) -> Self {
        self.config.delivery_timeout = timeout;
        self
    }

    /// Checks every option and starts the producer, which connects in the background. Must be called in a tokio runtime.
    ///
    /// Messages are taken from the start; they go out once there is a connection. With a [spool](Config::spool), the calling
    /// thread waits for the disk while its folder is opened.
    ///
    /// # Errors
    /// Every wrong field at once.
    pub fn build(self) -> Result<Producer, BuildError> {
        let Self {
            mut config,
            strategy,
            topic,
        } = self;
        let mut problems = Problems::default();
        let name = TopicName::new(&topic);
        if let Err(error) = &name {
            problems.expect(false, "topic", &topic, error.to_string());
        }
        let most = match &strategy {
            Strategy::Adaptive => config.scaler.max_lanes,
            Strategy::Fixed(n) => n.get(),
            Strategy::Custom(_) => MAX_LANES,
            Strategy::PerMessage(_) => 1,
        };
        problems.expect(
            most <= MAX_LANES,
            "strategy",
            &strategy,
            format!("must have at most {MAX_LANES} lanes"),
        );
        problems.part(config.check());
        problems.into_result()?;
        // The check above has seen the topic.
        let Ok(topic) = name else {
            return Err(ConfigError::default().into());
        };
        // One more than the lanes: the ordered stream comes from the same pool.
        config.pool.max = config.pool.max.max(most + 1);
        start(config, strategy, topic)
    }

    /// As [`Builder::build`], and waits for the first connection.
    ///
    /// # Errors
    /// Every wrong field; or why there is no connection, where the broker refused, or nobody answered within
    /// `conn.connect_timeout`.
    ///
    /// # Cancel safety
    /// Dropped while it waits, it leaves nothing behind.
    pub async fn connect(self) -> Result<Producer, StartError> {
        let producer = self.build()?;
        producer.wait_connected().await?;
        Ok(producer)
    }
}

fn start(config: Config, strategy: Strategy, topic: TopicName) -> Result<Producer, BuildError> {
    let tasks = Tasks::new();
    let scaling = strategy.into_scaling(&config.scaler)?;
    let identity = identity(&config);
    let supervisor = Supervisor::start(config.connection.clone(), Some(identity), &tasks)?;
    let state = supervisor.ordered_state();
    let pool = StreamPool::new(Streams::new(state.clone()), config.pool.clone())?;
    let (recovered, asked) = ordered_watch::channel(0);
    let transport = Transport::new(state, asked, pool, tasks.stopped().clone());
    let buffer = Cost {
        messages: config.buffer_messages,
        bytes: config.buffer_bytes,
    };
    let config = Arc::new(config);
    #[cfg(feature = "spool")]
    let (buffer, spool) = Spool::open_in(buffer, config.spool.clone())?;
    let accumulator = Accumulator::new(Arc::clone(&config), topic, buffer);
    #[cfg(feature = "spool")]
    let accumulator = match &spool {
        Some(spool) => accumulator.with_overflow(Arc::clone(spool) as Arc<dyn Overflow>),
        None => accumulator,
    };
    let context = LaneContext::new(config, Arc::new(accumulator), transport);
    tasks.spawn(recover_loop(context.clone(), recovered));
    let (report, lanes) = watch::channel(Lanes::default());

    let source = LaneSource::Ordered(Arc::clone(context.accumulator.ordered()));
    let ordered = Lane::new(context.clone(), source, Arc::default());
    tasks.spawn(ordered.run());
    match scaling {
        Scaling::Policy(policy) => {
            let autoscale = Autoscale::new(context.clone(), tasks.clone(), policy, report);
            tasks.spawn(autoscale.run());
        }
        Scaling::PerMessage(streams) => {
            let dispatcher = PerMessage::new(context.clone(), tasks.clone(), streams);
            tasks.spawn(dispatcher.run());
        }
    }
    tasks.spawn(expire_loop(
        Arc::clone(&context.requests),
        context.config.delivery_timeout,
        tasks.stopped().clone(),
    ));
    #[cfg(feature = "spool")]
    if let Some(spool) = &spool {
        spool.start(&context.accumulator, &context.transport, &tasks);
    }
    let inner = ProducerInner::start(
        context,
        #[cfg(feature = "spool")]
        spool,
        tasks,
        supervisor,
        lanes,
    );
    Ok(Producer::from_inner(inner))
}

/// Who the broker is told we are.
fn identity(config: &Config) -> ProducerIdentity {
    let instance = fastrand::u64(..);
    let name = match (&config.name, config.name_conflict) {
        (None, _) => format!("anonymous-{instance:016x}"),
        (Some(name), NameConflict::Fence) => name.clone(),
        (Some(name), NameConflict::Distinct) => format!("{name}.{instance:016x}"),
    };
    ProducerIdentity {
        name,
        instance,
        id: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_producers_of_one_name_are_one_or_two_as_they_were_told() {
        let named = |name_conflict| {
            let config = Config {
                name: Some("n".repeat(183)),
                name_conflict,
                ..Config::default()
            };
            identity(&config)
        };
        let (one, other) = (named(NameConflict::Fence), named(NameConflict::Fence));
        assert_eq!(one.name, other.name);
        assert_ne!(one.instance, other.instance);
        let (one, other) = (named(NameConflict::Distinct), named(NameConflict::Distinct));
        assert_ne!(one.name, other.name);
        assert_eq!((one.name.len(), other.name.len()), (200, 200));
        assert!(one.name.starts_with("nnn"));
    }
}
