//! An async message producer over QUIC that opens another stream only when one would help, with an embedded
//! durable broker and consumers.

mod config;
mod ids;
pub mod metrics;
mod tasks;
mod time;
mod topic;

#[cfg(feature = "broker")]
pub mod broker;
pub mod conn;
#[cfg(feature = "producer")]
pub mod consumer;
pub mod pool;
#[cfg(feature = "producer")]
pub mod producer;
pub mod scaler;
#[cfg(feature = "sim")]
pub mod sim;
pub mod wire;

pub use config::{ConfigError, Problem};
pub use ids::{Offset, ProducerId, RequestId, Timestamp};
#[cfg(feature = "producer")]
pub use producer::{Ack, Message, Producer, Receipt, SendError};
pub use topic::{TopicName, TopicNameError};
