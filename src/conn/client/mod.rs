//! What only a client needs of a connection.

mod address;
mod backoff;
mod config;
mod dial;
mod endpoints;
mod error;
mod ping;
mod session;
mod session_stream;
mod supervisor;

pub use {
    address::{ServerAddress, ServerAddressError},
    backoff::{Backoff, BackoffConfig},
    config::{Config, Token},
    endpoints::{client_config, client_config_for, client_endpoint},
    error::{ConnectError, ConnectErrorKind},
    session::{OpenError, Session},
    session_stream::PingStats,
    supervisor::{ConnectionState, StartError, Supervisor, wait_connected},
};
