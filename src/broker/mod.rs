//! The far end: a durable broker, embedded in a process of yours or as a program of its own.
//!
//! ```text
//!              accept ─▶ session ─▶ stream ─┬─▶ lane ─────────▶ commit ─▶ store
//!  one task:   socket    connection  stream │    check, queue   one group   │
//!                        pings              │                   at a time   │ ends of topics
//!                                           ├─▶ subscription ◀── reads ─────┤
//!                                           │    credit, positions          │
//!                                           └─▶ list of topics              │
//!                                                              retention ───┘
//! ```
//!
//! What it does, and why so:
//!
//! - **Every stream has a task.** A lost packet, a slow reader or nonsense on one stream costs the others nothing.
//! - **One committer appends for all.** While the store makes one group of batches durable, the next gathers; the
//!   order of a stream is the order in its topics. An answer goes out when its group is durable, and the stream is
//!   read on meanwhile.
//! - **Everything is bounded**, and what is full pushes back: a slow store fills the committer's queue, that holds up
//!   the streams' readers, and QUIC's flow control the producers. See [`Limits`].
//! - **The store is the only memory.** Topics, what each producer has sent, positions: what a broker must know
//!   after a crash is behind the [`Store`](store::Store) trait. A repeat of a request is answered from there.
//! - **Failures stay where they are.** A damaged batch costs that batch, nonsense the stream, a missing session the
//!   connection. Nothing that comes from outside ends the broker.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::{sync::Arc, time::Duration};
//! use anabranch::broker::Broker;
//! use anabranch::store::{LogConfig, LogStore};
//!
//! let store = LogStore::open("data", LogConfig::default()).await?;
//! let broker = Broker::builder()
//!     .listen("127.0.0.1:4433".parse()?)
//!     .development_certificate("certificates")
//!     .store(Arc::new(store))
//!     .bind()
//!     .await?;
//! println!("serving at {}", broker.local_addr());
//! // ... until it is time to go:
//! broker.shutdown(Duration::from_secs(10)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! | | |
//! |---|---|
//! | [`Broker`], [`Handle`] | a broker that serves, and its end |
//! | [`Builder`], [`Config`], [`Limits`], [`Retention`] | what it is told |
//! | [`Tokens`], [`Permissions`], [`Pattern`] | who may do what |
//! | [`store`](crate::store) | where topics are stored |

mod accept;
mod auth;
mod builder;
mod commit;
mod config;
mod lane;
mod outgoing;
mod retention;
mod running;
mod session;
mod sessions;
mod shared;
mod source;
mod stream;
mod subscription;
#[cfg(test)]
pub(crate) mod tests;
mod topics;

use std::fmt;

pub use auth::{Pattern, PatternError, Permissions, TokenFileError, Tokens, TokensError};
pub use builder::{Builder, StartError};
pub use config::{Config, DEFAULT_PORT, Limits, Retention};
pub use running::{Broker, Handle, ServeError, ShutdownError};

use crate::{
    metrics::broker as metrics,
    wire::{Failure, FailureCode},
};

/// A refusal with its sentence: an error's own line, without its sources. Counted.
fn failure(code: FailureCode, detail: impl fmt::Display) -> Failure {
    metrics::rejected(code.as_str());
    Failure {
        code,
        detail: detail.to_string(),
    }
}
