//! How a producer starts: what it has, and which tasks it runs.

use std::sync::Arc;

use tokio::sync::watch;

use super::{
    Config, NameConflict,
    accumulator::{Accumulator, Cost},
    inner::ProducerInner,
    limits::MAX_BUFFER_MESSAGES,
    scaling::{Autoscale, Lanes},
    sender::{
        Lane, LaneContext, LaneSource, PerMessage, Streams, Transport, expire_loop, recover_loop,
    },
    strategy::Scaling,
};
#[cfg(feature = "spool")]
use super::{
    accumulator::Overflow,
    spool::{self, Spool},
};
use crate::{
    TopicName,
    config::ConfigError,
    conn::{self, ConnectError, Supervisor, TlsError},
    ordered_watch,
    pool::StreamPool,
    tasks::Tasks,
    wire::ProducerIdentity,
};

/// Why a producer was not built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Some options break a rule.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A certificate or a key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The spool's folder cannot be used.
    #[cfg(feature = "spool")]
    #[error("the spool cannot be opened")]
    Spool(#[from] spool::OpenError),
}

impl From<conn::StartError> for BuildError {
    fn from(error: conn::StartError) -> Self {
        match error {
            conn::StartError::Config(error) => Self::Config(error),
            conn::StartError::Tls(error) => Self::Tls(error),
        }
    }
}

/// Why a producer did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// It was not built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] Arc<ConnectError>),
}

/// Starts the tasks of a producer with options that were checked.
pub(super) fn start(config: Config, topic: TopicName) -> Result<ProducerInner, BuildError> {
    let tasks = Tasks::new();
    let scaling = config.strategy.scaling(&config.scaler)?;
    let identity = identity(&config);
    let supervisor = Supervisor::start(config.connection.clone(), Some(identity), &tasks)?;
    let state = supervisor.ordered_state();
    let pool = StreamPool::new(Streams::new(state.clone()), config.pool.clone())?;
    let (recovered, asked) = ordered_watch::channel(0);
    let transport = Transport::new(state, asked, pool, tasks.stopped().clone());
    let buffer = Cost {
        messages: u32::try_from(config.buffer_messages).unwrap_or(MAX_BUFFER_MESSAGES),
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
        spool.start(&context, &tasks);
    }
    Ok(ProducerInner::new(
        context,
        #[cfg(feature = "spool")]
        spool,
        tasks,
        supervisor,
        lanes,
    ))
}

/// Returns the identity that the producer states to the broker.
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

    #[cfg(feature = "spool")]
    #[test]
    fn why_a_spool_cannot_be_opened_is_told_once() {
        let error = BuildError::from(spool::OpenError::InUse("spool".into()));
        let source = std::error::Error::source(&error).expect("the reason");
        assert!(source.to_string().contains("in use"), "{source}");
        assert!(!error.to_string().contains("in use"), "{error}");
    }
}
