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
//! # For applications
//!
//! | | |
//! |---|---|
//! | [`Producer`] | sends messages; [`producer::Builder`] and [`producer::Config`] have its options |
//! | [`Message`], [`Receipt`], [`Ack`], [`SendError`] | what is sent, and what became of it |
//! | [`Consumer`] | reads a topic, and resumes where it was |
//! | [`Admin`] | lists, creates, changes, empties and deletes topics |
//! | [`Broker`] | an embedded durable broker; [`store`] has its log |
//! | [`producer::Strategy`], [`scaler`] | how many lanes carry the messages, and a trait for policies of your own |
//! | [`metrics`] | every metric, its meaning, and what a high value says |
//! | `testing` | a broker for unit tests, in one call (feature `testing`) |
//! | `sim` | producers and brokers over a simulated network, in virtual time (feature `sim`) |
//!
//! The program `anabranch` and the laboratory `anabranch-lab` are crates of their own.
//!
//! # For contributors
//!
//! | module | what it is |
//! |---|---|
//! | [`producer`] | the client end that sends; its page follows one message through ten files |
//! | [`scaler`] | the law that decides how many lanes there are |
//! | [`pool`] | a generic pool of tested streams |
//! | [`conn`] | connections: TLS, sessions, pings, reconnecting |
//! | `wire` | packets and batches, from bytes and to bytes |
//! | [`broker`] | the far end: streams, group commit, subscriptions |
//! | [`store`] | where topics are kept: in memory, or in a log on disk |
//! | [`consumer`] | reading: credit, named positions, resuming |
//! | [`admin`] | questions about topics |
//!
//! Client and broker share `wire` alone. Files that begin with `//! Sans-I/O:` make decisions: they have no I/O, no clock, no
//! locks and no randomness. The drivers beside them own the tasks and the sockets.
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `producer` (default) | [`Producer`] and [`Consumer`] |
//! | `broker` (default) | [`Broker`] and [`store`] |
//! | `spool` | a log on disk for what a producer's memory cannot hold during an outage |
//! | `serde` | `Message::json`, and options from configuration files |
//! | `dev-certs` | certificates for development (on with `broker`) |
//! | `testing` | a broker for unit tests |
//! | `sim` | the simulated network |

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
mod text;
mod time;
mod topic;
pub mod units;

#[cfg(feature = "producer")]
pub mod admin;
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
#[cfg(feature = "testing")]
pub mod testing;
pub mod wire;

#[cfg(feature = "producer")]
pub use admin::Admin;
#[cfg(feature = "broker")]
pub use broker::Broker;
pub use config::{ConfigError, Problem};
#[cfg(feature = "producer")]
pub use consumer::Consumer;
pub use ids::{Offset, ProducerId, RequestId, Timestamp, TopicIdentity};
#[cfg(feature = "producer")]
pub use producer::{Ack, Message, Producer, Receipt, SendError};
pub use topic::{TopicName, TopicNameError};

/// The code in the readme compiles.
#[cfg(all(doctest, feature = "producer", feature = "broker"))]
#[doc = include_str!("../README.md")]
struct Readme;
