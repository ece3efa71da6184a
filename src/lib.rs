//! An async message producer over QUIC that opens another stream only when one would help, with an embedded
//! durable broker and consumers.

mod ids;
#[allow(dead_code)]
mod tasks;
#[allow(dead_code, unused_imports)]
mod time;
mod topic;

#[cfg(feature = "broker")]
pub mod broker;
#[allow(dead_code)]
pub mod conn;
#[cfg(feature = "producer")]
pub mod consumer;
pub mod pool;
pub mod scaler;
#[cfg(feature = "sim")]
pub mod sim;
pub mod wire;

pub use ids::{Offset, ProducerId, RequestId, Timestamp};
pub use topic::{TopicName, TopicNameError};
