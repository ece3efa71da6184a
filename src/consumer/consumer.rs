//! [`Consumer`].

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::Stream;
use tokio::sync::{mpsc, oneshot};

use super::{
    AckError, Acker, Config, ConsumeError,
    ack::AckState,
    received::{Received, ReceivedBatch},
    subscription::SubscriptionTask,
};
use crate::{
    Offset, TopicIdentity,
    conn::Supervisor,
    tasks::Tasks,
    time,
    wire::{Batch, ResumePoint, Subscribed},
};

/// Reads one topic. Created by [`Consumer::builder`].
///
/// It is also a [`Stream`] of what [`Consumer::recv`] returns, which ends after the first error. Dropping a consumer
/// closes its connection without waiting until acknowledgements are confirmed; see [`Consumer::close`].
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use anabranch::{Consumer, consumer::Start};
///
/// let mut consumer = Consumer::builder()
///     .server("broker.example:4433")
///     .ca_file("ca.pem")
///     .topic("events")
///     .name("billing") // the broker stores our position under this name
///     .from(Start::Earliest) // where a new name begins
///     .subscribe()
///     .await?;
/// while !consumer.is_caught_up() {
///     let message = consumer.recv().await?;
///     println!("{}: {:?}", message.offset, message.record.payload);
///     consumer.ack_nowait(message.offset)?;
/// }
/// consumer.close(Duration::from_secs(5)).await?; // waits until the last acknowledgement is confirmed
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Consumer {
    state: Arc<AckState>,
    batches: mpsc::Receiver<ReceivedBatch>,
    /// The batch whose records are taken next.
    current: Option<ReceivedBatch>,
    /// Bytes taken that the task has not been told of. Less than `publish_at`.
    taken: u64,
    /// An eighth of the credit, so that the task is not woken for every batch.
    publish_at: u64,
    start: Offset,
    end: Offset,
    topic: TopicIdentity,
    /// The checksum of the batch that the last message was in.
    last_checksum: Option<u32>,
    /// Whether the `Stream` has returned an error.
    ended: bool,
    pub(super) supervisor: Option<Supervisor>,
    tasks: Tasks,
}

pub(super) async fn subscribe(config: Config) -> Result<Consumer, ConsumeError> {
    let topic = config
        .check()
        .map_err(|e| ConsumeError::Config(Arc::new(e)))?;
    let tasks = Tasks::new();
    let supervisor = Supervisor::start(config.connection.clone(), None, &tasks)
        .map_err(|e| ConsumeError::Start(Arc::new(e)))?;
    let (state, confirm) = AckState::new(config.name.is_some());
    // Holds all batches that the credit allows, so that the task never waits for the application.
    let most = usize::try_from(config.credit_bytes).unwrap_or(usize::MAX) / Batch::HEADER_LEN;
    let (queue, batches) = mpsc::channel(most + 2);
    let (subscribed, first) = oneshot::channel();
    // A topic that does not exist is waited for without a limit.
    let answer_within = match config.wait_for_topic {
        true => Duration::MAX,
        false => config.connection.handshake_timeout,
    };
    let publish_at = (config.credit_bytes / 8).max(1);
    let task = SubscriptionTask::new(
        config,
        topic,
        Arc::clone(&state),
        confirm,
        queue,
        supervisor.watch_state(),
    );
    tasks.spawn(task.run(subscribed, tasks.stopped().clone()));

    // From here on, dropping this future ends the task.
    let mut consumer = Consumer {
        state,
        batches,
        current: None,
        taken: 0,
        publish_at,
        start: Offset(0),
        end: Offset(0),
        topic: TopicIdentity::default(),
        last_checksum: None,
        ended: false,
        supervisor: Some(supervisor),
        tasks,
    };
    if let Some(supervisor) = &consumer.supervisor {
        let connected = supervisor.connected().await;
        connected.map_err(ConsumeError::Connection)?;
    }
    match time::timeout(answer_within, first).await {
        Ok(Ok(Subscribed {
            next, end, topic, ..
        })) => {
            consumer.start = next;
            consumer.end = end;
            consumer.topic = topic;
            consumer.state.set_next_offset(next);
            Ok(consumer)
        }
        Ok(Err(_)) => Err(consumer.state.ended()),
        Err(_) => Err(ConsumeError::TimedOut(answer_within)),
    }
}

impl Consumer {
    /// Returns the next message, in the order of the topic. Waits until there is one, across reconnects, without a
    /// limit.
    ///
    /// # Errors
    /// [`ConsumeError`], after all messages that came before it. The consumer has ended then, and further calls return
    /// the same error.
    ///
    /// # Cancel safety
    /// Dropping the future loses no message.
    pub async fn recv(&mut self) -> Result<Received, ConsumeError> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Returns the next message, or `None` if none has arrived.
    ///
    /// # Errors
    /// As [`Consumer::recv`].
    pub fn try_recv(&mut self) -> Result<Option<Received>, ConsumeError> {
        loop {
            if let Some(received) = self.pop() {
                return Ok(Some(received));
            }
            match self.batches.try_recv() {
                Ok(batch) => self.current = Some(batch),
                Err(mpsc::error::TryRecvError::Empty) => return Ok(None),
                Err(mpsc::error::TryRecvError::Disconnected) => return Err(self.state.ended()),
            }
        }
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, ConsumeError>> {
        loop {
            if let Some(received) = self.pop() {
                return Poll::Ready(Ok(received));
            }
            match ready!(self.batches.poll_recv(cx)) {
                Some(batch) => self.current = Some(batch),
                None => return Poll::Ready(Err(self.state.ended())),
            }
        }
    }

    /// Takes the next record of the current batch. With its last record, a batch gives its credit back.
    fn pop(&mut self) -> Option<Received> {
        let batch = self.current.as_mut()?;
        let received = batch.pop();
        self.last_checksum = Some(batch.checksum);
        if batch.records.len() == 0 {
            self.taken = self.taken.saturating_add(batch.bytes);
            self.current = None;
            if self.taken >= self.publish_at {
                let taken = std::mem::take(&mut self.taken);
                self.state.taken.send_modify(|all| *all += taken);
            }
        }
        if let Some(received) = &received {
            self.state.set_next_offset(received.offset.next());
        }
        received
    }

    /// Acknowledges all messages up to and including `offset`, and waits until the broker has confirmed it. With a
    /// durable store, the position is durable then. The next consumer of this name begins after `offset`. Without a
    /// connection, waits for one.
    ///
    /// # Errors
    /// [`AckError`].
    ///
    /// # Cancel safety
    /// Dropping the future does not withdraw the acknowledgement.
    pub async fn ack(&self, offset: Offset) -> Result<(), AckError> {
        self.acker().ack(offset).await
    }

    /// Acknowledges all messages up to and including `offset`, without waiting. If there are several acknowledgements,
    /// only the newest is sent.
    ///
    /// # Errors
    /// [`AckError`].
    pub fn ack_nowait(&self, offset: Offset) -> Result<(), AckError> {
        self.acker().ack_nowait(offset)
    }

    /// Returns a handle that acknowledges from another task.
    #[must_use]
    pub fn acker(&self) -> Acker {
        Acker {
            state: Arc::clone(&self.state),
        }
    }

    /// Returns the offset that this consumer began with.
    #[must_use]
    pub fn start(&self) -> Offset {
        self.start
    }

    /// Returns the topic's end at the time when this consumer began: the offset of the first message that was stored
    /// later. To read only what was stored before, stop when [`Consumer::is_caught_up`].
    #[must_use]
    pub fn end(&self) -> Offset {
        self.end
    }

    /// Returns the offset after the last message received. The next message has this offset, or a later one if retention
    /// has dropped some.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.state.next_offset()
    }

    /// Returns where this consumer is, for an application that stores it itself and begins there again with
    /// [`Start::Resume`](super::Start::Resume).
    #[must_use]
    pub fn resume_point(&self) -> ResumePoint {
        ResumePoint {
            offset: self.next_offset(),
            topic: self.topic,
            checksum: self.last_checksum,
        }
    }

    /// Returns whether all messages have been received that were in the topic when this consumer began.
    #[must_use]
    pub fn is_caught_up(&self) -> bool {
        self.next_offset() >= self.end
    }

    /// Waits until the newest acknowledgement is confirmed, and closes the connection. Takes at most `deadline`.
    ///
    /// # Errors
    /// [`AckError::Unconfirmed`] and [`AckError::Ended`]: the broker may have stored the position or not. The connection
    /// is closed nevertheless.
    ///
    /// # Cancel safety
    /// Dropping the future drops the consumer.
    pub async fn close(mut self, deadline: Duration) -> Result<(), AckError> {
        let deadline = time::now() + deadline;
        let left = || deadline.saturating_duration_since(time::now());
        let confirmed = time::timeout(left(), self.state.wait_all_confirmed()).await;
        if let Some(supervisor) = self.supervisor.take() {
            supervisor.close(left()).await;
        }
        self.tasks.stop();
        confirmed.unwrap_or(Err(AckError::Unconfirmed))
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

impl Stream for Consumer {
    type Item = Result<Received, ConsumeError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let received = ready!(self.poll_recv(cx));
        self.ended = received.is_err();
        Poll::Ready(Some(received))
    }
}
