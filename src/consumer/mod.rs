//! Reads a topic in order. A process gets each message once, and the next process continues where it stopped.
//!
//! ```text
//! broker ═ deliveries ═▶ check ─▶ cursor ─▶ queue (bounded by credit) ─▶ Consumer::recv ─▶ application
//!    ▲◀═ Credit ◀──────────────── credit ◀── what was taken ◀──────────────┘                   │
//!    └◀═ Acknowledge ◀──── the newest acknowledgement ◀──── Consumer::ack ◀────────────────────┘
//! ```
//!
//! A [`Consumer`] uses one ordered stream. It gives the broker credit, so that at most [`Config::credit_bytes`] and one
//! batch wait for the application. After a reconnect it resumes after the last message it received, so the application
//! gets each offset once. If the topic was deleted meanwhile, or the broker's log is another one than before, the consumer
//! ends with [`FailureCode::TopicReplaced`]. With a [`Config::name`], the broker stores the acknowledged position, and the
//! next consumer of that name begins there: messages that were received and not acknowledged are delivered again. A name has
//! one consumer at a time: a later one shuts out the earlier, which ends with [`FailureCode::Fenced`].
//!
//! Each batch is checked against the checksum that its producer computed. A mismatch ends the consumer with
//! [`ConsumeErrorKind::Corrupt`]; the batch is never skipped silently. Messages that retention dropped before they were
//! read are counted in [`Received::skipped`].
//!
//! [`Consumer`] has an example.
//!
//! | | |
//! |---|---|
//! | [`Consumer`], [`Received`], [`Record`] | messages, one after another |
//! | [`Builder`], [`Config`], [`Start`] | options |
//! | [`Acker`] | acknowledges from another task |
//! | [`ConsumeError`], [`AckError`] | errors |

mod ack;
mod builder;
mod config;
#[expect(
    clippy::module_inception,
    reason = "the file of `Consumer` is called as every other file of a type"
)]
mod consumer;
mod credit;
mod cursor;
mod error;
mod received;
mod subscription;
#[cfg(feature = "broker")]
#[cfg(test)]
mod tests;

pub use ack::{AckError, Acker};
pub use builder::Builder;
pub use config::Config;
pub use consumer::Consumer;
pub use error::{ConsumeError, ConsumeErrorKind};
pub use received::Received;

pub use crate::wire::{
    DecodeError, Failure, FailureCode, Header, ParseStartError, Record, ResumePoint, Start,
};
