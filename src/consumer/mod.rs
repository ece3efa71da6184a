//! Reading a topic: in order, each message once for as long as the process lives, and from where it stopped
//! in the next one.
//!
//! ```text
//! broker ═ deliveries ═▶ check ─▶ cursor ─▶ queue (bounded by credit) ─▶ Consumer::recv ─▶ app
//!    ▲◀═ Credit ◀──────────────── credit ◀── what the app has taken ◀──────┘               │
//!    └◀═ Acknowledge ◀──── the newest of what is acknowledged ◀──── Consumer::ack ◀────────┘
//! ```
//!
//! A [`Consumer`] has one ordered stream. It lets the broker send so much that never more than
//! [`Config::credit_bytes`] and one batch wait for the application. After a reconnect it resumes behind the last
//! message it has, so the application sees each offset once. With a [`Config::name`], the broker keeps the position
//! that was last acknowledged, and the next process of that name begins there: what was handed out and not
//! acknowledged comes again.
//!
//! Each batch is checked against the checksum its producer made. One that does not match ends the consumer with
//! [`ConsumeErrorKind::Corrupt`]; it is never passed over in silence. Messages that retention has dropped before they
//! could be read are counted in [`Received::skipped`].
//!
//! | | |
//! |---|---|
//! | [`Consumer`], [`Received`] | messages, one after another |
//! | [`Builder`], [`Config`] | what to read, from where, from whom |
//! | [`Acker`] | acknowledging from elsewhere |
//! | [`list_topics`] | which topics there are |
//! | [`ConsumeError`], [`AckError`] | what can go wrong |

mod ack;
mod builder;
mod config;
mod credit;
mod cursor;
mod error;
mod packets;
mod receive;
mod stream;
#[cfg(feature = "broker")]
#[cfg(test)]
mod tests;
mod topics;

pub use ack::{AckError, Acker};
pub use builder::Builder;
pub use config::Config;
pub use error::{ConsumeError, ConsumeErrorKind};
pub use receive::{Consumer, Received};
pub use topics::list_topics;

pub use crate::wire::{Start, TopicInfo};
