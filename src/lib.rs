//! An async message producer over QUIC that opens another stream only when one would help, with an embedded durable
//! broker and consumers.
//!
//! ```no_run
//! # async fn f() -> Result<(), Box<dyn std::error::Error>> {
//! use anabranch::Producer;
//!
//! let producer = Producer::builder().server("broker.example:4433").topic("events").connect().await?;
//! let receipt = producer.send_async("it happened").await?; // there was room for it
//! let ack = receipt.await?; // it is stored
//! println!("stored: {ack}"); // events@0
//! # Ok(()) }
//! ```
//!
//! # The map, in reading order
//!
//! | module | what it is |
//! |---|---|
//! | [`producer`] | the client end that sends; its page follows one message through six short files |
//! | [`scaler`] | how many lanes, and why: the law, pure, and the trait to bring another |
//! | [`pool`] | a generic pool of tested streams |
//! | [`conn`] | TLS, the session, pings, and the one owner of reconnecting |
//! | [`wire`] | packets and batches; bytes in, packets out |
//! | [`broker`] | the far end: streams, group commit, subscriptions |
//! | [`store`] | where topics live: in memory, or a log on disk |
//! | [`consumer`] | reading: credit, named positions, resuming |
//! | [`metrics`] | every metric, what it means, and what a high value says |
//! | [`units`] | durations, sizes, rates and ratios as text |
//! | `sim` | a simulated network in virtual time (feature `sim`) |
//!
//! Client and broker meet only in [`wire`]. Files that begin with `//! Pure:` decide and do nothing else: no I/O, no
//! clock, no chance; the shell next door owns the task and the socket.
//!
//! # Features
//!
//! `producer` (also brings [`consumer`]) and `broker` by default; `spool` gives a producer a log on disk for
//! outages; `cli` builds the program; `sim` brings the simulated network.

#![cfg_attr(
    test,
    allow(
        clippy::cast_possible_truncation,
        reason = "models in tests count in floats"
    )
)]

mod config;
#[cfg(feature = "serde")]
mod de;
mod ids;
pub mod metrics;
#[cfg(any(feature = "producer", test))]
mod ordered_watch;
#[cfg(feature = "producer")]
mod sync;
mod tasks;
mod time;
mod topic;
pub mod units;

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
#[cfg(any(feature = "broker", feature = "spool"))]
pub mod store;
pub mod wire;

#[cfg(feature = "broker")]
pub use broker::Broker;
pub use config::{ConfigError, Problem};
#[cfg(feature = "producer")]
pub use consumer::Consumer;
pub use ids::{Offset, ProducerId, RequestId, Timestamp};
#[cfg(feature = "producer")]
pub use producer::{Ack, Message, Producer, Receipt, SendError};
pub use topic::{TopicName, TopicNameError};

/// The code in the readme compiles.
#[cfg(all(doctest, feature = "producer", feature = "broker"))]
#[doc = include_str!("../README.md")]
struct Readme;
