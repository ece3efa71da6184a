//! The client end that sends.
//!
//! ```text
//! app ─ send_async ─▶ budget ─▶ queue (keys) ─▶ lane: batcher, window ─▶ pooled stream ─▶ connection
//! app ◀── receipt ◀── core ◀── requests in flight ◀── lane: answers ◀── pooled stream ◀── connection
//!                       gauges ─▶ scaling policy ─▶ number of lanes, with a reason
//! ```
//!
//! One message, in reading order: `intake.rs` takes it in, `budget.rs` has room for it, `chunk.rs` encodes it, `queue.rs` and `keys.rs`
//! hold its chunk, `lane.rs` pulls that, `batcher.rs` makes it a request, `inflight.rs` remembers it, and `outcomes.rs` settles its
//! outcome, which `receipt.rs` brings to the caller.
//!
//! What each file knows: `core.rs` what all of them share, `parking.rs` which lane sleeps, `feed.rs` where a lane's messages come from, `ordered.rs`
//! the road of `send`, `streams.rs` how the pool gets its streams, `resume.rs` what a reconnect brings to light, `turn.rs` who may write, `deadlines.rs` when it is
//! too late, `flush.rs` what came before a flush, `autoscale.rs` how many lanes there are and why, `spool` what goes to disk
//! while no server can be reached (feature `spool`).

mod answers;
mod autoscale;
mod batcher;
mod budget;
mod builder;
mod chunk;
mod config;
mod core;
mod deadlines;
mod error;
mod feed;
mod flush;
mod gauges;
mod handle;
mod inflight;
mod intake;
mod keys;
mod lane;
mod message;
mod ordered;
mod outcomes;
mod overdue;
mod parking;
mod per_message;
mod queue;
mod receipt;
mod resume;
mod road;
mod send;
mod sink;
#[cfg(feature = "spool")]
pub mod spool;
mod streams;
mod turn;

#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, time::Duration};

pub use autoscale::Lanes;
pub use builder::{BuildError, Builder, StartError};
pub use config::{Config, SameName, Strategy, WhenFull};
pub use error::{CloseError, Fate, FlushError, SendError, SendErrorKind, Undelivered};
pub use message::Message;
pub use receipt::{Ack, Receipt};
pub use send::{Send, SendAsync};

use self::{handle::Handle, intake::Way, sink::SinkState};
use crate::{TopicName, conn::ConnectError, conn::LinkState, time};

/// Sends messages to a broker. Clones are handles of the same producer.
///
/// | call | order | returns when |
/// |---|---|---|
/// | [`send`](Self::send) | of the calls, for this producer | the broker has accepted it |
/// | [`send_async`](Self::send_async) | none without a key; with one, of the calls for that key | there was room for it |
/// | [`try_send_async`](Self::try_send_async) | the same | at once |
/// | [`flush`](Self::flush) | | everything accepted before has its outcome |
///
/// # Drop
/// When the last handle goes, everything ends at once: what has no outcome is counted, warned of, and told to the
/// receipts. [`close`](Self::close) drains first.
pub struct Producer {
    inner: Arc<Handle>,
    sink: SinkState,
}

impl Producer {
    /// Begins to set options.
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn from_handle(handle: Handle) -> Self {
        Self {
            inner: Arc::new(handle),
            sink: SinkState::default(),
        }
    }

    /// Sends in order: messages of this call are stored in the order in which it was called, on a stream of their own.
    ///
    /// The message is taken in when this is called. Calls may overlap: a caller who does not await each one before the
    /// next has a pipeline.
    ///
    /// # Errors
    /// See [`Send`].
    ///
    /// # Cancel safety
    /// See [`Send`].
    pub fn send(&self, message: impl Into<Message>) -> Send<'_> {
        Send::new(&self.inner.core, message.into())
    }

    /// Sends on any lane, and resolves to a receipt once there was room for the message. Messages with the same key
    /// keep the order of the calls.
    ///
    /// # Errors
    /// See [`SendAsync`].
    ///
    /// # Cancel safety
    /// See [`SendAsync`].
    pub fn send_async(&self, message: impl Into<Message>) -> SendAsync<'_> {
        SendAsync::new(&self.inner.core, message.into(), Way::Lanes)
    }

    /// As [`send_async`](Self::send_async), and never waits.
    ///
    /// # Errors
    /// [`SendErrorKind::Full`] where there is no room at once, [`SendErrorKind::TooLarge`],
    /// [`SendErrorKind::Closed`], [`SendErrorKind::Disconnected`]. The message comes back in the error.
    pub fn try_send_async(&self, message: impl Into<Message>) -> Result<Receipt, SendError> {
        self.inner.core.enter_now(message.into(), Way::Lanes)
    }

    /// Waits until everything accepted before this call has its outcome, at most `deadline`.
    ///
    /// # Errors
    /// [`FlushError`] with the number of messages that have none yet. They stay with the producer.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn flush(&self, deadline: Duration) -> Result<(), FlushError> {
        let core = &self.inner.core;
        let flushed = time::timeout(deadline, core.eras.flush()).await;
        flushed.map_err(|_| FlushError { open: core.open() })
    }

    /// Takes no more messages, waits at most `deadline` for the outcomes, and ends: tasks, streams and connection.
    /// Other handles of this producer find it closed.
    ///
    /// # Errors
    /// [`CloseError`] hands back every message that had no outcome, with what is known of it. Their receipts say
    /// the same. What is in the spool on disk stays there and is counted; one second more may pass while what is in
    /// memory for it is written.
    ///
    /// # Cancel safety
    /// Dropped while it drains, it leaves the producer closed to new messages; the last handle's drop does the rest.
    pub async fn close(self, deadline: Duration) -> Result<(), CloseError> {
        let (undelivered, spooled) = self.inner.close(deadline).await;
        match undelivered.is_empty() && spooled == 0 {
            true => Ok(()),
            false => Err(CloseError {
                undelivered,
                spooled,
            }),
        }
    }

    /// Waits until there is a connection.
    ///
    /// # Errors
    /// Why there will be none.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn connected(&self) -> Result<(), Arc<ConnectError>> {
        self.inner.connected().await.map(drop)
    }

    /// The topic of messages that name none.
    #[must_use]
    pub fn topic(&self) -> &TopicName {
        &self.inner.core.topic
    }

    /// How many lanes there are and have been, and why.
    #[must_use]
    pub fn lanes(&self) -> Lanes {
        self.inner.lanes.borrow().clone()
    }

    /// The same, to be awaited: it changes with every look of the scaler.
    #[must_use]
    pub fn watch_lanes(&self) -> tokio::sync::watch::Receiver<Lanes> {
        self.inner.lanes.clone()
    }

    /// What the producer holds at this moment.
    #[must_use]
    pub fn load(&self) -> Held {
        let core = &self.inner.core;
        let (in_flight_messages, in_flight_bytes) = core.gauges.in_flight();
        Held {
            queued_messages: core.queue.len() + core.ordered.len(),
            queued_bytes: core.queue.bytes(),
            in_flight_messages,
            in_flight_bytes,
            waiting: core.budget.waiting(),
            retried: core.retried(),
        }
    }

    /// How it stands with the spool, to look at or to await; `None` where there is none.
    #[cfg(feature = "spool")]
    #[must_use]
    pub fn spool(&self) -> Option<tokio::sync::watch::Receiver<spool::State>> {
        self.inner.core.spool.as_ref().map(|spool| spool.state())
    }

    /// The state of the connection, to look at or to await.
    #[must_use]
    pub fn link(&self) -> tokio::sync::watch::Receiver<LinkState> {
        self.inner.road.links().to_watch()
    }
}

/// What a producer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Held {
    /// Messages that no lane has taken yet.
    pub queued_messages: usize,
    /// About how many bytes they will be in batches, those of `send` not counted.
    pub queued_bytes: u64,
    /// Messages in batches without an answer.
    pub in_flight_messages: usize,
    /// The bytes of these batches.
    pub in_flight_bytes: u64,
    /// Calls that wait for room.
    pub waiting: usize,
    /// Batches sent again so far.
    pub retried: u64,
}

impl Clone for Producer {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            sink: SinkState::default(),
        }
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("topic", self.topic())
            .field("load", &self.load())
            .field("lanes", &self.lanes().open)
            .finish_non_exhaustive()
    }
}
