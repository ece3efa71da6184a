//! What waits: messages from the call until a lane takes them.
//!
//! ```text
//! send, send_async ─▶ accept ─▶ budget ─▶ queue ─▶ chunk ─▶ (a lane pulls)
//!                                 ▲         └ key_shards: order by key
//!                                 └──────── release, by the outcome
//! ```
//!
//! | file | what it is |
//! |---|---|
//! | `accept.rs` | [`Accumulator`]: reserves room, appends to a queue, frees what an outcome frees |
//! | `budget.rs` | how many messages and bytes a producer may hold, and the line of calls that wait |
//! | `queue.rs`, `queue_reader.rs` | the queue that all lanes share, and a lane's end of it |
//! | `key_shards.rs` | ordered sub-queues, each owned by one lane at a time |
//! | `ordered.rs` | the queue of `send` |
//! | `chunk.rs` | encoded messages that travel together |
//! | `lane_waker.rs` | which lanes sleep, and which one is woken |
//! | `flush_epochs.rs` | how a flush knows that everything before it has its outcome |
//! | `backlog_alarm.rs` | when the scaler is woken |

mod accept;
mod backlog_alarm;
mod budget;
mod chunk;
mod flush_epochs;
mod key_shards;
mod lane_waker;
mod ordered;
mod queue;
mod queue_reader;

pub(crate) use accept::{Accumulator, FRAMING, Route, Submitted};
#[cfg(feature = "spool")]
pub(crate) use accept::{Overflow, PendingMessage, Size};
#[cfg(feature = "spool")]
pub(crate) use budget::{Budget, Reservation};
pub(crate) use budget::{Cost, WaiterId};
pub(crate) use chunk::{Chunk, messages_of};
#[cfg(test)]
pub(crate) use chunk::{ChunkStart, Entry};
pub(crate) use key_shards::ShardId;
pub(crate) use lane_waker::{MAX_LANES, ORDERED};
pub(crate) use ordered::OrderedQueue;
pub(crate) use queue::{Queue, QueueItem, Run};
pub(crate) use queue_reader::{ItemReader, QueueReader, ShardReader, Take};

use super::limits::{MAX_BUFFER_BYTES, MAX_BUFFER_MESSAGES};

const _: () = assert!(
    MAX_BUFFER_MESSAGES <= budget::MAX_MESSAGES && MAX_BUFFER_BYTES <= budget::MAX_BYTES,
    "the largest buffer fits in a budget"
);
