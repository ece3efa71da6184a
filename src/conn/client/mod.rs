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
    control_stream::PingStats,
    endpoints::{client_config, client_config_for, client_endpoint},
    error::{ConnectError, ConnectErrorKind},
    session::Session,
    supervisor::{ConnectionState, StartError, Supervisor},
};
pub(crate) use {backoff::Backoff, session::OpenError, supervisor::wait_connected};
