//! Administers the topics of a broker: lists, creates, changes, empties and deletes them.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use anabranch::{Admin, admin::{Config, RetentionLimit, TopicRetention}};
//!
//! let mut admin = Admin::connect(Config::to("broker.example:4433")).await?;
//! let week = TopicRetention {
//!     max_age: RetentionLimit::At(Duration::from_secs(7 * 24 * 60 * 60)),
//!     ..TopicRetention::default()
//! };
//! admin.create_topic(&"events".parse()?, week).await?;
//! for topic in admin.topics().await? {
//!     println!("{}: {} bytes", topic.name, topic.bytes);
//! }
//! # Ok(()) }
//! ```
//!
//! Where the broker has tokens, that of the client needs the permission `admin:PATTERN` for changes. Lists show what the
//! client may produce to, consume or administer.
//!
//! | | |
//! |---|---|
//! | [`Admin`], [`Config`] | a connection, and its options |
//! | [`TopicInfo`], [`TopicRetention`], [`RetentionLimit`], [`PositionInfo`] | what is known of a topic |
//! | [`AdminError`] | errors |

mod client;
mod error;

pub use client::Admin;
pub use error::AdminError;

pub use crate::{
    conn::Config,
    wire::{Failure, FailureCode, PositionInfo, RetentionLimit, TopicInfo, TopicRetention},
};
