//! A client's connection.
//!
//! ```text
//! supervisor ─▶ dial ─▶ endpoints        one attempt after the other; backoff: the delays between them
//!     │
//!     ├─▶ control_stream ─▶ ping         authentication, then pings until the connection is lost
//!     ├─▶ session                        the handle of the connection that all others use
//!     └─▶ credentials                    certificates and token, read anew before each attempt
//! ```

mod address;
mod backoff;
mod config;
mod connection_state;
mod control_stream;
mod credentials;
mod dial;
mod endpoints;
mod error;
mod ping;
mod session;
mod supervisor;
mod token;

pub use {
    address::{ServerAddress, ServerAddressError},
    backoff::BackoffConfig,
    config::Config,
    connection_state::ConnectionState,
    control_stream::PingStats,
    endpoints::{client_config, client_config_for, client_endpoint},
    error::{ConnectError, ConnectErrorKind},
    session::Session,
    supervisor::{StartError, Supervisor},
    token::Token,
};
pub(crate) use {
    backoff::Backoff,
    connection_state::{connect_within, wait_connected},
    session::OpenError,
};
