//! The connection between a client and its broker: QUIC, TLS, authentication, pings, reconnecting.
//!
//! Networks fail, brokers restart and certificates expire. The code above this module needs to know only whether there is a
//! connection, and if not, why. One task, the supervisor, owns the connection of a client. It resolves names, connects,
//! authenticates, sends pings and reconnects, and it publishes a [`ConnectionState`] that all others wait for. Nothing else
//! reconnects.
//!
//! ```text
//! Config ─▶ supervisor ─▶ resolve, dial (addresses in parallel) ─▶ QUIC and TLS handshake ─▶ authenticate
//!               ▲                                                                                  │
//!               ├─◀ connection lost: no pong, close code, transport error ◀────────────────────────┤
//!               │                                                                                  ▼
//!               └─▶ ConnectionState: Connecting, Connected(Session), Reconnecting, Closed       Session
//! ```
//!
//! | folder | |
//! |---|---|
//! | `client` | the options, the supervisor and what it needs, the [`Session`], errors |
//! | `server` | admission of connections, stateless resets, development certificates |
//! | `quic` | transport options, UDP sockets, congestion control, path statistics, close codes |
//! | [`tls`] | trusted authorities and certificates |
//!
//! `client` and `server` use `quic` and `tls`, and nothing points the other way.
//!
//! # How it fails
//!
//! A client is not given up for a server that does not answer: before the first connection as after it, the supervisor tries
//! without end. It ends only if the broker refuses the client for good ([`ConnectErrorKind::is_final`]): another version, a
//! later producer of the name, or credentials that are refused after their files were read again. A call that waits for the
//! first connection returns after [`Config::connect_timeout`], or at once where waiting does not help
//! ([`ConnectErrorKind::is_retryable`]). Within a second of silence, the state says that there is no answer, and what the
//! likely causes are. Every failure is a [`ConnectError`] that prints in one line.

#[cfg(any(feature = "producer", test))]
mod client;
#[cfg_attr(
    not(any(feature = "producer", feature = "broker")),
    allow(dead_code, reason = "either end uses it")
)]
mod quic;
#[cfg(any(feature = "broker", feature = "dev-certs", test))]
mod server;
pub mod tls;

pub use quic::{
    BindError, CloseCode, CloseReason, Congestion, CongestionError, NetworkProvider, PathStats,
    PortClosed, Resolving, Side, TransportConfig, Udp,
};
pub use tls::{ClientTls, ServerTls, TlsError, Trust};

#[cfg(any(feature = "producer", test))]
pub use client::{
    BackoffConfig, Config, ConnectError, ConnectErrorKind, ConnectionState, PingStats,
    ServerAddress, ServerAddressError, Session, StartError, Token,
};
#[cfg(all(feature = "dev-certs", any(feature = "testing", feature = "sim")))]
pub use server::TestCertificate;
#[cfg(any(feature = "broker", test))]
pub use server::{Admission, StatelessResetKey};
#[cfg(any(feature = "dev-certs", test))]
pub use server::{DevCerts, DevCertsError};

#[cfg(any(feature = "producer", test))]
pub(crate) use client::{Backoff, OpenError, Supervisor, connect_within, wait_connected};
#[cfg(any(feature = "broker", test))]
pub(crate) use server::{ActiveCounts, handshake, server_config, server_endpoint};

/// What the program, the laboratory and the tests of this workspace use beside the public names. No part of the public
/// interface: it may change with any version.
#[doc(hidden)]
pub mod internals {
    pub use super::quic::PathMonitor;

    #[cfg(any(feature = "producer", test))]
    pub use super::client::{Supervisor, client_config, client_config_for, client_endpoint};
    #[cfg(any(feature = "broker", test))]
    pub use super::server::{server_config, server_endpoint};
}

#[cfg(test)]
pub(crate) mod tests;
