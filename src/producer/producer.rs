//! `Producer`, the handle that applications have.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_sink::Sink;
use tokio::sync::watch;

#[cfg(feature = "spool")]
use super::spool;
use super::{
    CloseError, FlushError, Lanes, Message, Receipt, SendAsyncFuture, SendError, SendFuture,
    accumulator::Route, inner::ProducerInner, sink::SinkState,
};
use crate::{
    TopicName,
    conn::{ConnectError, ConnectionState},
    time,
};

/// Sends messages to a broker. Clones are handles of the same producer.
///
/// ```no_run
/// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use anabranch::{Message, Producer};
///
/// let producer = Producer::builder().server("broker.example:4433").topic("events").connect().await?;
///
/// // In order, one after the other.
/// let ack = producer.send("started").await?;
/// println!("stored: {ack}");
///
/// // On any lane; in order for each key.
/// let receipt = producer.send_async(Message::new("paid").with_key("customer-7")).await?;
/// receipt.await?;
///
/// producer.close(Duration::from_secs(10)).await?;
/// # Ok(()) }
/// ```
///
/// | method | order | resolves when |
/// |---|---|---|
/// | [`send`](Self::send) | of the first polls, for this producer | the broker has stored the message |
/// | [`send_async`](Self::send_async) | none without a key; with one, of the first polls for that key | there is room for the message in the buffer |
/// | [`try_send_async`](Self::try_send_async) | none without a key; with one, of the calls for that key | it does not wait |
/// | [`flush`](Self::flush) | | every message that was accepted before has its outcome |
///
/// A method `x()` returns a snapshot, and `watch_x()` a receiver of its changes.
///
/// # Drop
/// When the last handle is dropped, and no future of `send` or `send_async` is left, the producer ends at once: messages
/// without an outcome are counted, logged, and told to their receipts. [`close`](Self::close) delivers them first.
pub struct Producer {
    pub(super) inner: Arc<ProducerInner>,
    sink: SinkState,
}

impl Producer {
    pub(super) fn from_inner(inner: ProducerInner) -> Self {
        Self {
            inner: Arc::new(inner),
            sink: SinkState::default(),
        }
    }

    /// Sends a message in order, on a stream of its own, and resolves to its [`Ack`](super::Ack).
    ///
    /// The messages of this method are stored in the order in which their futures are first polled. A caller who does not
    /// await each future before the next one, but for example uses [`buffered`], has a pipeline:
    ///
    /// ```no_run
    /// # async fn f(producer: anabranch::Producer) -> Result<(), anabranch::SendError> {
    /// use futures_util::{StreamExt, TryStreamExt, stream};
    ///
    /// let sends = stream::iter(0..1000).map(|n| producer.send(format!("step {n}")));
    /// let acks: Vec<_> = sends.buffered(100).try_collect().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// The future does nothing until it is polled: without an `.await`, the message is not sent.
    ///
    /// # Errors
    /// See [`SendFuture`].
    ///
    /// # Cancel safety
    /// See [`SendFuture`].
    ///
    /// [`buffered`]: https://docs.rs/futures-util/latest/futures_util/stream/trait.StreamExt.html#method.buffered
    pub fn send(&self, message: impl Into<Message>) -> SendFuture {
        SendFuture::new(&self.inner, message.into())
    }

    /// Sends a message on any lane, and resolves to its [`Receipt`] once there is room for it in the buffer.
    ///
    /// Messages with the same key are stored in the order in which their futures are first polled. The future owns what it
    /// needs:
    ///
    /// ```no_run
    /// # async fn f(producer: anabranch::Producer) -> Result<(), Box<dyn std::error::Error>> {
    /// let accepted = tokio::spawn(producer.send_async("hello"));
    /// let receipt = accepted.await??;
    /// # Ok(()) }
    /// ```
    ///
    /// The future does nothing until it is polled: without an `.await`, the message is not sent.
    ///
    /// # Errors
    /// See [`SendAsyncFuture`].
    ///
    /// # Cancel safety
    /// See [`SendAsyncFuture`].
    pub fn send_async(&self, message: impl Into<Message>) -> SendAsyncFuture {
        SendAsyncFuture::new(&self.inner, message.into(), Route::Unordered)
    }

    /// Sends a message on any lane like [`send_async`](Self::send_async), at the call and without waiting. Dropping the
    /// receipt does not withdraw the message.
    ///
    /// # Errors
    /// [`Full`](super::SendErrorKind::Full) if there is no room now, [`TooLarge`](super::SendErrorKind::TooLarge),
    /// [`Closed`](super::SendErrorKind::Closed), [`Disconnected`](super::SendErrorKind::Disconnected). The error returns
    /// the message.
    pub fn try_send_async(&self, message: impl Into<Message>) -> Result<Receipt, SendError> {
        self.inner
            .context
            .accumulator
            .try_submit(message.into(), Route::Unordered)
    }

    /// Waits until every message that was accepted before this call has its outcome, at most `deadline`.
    ///
    /// # Errors
    /// [`FlushError`] with the number of messages that have no outcome yet. They stay with the producer.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn flush(&self, deadline: Duration) -> Result<(), FlushError> {
        let accumulator = &self.inner.context.accumulator;
        let flushed = time::timeout(deadline, accumulator.epochs().flush()).await;
        flushed.map_err(|_| FlushError {
            open: accumulator.unresolved(),
        })
    }

    /// Accepts no more messages, waits at most `deadline` until every message has its outcome, and ends the producer with its
    /// tasks, streams and connection. All handles of the producer are closed.
    ///
    /// # Errors
    /// [`CloseError`] returns every message that had no outcome, with what is known of it. Their receipts resolve to the
    /// same. Messages in the spool stay on disk and are counted; the call may take one second more than `deadline` to write
    /// those that are on their way to disk.
    ///
    /// # Cancel safety
    /// Dropped while it waits, it leaves the producer closed to new messages. The drop of the last handle ends the rest.
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

    /// Returns the topic of messages that name none.
    #[must_use]
    pub fn topic(&self) -> &TopicName {
        self.inner.context.accumulator.topic()
    }

    /// Returns how many lanes there are and have been, and the reason of the last change.
    #[must_use]
    pub fn lanes(&self) -> Lanes {
        self.inner.lanes.borrow().clone()
    }

    /// Returns a receiver of the number of lanes, which changes with every decision of the scaling policy.
    #[must_use]
    pub fn watch_lanes(&self) -> watch::Receiver<Lanes> {
        self.inner.lanes.clone()
    }

    /// Returns what the producer holds at this moment.
    #[must_use]
    pub fn stats(&self) -> ProducerStats {
        let context = &self.inner.context;
        let (in_flight_messages, in_flight_bytes) = context.requests.stats().in_flight();
        ProducerStats {
            queued_messages: context.accumulator.queued_messages(),
            queued_bytes: context.accumulator.queue().bytes(),
            in_flight_messages,
            in_flight_bytes,
            waiting: context.accumulator.waiting_calls(),
            retried: context.requests.retried(),
        }
    }

    /// Returns the state of the spool; `None` without one.
    #[cfg(feature = "spool")]
    #[must_use]
    pub fn spool_state(&self) -> Option<spool::State> {
        self.watch_spool_state().map(|state| state.borrow().clone())
    }

    /// Returns a receiver of the state of the spool, which changes with it; `None` without a spool.
    #[cfg(feature = "spool")]
    #[must_use]
    pub fn watch_spool_state(&self) -> Option<watch::Receiver<spool::State>> {
        self.inner.spool.as_ref().map(|spool| spool.state())
    }

    /// Returns the state of the connection.
    #[must_use]
    pub fn connection_state(&self) -> ConnectionState {
        self.inner.context.transport.state().borrow().clone()
    }

    /// Returns whether there is a connection.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        matches!(self.connection_state(), ConnectionState::Connected(_))
    }

    /// Waits until there is a connection, at most `limit`.
    ///
    /// # Errors
    /// The reason why there is none, in words. It is returned at once where waiting does not help, as for a certificate that
    /// is not trusted. Unless the error is [final], the producer goes on trying.
    ///
    /// # Cancel safety
    /// Cancel safe.
    ///
    /// [final]: crate::conn::ConnectErrorKind::is_final
    pub async fn wait_connected_within(&self, limit: Duration) -> Result<(), Arc<ConnectError>> {
        self.inner.wait_connected_within(limit).await.map(drop)
    }

    /// Waits until there is a connection, without a limit.
    ///
    /// # Errors
    /// The reason why there will be none.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn wait_connected(&self) -> Result<(), Arc<ConnectError>> {
        self.inner.wait_connected().await.map(drop)
    }

    /// Returns a receiver of the state of the connection, which changes with it.
    #[must_use]
    pub fn watch_connection_state(&self) -> watch::Receiver<ConnectionState> {
        self.inner.context.transport.state().as_watch()
    }
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
            .field("stats", &self.stats())
            .field("lanes", &self.lanes().open)
            .finish_non_exhaustive()
    }
}

/// Sends by [`Producer::send_async`]. `poll_flush` waits for the outcome of everything sent through this handle;
/// `poll_close` does the same and leaves the producer open.
///
/// A sink returns no receipts: the next call returns the first failure of a message that was sent through this handle.
/// Each clone of a producer is a sink of its own.
impl Sink<Message> for Producer {
    type Error = SendError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        let this = &mut *self;
        this.sink.poll_ready(&this.inner.context.accumulator, cx)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), SendError> {
        let this = &mut *self;
        this.sink
            .start_send(&this.inner.context.accumulator, message)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        let this = &mut *self;
        this.sink.poll_flush(&this.inner.context.accumulator, cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        self.poll_flush(cx)
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.sink.leave(&self.inner.context.accumulator);
    }
}

/// What a producer holds at one moment. See [`Producer::stats`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ProducerStats {
    /// Messages that were accepted and that no lane has taken yet.
    pub queued_messages: usize,
    /// The bytes that the queued messages will take in batches, about. Those of `send` are not counted.
    pub queued_bytes: u64,
    /// Messages in batches that the broker has not answered yet.
    pub in_flight_messages: usize,
    /// The bytes of the batches that the broker has not answered yet.
    pub in_flight_bytes: u64,
    /// Calls of `send` and `send_async` that wait for room in the buffer.
    pub waiting: usize,
    /// Batches that were written to a stream again, since the producer started.
    pub retried: u64,
}
