//! A simulated UDP network in virtual time, for deterministic tests of programs that use quinn.
//!
//! Tests over real sockets depend on the machine's timing, and cannot lose the 17th packet twice. Here a link is a few
//! numbers (delay, rate, queue, loss …), a run is repeated by its seed, and ten minutes of traffic pass in as much time
//! as the processor needs for them. Quinn and the program run unchanged: the network provides quinn's socket and runtime.
//!
//! # Example
//!
//! Two plain quinn endpoints over a link of 20 Mbit/s and 80 ms round trip that loses 1 % of its packets:
//!
//! ```
//! use std::{error::Error, sync::Arc, time::Duration};
//!
//! use quinn::{
//!     ClientConfig, Endpoint, EndpointConfig, ServerConfig,
//!     rustls::{RootCertStore, pki_types::PrivatePkcs8KeyDer},
//! };
//! use quinn_simnet::{LinkConfig, Loss, Rate};
//!
//! # fn main() -> Result<(), Box<dyn Error>> {
//! // A certificate for the server, as on any network.
//! let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)?;
//! let certificate = rcgen::CertificateParams::new(["server".to_owned()])?.self_signed(&key)?;
//! let mut roots = RootCertStore::empty();
//! roots.add(certificate.der().clone())?;
//! let client_config = ClientConfig::with_root_certificates(Arc::new(roots))?;
//! let key = PrivatePkcs8KeyDer::from(key.serialize_der());
//! let server_config = ServerConfig::with_single_cert(vec![certificate.der().clone()], key.into())?;
//!
//! // The seed decides which packets are lost.
//! let elapsed = quinn_simnet::run(7, async |net| -> Result<Duration, Box<dyn Error>> {
//!     // Two hosts, and a link each way.
//!     let (client_ip, server_ip) = ([10, 0, 0, 1], [10, 0, 0, 2]);
//!     let link = LinkConfig::default()
//!         .delay(Duration::from_millis(40))
//!         .rate(Rate::mbit(20))
//!         .loss(Loss::Random(0.01));
//!     let (there, _back) = net.connect(client_ip.into(), server_ip.into(), link)?;
//!
//!     // Two endpoints on simulated sockets, with the runtime of the network.
//!     let endpoint = |socket, server| {
//!         let mut config = EndpointConfig::default();
//!         config.rng_seed(Some([7; 32]));
//!         Endpoint::new_with_abstract_socket(config, server, socket, net.runtime())
//!     };
//!     let server = endpoint(net.socket((server_ip, 4433).into())?, Some(server_config))?;
//!     let client = endpoint(net.socket((client_ip, 0).into())?, None)?;
//!
//!     // From here on, everything is quinn.
//!     let receiving = tokio::spawn(async move {
//!         let connection = server.accept().await.unwrap().await.unwrap();
//!         let mut stream = connection.accept_uni().await.unwrap();
//!         let received = stream.read_to_end(1_000_000).await.unwrap().len();
//!         (connection, received)
//!     });
//!     let connection = client.connect_with(client_config, (server_ip, 4433).into(), "server")?.await?;
//!     let mut stream = connection.open_uni().await?;
//!     stream.write_all(&[42; 1_000_000]).await?;
//!     stream.finish()?;
//!     let (_server_connection, received) = receiving.await?;
//!
//!     assert_eq!(received, 1_000_000);
//!     assert!(there.counters().dropped.lost > 0);
//!     Ok(net.elapsed())
//! })?;
//! assert!(elapsed > Duration::from_millis(400)); // 1 MB at 20 Mbit/s
//! # Ok(())
//! # }
//! ```
//!
//! # How it works
//!
//! ```text
//! quinn ─▶ Socket ─▶ route ─▶ Link: cut? MTU? queue at the rate, lost? delay, jitter, … ─▶ RecvQueue ─▶ Socket ─▶ quinn
//!                              ▲ Change                                                        │
//!          Direction ──────────┘ at once or scheduled               Timeline ◀── next arrival ─┘
//!                                                                      │ when no task can run
//!                                                                      ▼
//!                                                               tokio's paused clock
//! ```
//!
//! The network carries bytes and knows no protocol. Its decisions are made by sans-I/O modules, around which the sockets,
//! the clock and the [`run`] are drivers:
//!
//! | module | contents |
//! |---|---|
//! | `config`, `counters` | what a link is like, and what it has counted |
//! | `queue`, `loss`, `link` | the fate of a packet: tail-drop queue or policer, random loss, everything together |
//! | `recv_queue` | packets in flight to a socket, in the order of their arrival |
//! | `timeline`, `clock` | exact alarms, and the driver that advances tokio's clock |
//! | `state`, `shared` | the state of the network, and its one lock |
//! | `direction`, `socket`, `network`, `host` | the handles |
//! | `runtime`, `run` | quinn's timers and tasks; a run |
//!
//! # Exactness
//!
//! Packets, quinn's timers on [`Network::runtime`] and [`Network::sleep`] are exact to the nanosecond. Tokio's own timers
//! are late by less than a millisecond, as everywhere. [`run`] has the details, and what makes a run repeat exactly.
//!
//! # Faults
//!
//! | fault | how |
//! |---|---|
//! | delay, jitter, rate | [`LinkConfig`], [`Rate`] |
//! | full queue, policer | [`Queue`] |
//! | loss, at random or in bursts | [`Loss`], [`Direction::lose_next`] |
//! | reordering, duplication, corruption, ECN marks, MTU | [`LinkConfig`] |
//! | outage of one direction or of both | [`Direction::cut`], [`Direction::restore`] |
//! | stall | [`Change::Stall`] |
//! | a path that changes | [`Direction::apply`], [`Direction::schedule`] |
//! | NAT rebinding; migration | [`Socket::rebind`]; `quinn::Endpoint::rebind_abstract` |
//! | a shared bottleneck | [`Network::route`] over the same [`Direction`] |
//!
//! # Limits
//!
//! - A run uses one thread. Work on other threads is not waited for.
//! - There are no routers: a path between two hosts is one link each way.
//! - Sockets are quinn's. Code that opens a `std` or tokio socket leaves the simulation.
//!
//! The messaging library anabranch tests its delivery guarantees and measures its control loops with this crate.

mod clock;
mod config;
mod counters;
mod direction;
mod host;
mod link;
mod loss;
mod network;
mod queue;
mod recv_queue;
mod run;
mod runtime;
mod shared;
mod socket;
mod state;
mod tasks;
mod tcp_cubic;
mod time;
mod timeline;

pub use config::{ConfigError, LinkConfig, Loss, Queue, Rate, Reorder};
pub use counters::{Counters, DropReason, Drops, PacketCounts};
pub use direction::Direction;
pub use host::Host;
pub use link::{Change, Delivery, Link, PacketFate, PacketNumber};
pub use network::Network;
pub use run::{LIMIT, run, run_within};
pub use runtime::SimRuntime;
pub use socket::Socket;
pub use tcp_cubic::{TcpCubic, TcpCubicConfig};
pub use time::elapsed;

#[cfg(test)]
mod tests;
