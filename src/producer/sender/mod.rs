//! What goes out and comes back: lanes, their batches, and the requests without an outcome.
//!
//! ```text
//! (accumulator) ─▶ lane ─▶ batcher ─▶ requests ─▶ write gate ─▶ QUIC stream ─▶ broker
//!       ▲                                 │ ▲                                     │
//!       └──────────── release ────────────┘ └───────────── response ──────────────┘
//! ```
//!
//! | file | what it is |
//! |---|---|
//! | `lane.rs` | [`Lane`]: pulls a run, writes it, reads the responses |
//! | `source.rs` | which queue a lane pulls from |
//! | `run_size.rs` | how much it takes at once |
//! | `batcher.rs` | makes batches of chunks, and requests of batches |
//! | `requests.rs`, `in_flight.rs` | [`Requests`]: every request until its outcome, which it completes |
//! | `expired.rs` | expired batches that the broker may still store |
//! | `transport.rs`, `streams.rs`, `write_gate.rs` | the connection, its pooled streams, and who may write |
//! | `expiry.rs` | delivery deadlines |
//! | `recovery.rs` | what a reconnect reveals |
//! | `lane_stats.rs` | what each lane does at present, for the scaler |
//! | `per_message.rs` | a stream for each message, for comparison |

mod batcher;
mod context;
mod expired;
mod expiry;
mod in_flight;
mod lane;
mod lane_stats;
mod per_message;
mod recovery;
mod requests;
mod run_size;
mod source;
mod streams;
mod transport;
mod write_gate;

pub(crate) use context::LaneContext;
pub(crate) use expiry::expire_loop;
pub(crate) use lane::Lane;
pub(crate) use lane_stats::{LaneState, LaneStats};
pub(crate) use per_message::PerMessage;
pub(crate) use recovery::recover_loop;
pub(crate) use source::LaneSource;
pub(crate) use streams::Streams;
pub(crate) use transport::Transport;
#[cfg(feature = "spool")]
pub(crate) use {batcher::Request, requests::Requests, transport::current_session_and_mark_seen};
