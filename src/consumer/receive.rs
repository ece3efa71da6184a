//! The consumer as the application sees it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::Stream;
use tokio::sync::{mpsc, oneshot};

use super::{
    AckError, Acker, Builder, Config, ConsumeError,
    ack::Desk,
    stream::{Began, Receiving},
};
use crate::{
    Offset, Timestamp,
    conn::Supervisor,
    tasks::Tasks,
    time,
    wire::{Batch, Record, Records},
};

/// A message, with its place in the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received {
    /// Its offset.
    pub offset: Offset,
    /// When the broker stored it, by the broker's clock.
    pub time: Timestamp,
    /// How many messages right before this one are gone for good: retention dropped them before they could be read.
    /// Zero, unless the reader is slower than retention.
    pub skipped: u64,
    /// What its producer sent.
    pub record: Record,
}

/// Records of one batch that have not been handed out.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) next: Offset,
    pub(super) time: Timestamp,
    pub(super) skipped: u64,
    pub(super) records: Records,
    /// What it takes of the credit, given back with the last record.
    pub(super) bytes: u64,
}

impl Chunk {
    fn pop(&mut self) -> Option<Received> {
        let record = self.records.next()?;
        let offset = self.next;
        self.next = offset.next();
        Some(Received {
            offset,
            time: self.time,
            skipped: std::mem::take(&mut self.skipped),
            record,
        })
    }
}

/// Reads one topic. Made by [`Consumer::builder`].
///
/// As a [`Stream`] it gives what [`Consumer::recv`] gives, and ends behind its first error. Dropping it closes the
/// connection without waiting for acknowledgements that are under way; see [`Consumer::close`].
#[derive(Debug)]
pub struct Consumer {
    desk: Arc<Desk>,
    chunks: mpsc::Receiver<Chunk>,
    /// The batch that is being handed out.
    current: Option<Chunk>,
    /// Bytes taken and not yet made known: fewer than `publish_at`.
    taken: u64,
    /// An eighth of the credit, so that the task is not woken for every batch.
    publish_at: u64,
    start: Offset,
    end: Offset,
    over: bool,
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
    let (desk, confirm) = Desk::new(config.name.is_some());
    // Holds all that the credit can pay for, so that answers never wait behind deliveries for the application.
    let most = usize::try_from(config.credit_bytes).unwrap_or(usize::MAX) / Batch::HEADER_LEN;
    let (queue, chunks) = mpsc::channel(most + 2);
    let (began, begins) = oneshot::channel();
    let answer_within = config.connection.connect_timeout + config.connection.handshake_timeout;
    let publish_at = (config.credit_bytes / 8).max(1);
    let receiving = Receiving::new(
        config,
        topic,
        Arc::clone(&desk),
        confirm,
        queue,
        supervisor.watch_state(),
    );
    tasks.spawn(receiving.run(began, tasks.stopped().clone()));

    // From here on, dropping this ends the task.
    let mut consumer = Consumer {
        desk,
        chunks,
        current: None,
        taken: 0,
        publish_at,
        start: Offset(0),
        end: Offset(0),
        over: false,
        supervisor: Some(supervisor),
        tasks,
    };
    match time::timeout(answer_within, begins).await {
        Ok(Ok(Began { next, end })) => {
            consumer.start = next;
            consumer.end = end;
            consumer.desk.set_handed(next);
            Ok(consumer)
        }
        Ok(Err(_)) => Err(consumer.desk.ended()),
        Err(_) => Err(ConsumeError::TimedOut(answer_within)),
    }
}

impl Consumer {
    /// A consumer to be put together.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The next message, in the order of the topic. Waits until there is one, across reconnects, for as long as it
    /// takes.
    ///
    /// # Errors
    /// [`ConsumeError`], after everything that came before it has been handed out. The consumer has ended then, and
    /// further calls return the same.
    ///
    /// # Cancel safety
    /// Cancel safe: no message is lost.
    pub async fn recv(&mut self) -> Result<Received, ConsumeError> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// The next message if it is here already.
    ///
    /// # Errors
    /// As [`Consumer::recv`].
    pub fn try_recv(&mut self) -> Result<Option<Received>, ConsumeError> {
        loop {
            if let Some(received) = self.pop() {
                return Ok(Some(received));
            }
            match self.chunks.try_recv() {
                Ok(chunk) => self.current = Some(chunk),
                Err(mpsc::error::TryRecvError::Empty) => return Ok(None),
                Err(mpsc::error::TryRecvError::Disconnected) => return Err(self.desk.ended()),
            }
        }
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, ConsumeError>> {
        loop {
            if let Some(received) = self.pop() {
                return Poll::Ready(Ok(received));
            }
            match ready!(self.chunks.poll_recv(cx)) {
                Some(chunk) => self.current = Some(chunk),
                None => return Poll::Ready(Err(self.desk.ended())),
            }
        }
    }

    /// The next record of the current batch. A batch whose last record is handed out gives its credit back.
    fn pop(&mut self) -> Option<Received> {
        let chunk = self.current.as_mut()?;
        let received = chunk.pop();
        if chunk.records.len() == 0 {
            self.taken = self.taken.saturating_add(chunk.bytes);
            self.current = None;
            if self.taken >= self.publish_at {
                let taken = std::mem::take(&mut self.taken);
                self.desk.taken.send_modify(|all| *all += taken);
            }
        }
        if let Some(received) = &received {
            self.desk.set_handed(received.offset.next());
        }
        received
    }

    /// Everything up to and with `offset` is done with: waits until the broker has that, durably where its store is
    /// durable. The next consumer of this name begins behind it. While there is no connection it waits for one.
    ///
    /// # Errors
    /// [`AckError`].
    ///
    /// # Cancel safety
    /// Dropping this does not take the acknowledgement back.
    pub async fn ack(&self, offset: Offset) -> Result<(), AckError> {
        self.acker().ack(offset).await
    }

    /// The same without waiting. Of several, the newest goes out; none needs an answer of its own.
    ///
    /// # Errors
    /// [`AckError`].
    pub fn ack_nowait(&self, offset: Offset) -> Result<(), AckError> {
        self.acker().ack_nowait(offset)
    }

    /// A way to acknowledge from elsewhere.
    #[must_use]
    pub fn acker(&self) -> Acker {
        Acker {
            desk: Arc::clone(&self.desk),
        }
    }

    /// The offset this consumer began with.
    #[must_use]
    pub fn start(&self) -> Offset {
        self.start
    }

    /// The topic's end when this consumer began: the offset that the next message stored then was to get. Whoever
    /// wants what was there at that time, and nothing newer, stops when [`Consumer::next_offset`] reaches it.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.end
    }

    /// The offset behind the last message handed out: what comes next has this one or, where retention dropped
    /// some, a later one.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.desk.handed()
    }

    /// Whether everything that was in the topic when this consumer began has been handed out.
    #[must_use]
    pub fn is_caught_up(&self) -> bool {
        self.next_offset() >= self.end
    }

    /// Waits until the newest acknowledgement is confirmed, then closes the connection; all of it until `deadline`
    /// from now at most.
    ///
    /// # Errors
    /// [`AckError::Unconfirmed`] and [`AckError::Ended`]: the broker may have the position or not. The connection is
    /// closed all the same.
    ///
    /// # Cancel safety
    /// Dropping this drops the consumer.
    pub async fn close(mut self, deadline: Duration) -> Result<(), AckError> {
        let deadline = time::now() + deadline;
        let left = || deadline.saturating_duration_since(time::now());
        let settled = time::timeout(left(), self.desk.settled()).await;
        if let Some(supervisor) = self.supervisor.take() {
            supervisor.close(left()).await;
        }
        self.tasks.stop();
        settled.unwrap_or(Err(AckError::Unconfirmed))
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
        if self.over {
            return Poll::Ready(None);
        }
        let received = ready!(self.poll_recv(cx));
        self.over = received.is_err();
        Poll::Ready(Some(received))
    }
}
