//! What waits: messages from the call until a lane takes them.
//!
//! ```text
//!                           ┌ no key ─▶ the thread's open chunk ─┐
//! send, send_async ─▶ budget┼ a key ──▶ its sub-queue ───────────┼─▶ (a lane pulls)
//!                       ▲   └ `send` ─▶ the ordered queue ───────┘
//!                       └──────── release, by the outcome
//! ```
//!
//! | file | what it is |
//! |---|---|
//! | `accept.rs` | [`Accumulator`]: reserves room, appends to a queue, frees what an outcome frees |
//! | `budget.rs` | how many messages and bytes a producer may hold, and the line of calls that wait |
//! | `queue.rs`, `queue_reader.rs` | the queue that all lanes share, and a lane's end of it |
//! | `hand_over.rs`, `thread_number.rs` | where threads leave open chunks and lanes take them; a place for each thread |
//! | `chunk.rs` | encoded messages that travel together |
//! | `key_shards.rs` | ordered sub-queues, each owned by one lane at a time |
//! | `ordered.rs` | the queue of `send` |
//! | `queued.rs` | a message in one of these two |
//! | `lane_waker.rs`, `sleeper.rs` | which lanes sleep, which one is woken, and how |
//! | `flush_epochs.rs` | how a flush knows that everything before it has its outcome |
//! | `backlog_alarm.rs`, `count.rs` | when the scaler is woken, and how much waits |
//!
//! # No thread waits for another one
//!
//! From the call to the queue and from the queue to a lane there is no lock to wait for and no loop that ends only when
//! another thread goes on. A thread may be stopped anywhere in a call, for as long as you like: all other calls, and the
//! lanes, go on.
//!
//! - **Every message passes a queue of `crossbeam-queue`.** Without a key it is encoded into an open chunk, which its thread
//!   takes out of a queue with one place, appends to, and puts back. With a key, or by `send`, it is an entry of its own in a
//!   queue without limit, encoded by the lane; the order of that queue is the order of the calls.
//! - **A chunk that is out** belongs to one thread: the 64 first threads of a process have a place each. So a stopped thread
//!   keeps its own messages of that chunk, and those of other threads only where more than 64 send at once.
//! - **Order of messages without a key**: none is promised, not between threads and not within one. Several lanes take them.
//! - **Accepted** is a message once it is counted in its [flush epoch](flush_epochs), which is before it is in a queue. A flush
//!   waits for a thread that was stopped after that. `close` does so up to its deadline; a call that goes on even later
//!   finds the producer ended, and gives its message its outcome itself.
//! - **Wake-ups** carry nothing: see [`sleeper`]. Work is put in its place first, and a lane is woken afterwards; so if a
//!   thread is stopped in between, the next one wakes the lane.
//! - **Only a full budget makes a call wait**, and such a call does not block its thread.
//!
//! What a thread does in a call is a bounded number of steps, except that a compare-and-swap which fails is tried again: it
//! fails because another thread has succeeded (*lock-free*). `release` and the counts of flush epochs and queues are single
//! additions (*wait-free*). Inside their own calls, for a few instructions, crossbeam's queues may wait for a thread that
//! is in the middle of the same queue, and `AtomicWaker` and tokio's scheduler have windows of their own.
//!
//! `tests/models` goes through these hand-overs with loom, and `stopped_threads.rs` stops threads in the middle of calls.

mod accept;
mod backlog_alarm;
mod budget;
mod chunk;
mod count;
mod flush_epochs;
mod hand_over;
mod key_shards;
mod lane_waker;
mod ordered;
#[cfg(test)]
mod pause;
mod queue;
mod queue_reader;
mod queued;
mod sleeper;
mod thread_number;

pub(crate) use accept::{Accumulator, FRAMING, Route, Submitted, WaiterId};
#[cfg(feature = "spool")]
pub(crate) use accept::{Overflow, PendingMessage, Size};
pub(crate) use budget::Cost;
#[cfg(feature = "spool")]
pub(crate) use budget::{Budget, Reservation};
#[cfg(test)]
pub(crate) use chunk::Entry;
pub(crate) use chunk::{Chunk, ChunkStart, base_time, messages_of};
pub(crate) use key_shards::ShardId;
pub(crate) use lane_waker::{MAX_LANES, ORDERED};
pub(crate) use ordered::OrderedQueue;
#[cfg(all(test, feature = "testing"))]
pub(crate) use pause::{Point, stop_this_thread};
pub(crate) use queue::{Queue, Run, Taken};
pub(crate) use queue_reader::{Item, ItemReader, QueueReader, ShardReader, Take};
pub(crate) use queued::Queued;

use super::limits::{MAX_BUFFER_BYTES, MAX_BUFFER_MESSAGES};

const _: () = assert!(
    MAX_BUFFER_MESSAGES <= budget::MAX_MESSAGES && MAX_BUFFER_BYTES <= budget::MAX_BYTES,
    "the largest buffer fits in a budget"
);
