//! A pool of tested streams, with a lower and an upper bound. It is generic over the kind of stream.
//!
//! A new QUIC stream is unknown to the peer until something is written on it, so an open proves nothing and costs a round trip
//! to be sure. A stream that a holder left in the middle of a frame would corrupt the next holder's frames. So this pool
//! opens streams ahead, tests each with a probe that the peer answers, lends it to one holder at a time, and tests it again
//! before anyone else gets it.
//!
//! ```text
//!  get() ──▶ waiters ──▶ PoolState ────────────────────────▶ PooledStream (guard)
//!            in the      idle · in use · returning ·              │ drop
//!            order of    checking · opening                       ▼
//!            their calls     ▲      │                        is_broken, then returning
//!                            │      ▼
//!                     probe · open · discard ◀── maintenance task ──▶ ManageStream (yours)
//! ```
//!
//! # Rules
//!
//! 1. A stream enters the pool only after it has answered a probe.
//! 2. Idle streams are probed in the background every [`Config::check_interval`]. Those that fail are discarded.
//! 3. A stream is tested at checkout ([`is_broken`](ManageStream::is_broken)) and when it comes back (`is_broken` at once, then
//!    a probe in the background while it counts as `returning`). One that fails is discarded and never handed out.
//! 4. A stream that was idle for longer than [`Config::max_idle`] is probed before its next use. One older than
//!    [`Config::max_age`] is closed.
//! 5. The pool keeps [`Config::min`] streams and never has more than [`Config::max`]. If the peer permits fewer, callers wait for
//!    a stream to come back. Every wait has a time limit.
//! 6. A guard that is dropped within a frame resets its stream ([`PooledStream::begin`], [`PooledStream::end`]). quinn would
//!    *finish* a stream that is merely dropped, and the peer would take half a frame for the end of the data.
//!
//! Callers never open or probe; the pool's tasks do. So a caller may drop its future at any await, and a stream that was begun
//! for it serves the next caller.
//!
//! # Failures
//!
//! A failed open is returned to the first waiting caller, unless another open or probe under way will serve it. Without a
//! waiting caller the pool opens up to `min` again after a pause that doubles with each failure ([`Config::open_retry`]). A
//! failed probe costs that stream and no caller. When the runtime of the maintenance task shuts down, the pool closes.
//!
//! # Bounds
//!
//! Streams are bounded by `max`, tasks by the number of streams plus one, and every wait by [`Config::checkout_timeout`]. The
//! queue holds one small entry per waiting caller.
//!
//! # Single mode
//!
//! [`Config::single`] makes a pool of one stream that all callers share, each for one frame or one request at a time, in the
//! order of their calls. Use it
//!
//! - where the peer keeps order per stream, and the order of your calls must be the order of processing;
//! - where the peer permits only one stream;
//! - for rare requests, for which a second stream would be idle.
//!
//! Use several streams where packets are lost (a lost packet delays only its own stream), where one write may take long, or
//! where the peer works through each stream one request at a time. A holder that is dropped within a frame costs the one
//! stream there is: the others wait until a new one is open and has answered its probe.
//!
//! # Example
//!
//! `examples/stream_pool.rs` does this over QUIC.
//!
//! ```
//! use anabranch::pool::{Config, EvictReason, ManageStream, PooledStream, StreamPool};
//!
//! /// Streams that need no network.
//! struct Memory;
//!
//! impl ManageStream for Memory {
//!     type Stream = Vec<u8>;
//!     type Error = std::io::Error;
//!
//!     async fn open(&self) -> Result<Vec<u8>, std::io::Error> {
//!         Ok(Vec::new())
//!     }
//!     async fn probe(&self, _stream: &mut Vec<u8>) -> Result<(), std::io::Error> {
//!         Ok(()) // over QUIC: send a probe, await the peer's answer
//!     }
//!     fn is_broken(&self, _stream: &Vec<u8>) -> bool {
//!         false
//!     }
//!     fn discard(&self, stream: Vec<u8>, _reason: EvictReason) {
//!         drop(stream) // over QUIC: reset and stop it
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pool = StreamPool::new(Memory, Config::single())?;
//! let mut stream = pool.get().await?;
//! PooledStream::begin(&mut stream); // a drop from here on would discard the stream
//! stream.extend_from_slice(b"a whole frame");
//! PooledStream::end(&mut stream);
//! drop(stream); // goes back to the pool
//! pool.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Files
//!
//! `manage.rs` the trait to implement; `stream_pool.rs` the handle; `guard.rs` the guard; `state.rs` what the pool decides
//! (sans-I/O, with `slot.rs` and `open_backoff.rs`); `shared.rs` the lock; `maintenance.rs` the tasks.

mod config;
mod error;
mod guard;
mod maintenance;
mod manage;
mod open_backoff;
mod shared;
mod slot;
mod state;
mod status;
mod stream_pool;

#[cfg(test)]
mod tests;

pub use config::Config;
pub use error::{PoolError, PoolErrorKind};
pub use guard::{FrameMark, PooledStream};
pub use manage::ManageStream;
pub use status::{Counts, EvictReason, Status, StreamId};
pub use stream_pool::StreamPool;
