//! The connection between a client and its broker: made, watched, lost and made again, in one place.
//!
//! ```text
//! Config ─▶ Supervisor ─ looks up, dials (one address beside the other) ─▶ QUIC + TLS ─▶ session: Connect, Connected
//!               ▲                                                                           │
//!               └── why it ended ◀── pings, GoAway, close codes ◀───────────────────────────┤
//!               └─▶ ConnectionState: Connecting | Up(Session) | Down | Closed                        ▼
//!                              Session ── streams, round trips by ping, sight of the network: cwnd, in flight, losses
//! ```
//!
//! Networks drop, brokers restart, certificates expire. Everything above this folder would rather know only two
//! things: is there a connection, and if not, why. So one task owns the connection of a client. It publishes a state
//! that others await; nobody else reconnects, and nobody calls it.
//!
//! For both ends:
//!
//! | | |
//! |---|---|
//! | [`quic`] | the numbers of the transport, and endpoints with them |
//! | [`tls`] | who is trusted, who we are; the protocol's version in ALPN |
//! | [`network`] | where packets go: UDP, or something in its place |
//! | [`congestion`], [`sight`] | which congestion controller, and what it sees |
//! | [`close`] | the codes with which connections are closed, and what an ending means |
//! | [`dev_certs`] | a certificate authority for development |
//!
//! For clients:
//!
//! | | |
//! |---|---|
//! | [`config`] | the options |
//! | [`supervisor`] | the one owner of the connection |
//! | [`link`] | a connection whose session stands |
//! | [`error`] | why there is none, in one sentence, and what passes by itself |
//! | [`backoff`] | the waits between attempts |
//! | [`address`] | where a server is, as text |
//!
//! For servers: [`admission`], which attempts are taken up; [`reset`], how clients learn of a restart.

mod client;
mod quic;
mod server;
pub mod tls;

pub use {
    client::{
        Backoff, BackoffConfig, Config, ConnectError, ConnectErrorKind, ConnectionState, OpenError,
        PingStats, ServerAddress, ServerAddressError, Session, StartError, Supervisor, Token,
        client_config, client_config_for, client_endpoint, wait_connected,
    },
    quic::{
        BindError, CloseCode, CloseReason, Congestion, NetworkProvider, PathMonitor, PathStats,
        Resolving, Side, TransportConfig, Udp, any_local,
    },
    server::{
        ActiveCounts, Admission, DevCerts, DevCertsError, HandshakeError, StatelessResetKey,
        handshake, server_config, server_endpoint,
    },
    tls::{ClientTls, ServerTls, TlsError, Trust},
};

#[cfg(test)]
pub(crate) mod tests;
