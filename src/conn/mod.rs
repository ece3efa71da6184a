//! The connection.
pub mod address;
pub mod admission;
pub mod backoff;
pub mod close;
pub mod config;
pub mod congestion;
pub mod dev_certs;
mod dial;
pub mod error;
pub mod link;
pub mod network;
mod ping;
mod problem;
pub mod quic;
mod session;
pub mod sight;
mod sockets;
pub mod supervisor;
#[cfg(test)]
mod testing;
pub mod tls;
pub(crate) use problem::Problems;
pub use problem::{ConfigError, Problem};
