//! A client's connection.
//!
//! ```text
//! supervisor ─▶ dial ─▶ endpoints        one attempt after the other; backoff: the delays between them
//!     │
//!     ├─▶ control_stream ─▶ ping         authentication, then pings until the connection is lost
//!     └─▶ session                        the handle of the connection that all others use
//! ```

mod address;
mod backoff;
mod config;
mod connection_state;
mod control_stream;
mod dial;
mod endpoints;
mod error;
mod ping;
mod session;
mod supervisor;

pub use {
    address::{ServerAddress, ServerAddressError},
    backoff::BackoffConfig,
    config::{Config, Token},
    connection_state::ConnectionState,
    control_stream::PingStats,
    endpoints::{client_config, client_config_for, client_endpoint},
    error::{ConnectError, ConnectErrorKind},
    session::Session,
    supervisor::{StartError, Supervisor},
};
pub(crate) use {backoff::Backoff, connection_state::wait_connected, session::OpenError};
