//! A durable broker, embedded in a process of yours or run as a program.
//!
//! ```text
//!              accept ─▶ session ─▶ dispatch ─┬─▶ produce stream ─▶ commit ─▶ store
//!  one task:   socket    connection  stream   │    check, queue     one group   │
//!                        pings                │                     at a time   │ ends of topics
//!                                             ├─▶ subscription ◀──── reads ─────┤
//!                                             │    credit, positions            │
//!                                             └─▶ list of topics                │
//!                                                                  retention ───┘
//! ```
//!
//! - **Every stream has a task.** A lost packet, a slow consumer or a malformed packet on one stream does not affect the
//!   others.
//! - **One committer appends for all streams.** While the store makes one group of batches durable, the next group
//!   gathers. The order of a stream is the order in its topics. An answer is sent when its group is durable, and the
//!   stream is read on meanwhile.
//! - **Everything is bounded**, and a full queue pushes back: a slow store fills the committer's queue, then streams are
//!   not read, and QUIC's flow control holds up the producers. See [`Limits`].
//! - **All state is in the store.** Topics, what each producer has sent, positions of consumers: everything that must
//!   survive a crash is kept by the [`Store`](crate::store::Store). A repeated request is answered from there.
//! - **Failures stay local.** A damaged batch costs that batch, a malformed packet its stream, a failed session its
//!   connection. Nothing that a client sends ends the broker.
//!
//! [`Broker`] has an example.
//!
//! | | |
//! |---|---|
//! | [`Broker`], [`Handle`] | a running broker, and its shutdown |
//! | [`Builder`], [`Config`], [`Limits`], [`Retention`] | options |
//! | [`Tokens`], [`Permissions`], [`Pattern`] | who may do what |
//! | [`store`](crate::store) | where messages are stored |

mod accept;
mod auth;
#[expect(
    clippy::module_inception,
    reason = "the file of `Broker` is called as every other file of a type"
)]
mod broker;
mod builder;
mod commit;
mod config;
mod connection_counter;
mod dispatch;
mod endpoint;
mod failure;
mod log_limit;
mod packets;
mod produce_stream;
mod producer_registry;
mod reader_registry;
mod retention;
mod session;
mod shared;
mod subscription;
#[cfg(test)]
pub(crate) mod tests;
mod time_check;
mod topic;
mod topic_admin;
mod topic_reader;
mod topics;

pub use auth::{Pattern, PatternError, Permissions, TokenFileError, Tokens, TokensError};
pub use broker::{Broker, Handle, ServeError, ShutdownError};
pub use builder::{Builder, StartError};
pub use config::{Config, DEFAULT_PORT, Limits, Retention};
