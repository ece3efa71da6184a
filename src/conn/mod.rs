//! The connection.
pub mod admission;
pub mod close;
pub mod congestion;
pub mod dev_certs;
pub mod network;
mod problem;
pub mod quic;
pub mod sight;
pub mod tls;
pub(crate) use problem::Problems;
pub use problem::{ConfigError, Problem};
