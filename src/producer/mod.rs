//! The client end that sends.
//!
//! ```text
//! app ─ send_async ─▶ budget ─▶ queue, by key ─▶ lane: batcher ─▶ requests ─▶ pooled stream ─▶ broker
//! app ◀── receipt ◀──────────────────────────────────────────── requests ◀── pooled stream ◀─ broker
//!                     lane statistics ─▶ scaling policy ─▶ number of lanes, with a reason
//! ```
//!
//! # One message, from `send_async` to its `Ack`
//!
//! 1. `producer.rs`: [`Producer::send_async`] returns a future.
//! 2. `send.rs`: its first poll submits the message; while there is no room, it waits in line.
//! 3. `accumulator/accept.rs`: determines its size, reserves room, and appends it to a queue.
//! 4. `accumulator/budget.rs`: counts its messages and bytes until the outcome.
//! 5. `accumulator/queue.rs`: holds it until a lane pulls it; a keyed message waits in an ordered sub-queue.
//! 6. `accumulator/chunk.rs`: encodes it, beside others that will have the same outcome; what has an order is encoded in
//!    `sender/batcher.rs`.
//! 7. `sender/lane.rs`: one task with one stream takes a run of chunks and writes it.
//! 8. `sender/batcher.rs`: makes a batch of the chunks, and a request of the batch.
//! 9. `sender/requests.rs`: gives the request its id, and completes it by the broker's response.
//! 10. `receipt.rs`: brings the outcome to the caller.
//!
//! # Rooms
//!
//! | folder | what it is | uses |
//! |---|---|---|
//! | `accumulator/` | what waits: budget, queues, chunks | |
//! | `sender/` | what goes out and comes back: lanes, batches, requests, streams, deadlines, reconnects | `accumulator/` |
//! | `scaling/` | how many lanes there are, and why | both |
//! | [`spool`] | what goes to disk while no server can be reached (feature `spool`) | both |
//!
//! Each folder's page says what its files are.

mod accumulator;
mod builder;
mod config;
mod error;
mod inner;
mod limits;
mod message;
#[allow(
    clippy::module_inception,
    reason = "the file of `Producer` is called as every other file of a type"
)]
mod producer;
mod receipt;
mod scaling;
mod send;
mod sender;
mod sink;
#[cfg(feature = "spool")]
pub mod spool;
#[cfg(feature = "spool")]
mod spool_config;
mod start;
mod strategy;
mod waiters;

#[cfg(all(test, feature = "testing"))]
mod stopped_threads;
#[cfg(test)]
mod tests;

pub use builder::Builder;
pub use config::{Config, NameConflict, NameConflictError, WhenFull};
pub use error::{CloseError, Fate, FlushError, SendError, SendErrorKind, Undelivered};
pub use message::Message;
pub use producer::{Producer, ProducerStats};
pub use receipt::{Ack, Receipt};
pub use scaling::Lanes;
pub use send::{SendAsyncFuture, SendFuture};
pub use start::{BuildError, StartError};
pub use strategy::{PolicyFactory, Strategy, StrategyError};

pub use crate::wire::FailureCode;
