//! The stream pool: streams that are open, tested and ready, within a lower and an upper bound.
//!
//! Opening a stream costs a round trip before it is known to work, because an unwritten QUIC stream does not
//! exist for the peer; and a stream that was left in the middle of a frame is worse than none. So streams are
//! opened ahead, proved by a probe that the peer's own task answers, lent to one holder at a time behind a guard,
//! and looked at again before anybody else gets them.
//!
//! ```text
//!   get() ─▶ line ───────────── Slots: the books ─────────────▶ PooledStream (guard)
//!            first come,   idle · in use · returning · testing           │ Drop
//!            first served  opening · min · max · why each left        ▼
//!                                ▲         │                   is_broken, then returning
//!                                │         ▼
//!                          probe · open · discard ◀── keeper (one task) ──▶ ManageStream (yours)
//! ```
//!
//! Its rules:
//!
//! 1. A stream is probed before it enters the pool, and only one that passes enters.
//! 2. Idle streams are probed in the background ([`Config::check_interval`]), and bad ones leave.
//! 3. A stream is tested again at checkout (`is_broken`) and before it is put back (`is_broken` at once, then a
//!    probe in the background while it counts as `returning`); a bad one is discarded and never handed out.
//! 4. One that lay for longer than [`Config::max_idle`] is probed before its next use, and one older than
//!    [`Config::max_age`] is retired.
//! 5. [`Config::min`] are kept open, [`Config::max`] is never passed, and a peer that permits fewer makes
//!    nobody hang: an open has a time limit, and callers wait in line for what comes back.
//!
//! Callers never open or probe. They wait in line, and the pool's own tasks do the rest, so a caller may give up at
//! any await and what was begun for it is there for the next.
//!
//! How it fails: an open that fails is told to the caller at the head of the line, where nothing else on its way
//! would serve it. With nobody in line, the pool tries to get back to `min` after a pause that doubles
//! ([`Config::open_retry`]). A probe that fails costs that stream, never a caller. When the keeper's runtime goes,
//! the pool closes.
//!
//! Its bounds: streams by `max`; tasks by streams, and one; every wait by [`Config::checkout_timeout`]; the line by
//! the callers themselves, one small entry for each that is waiting.
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
//!     fn discard(&self, stream: Vec<u8>, _why: EvictReason) {
//!         drop(stream) // over QUIC: reset it and stop it
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pool = StreamPool::new(Memory, Config::default())?;
//! let mut stream = pool.get().await?;
//! PooledStream::begin(&mut stream); // dropped from here on, the stream would be discarded
//! stream.extend_from_slice(b"a whole frame");
//! PooledStream::end(&mut stream);
//! drop(stream); // goes back, and is tested before anyone else gets it
//! pool.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! *Single mode* is the same pool with one stream and fair turns: [`Config::single`].
//!
//! Reading order: [`ManageStream`], `slots.rs` (the books, pure, with `slot.rs` and `pace.rs`), `guard.rs`, `shared.rs` (the lock), `keeper.rs`
//! (the tasks), `stream_pool.rs` (the handle).

mod config;
mod error;
mod guard;
mod keeper;
mod manage;
mod pace;
mod shared;
mod single;
mod slot;
mod slots;
mod status;
mod stream_pool;

#[cfg(test)]
mod tests;

pub use config::Config;
pub use error::{PoolError, PoolErrorKind, TryGetError};
pub use guard::PooledStream;
pub use manage::ManageStream;
pub use status::{Counts, EvictReason, Status, StreamId};
pub use stream_pool::StreamPool;
