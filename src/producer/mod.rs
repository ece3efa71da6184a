//! The client end that sends.
//!
//! ```text
//! app ─ send_async ─▶ budget ─▶ queue (keys) ─▶ lane: batcher, window ─▶ pooled stream ─▶ connection
//! app ◀── receipt ◀── core ◀── requests in flight ◀── lane: answers ◀── pooled stream ◀── connection
//!                       gauges ─▶ scaling policy ─▶ number of lanes, with a reason
//! ```
//!
//! One message, in reading order: `intake.rs` takes it in, `budget.rs` has room for it, `chunk.rs` encodes it, `queue.rs` and `keys.rs`
//! hold its chunk, `lane.rs` pulls that, `batcher.rs` makes it a request, `inflight.rs` remembers it, and `outcomes.rs` settles its
//! outcome, which `receipt.rs` brings to the caller.
//!
//! What each file knows: `core.rs` what all of them share, `parking.rs` which lane sleeps, `feed.rs` where a lane's messages come from, `ordered.rs`
//! the road of `send`, `streams.rs` how the pool gets its streams, `resume.rs` what a reconnect brings to light, `turn.rs` who may write, `deadlines.rs` when it is
//! too late, `flush.rs` what came before a flush, `autoscale.rs` how many lanes there are and why, `spool` what goes to disk
//! while no server can be reached (feature `spool`).

mod accumulator;
mod builder;
mod config;
mod error;
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
mod strategy;

#[cfg(test)]
mod tests;

pub use builder::{BuildError, Builder, StartError};
pub use config::{Config, NameConflict, NameConflictError, WhenFull};
pub use error::{CloseError, Fate, FlushError, SendError, SendErrorKind, Undelivered};
pub use message::Message;
pub use producer::{Producer, ProducerStats};
pub use receipt::{Ack, Receipt};
pub use scaling::Lanes;
pub use send::{SendAsyncFuture, SendFuture};
pub use strategy::{PolicyFactory, Strategy, StrategyError};
