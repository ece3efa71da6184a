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
mod private_file;
pub mod quic;
pub mod reset;
mod session;
pub mod sight;
mod sockets;
pub mod supervisor;
pub mod tls;

pub use close::{CloseCode, CloseReason};
pub use config::{Config, Token};
pub use congestion::Congestion;
pub use error::{ConnectError, ConnectErrorKind};
pub use link::{OpenError, Session};
pub use reset::StatelessResetKey;
pub use session::PingStats;
pub use sight::{PathMonitor, PathStats};
pub use supervisor::{ConnectionState, StartError, Supervisor, wait_connected};
pub use tls::{ClientTls, ServerTls, TlsError, Trust};

#[cfg(test)]
mod loopback;
#[cfg(test)]
pub(crate) mod testing;
