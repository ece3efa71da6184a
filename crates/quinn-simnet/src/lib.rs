//! The simulated network: UDP in virtual time, with every fault that a real path has and dice that fall the same
//! way each time.
//!
//! Whether more streams help depends on the path: its loss, its delay, its queue. No laboratory has all paths, no
//! test on a real one can be repeated, and both take as long as they take. Here a path is a few numbers, a run is
//! its seed, and ten minutes pass in one, or less.
//!
//! ```text
//! quinn ─▶ Socket ─▶ route ─▶ Link: cut? fits? queue at the rate, lost? delay, jitter, … ─▶ Inbox ─▶ Socket ─▶ quinn
//!                              ▲ Change                                                       │
//!          Direction ──────────┘ by hand or by schedule            Timeline ◀── next arrival ─┘
//!                                                                     │ when no task can run
//!                                                                     ▼
//!                                                              tokio's paused clock
//! ```
//!
//! The network carries bytes and knows no protocol. Decisions fall in pure files (`config`, `loss`, `queue`,
//! `link`, `inbox`, `timeline`); around them stand the sockets, the clock and the [`run`].
//!
//! # Exactness
//!
//! Packets, quinn's timers on [`Network::runtime`] and [`Network::sleep`] are exact to the nanosecond. Tokio's own
//! timers are late by less than a millisecond, as they are everywhere. [`run`] tells the whole story.
//!
//! # Words for faults
//!
//! | word | how |
//! |---|---|
//! | delay, jitter, rate | [`LinkConfig`], [`Rate`] |
//! | full queue, policer | [`Queue`] |
//! | loss, at random or in bursts | [`Loss`], [`Direction::lose_next`] |
//! | reorder, duplicate, corrupt, mark, too large | [`LinkConfig`] |
//! | cut (both directions), blackhole (one) | [`Direction::cut`], [`Direction::restore`] |
//! | stall | [`Change::Stall`] |
//! | a path that changes | [`Direction::apply`], [`Direction::schedule`] |
//! | a client that moves, and does not know or knows | [`Socket::rebind`], `quinn::Endpoint::rebind_abstract` |
//! | a shared bottleneck | [`Network::route`] with the same [`Direction`] |

mod clock;
mod config;
mod counters;
mod direction;
mod host;
mod inbox;
mod link;
mod loss;
mod network;
mod queue;
mod runtime;
mod socket;
mod time;
mod timeline;

pub use config::{ConfigError, LinkConfig, Loss, Queue, Rate, Reorder};
pub use counters::{Counters, DropReason, Drops, Tally};
pub use direction::Direction;
pub use host::Host;
pub use link::{Change, Delivery, Link, PacketNumber, Verdict};
pub use network::Network;
pub use runtime::{LIMIT, SimRuntime, run, run_within};
pub use socket::Socket;
pub use time::elapsed;

#[cfg(test)]
mod tests;
