//! The task of a consumer: it subscribes again whenever the subscription or its connection is lost.

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{
    Config, ConsumeError,
    ack::AckState,
    credit::Credit,
    cursor::{Action, Cursor, InvalidDelivery},
    received::ReceivedBatch,
};
use crate::{
    Offset, TopicIdentity, TopicName,
    conn::{self, Backoff, ConnectionState, Session},
    metrics::consumer as metrics,
    time,
    wire::{
        Batch, Delivery, Failure, FailureCode, MaxFrame, Packet, PacketStream, ReadError,
        ResumePoint, Start, Subscribe, Subscribed,
    },
};

/// How often a topic that does not exist is asked for.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// What to do after a subscription has ended.
enum End {
    /// Subscribe again: the stream or its connection is lost, or the broker is temporarily unable.
    Retry,
    /// Subscribe again after a while: there is no such topic yet.
    Wait,
    /// End the consumer.
    Fatal(ConsumeError),
}

/// The task's state.
pub(super) struct SubscriptionTask {
    config: Config,
    topic: TopicName,
    state: Arc<AckState>,
    confirm: watch::Sender<Offset>,
    queue: mpsc::Sender<ReceivedBatch>,
    connection: watch::Receiver<ConnectionState>,
    credit: Credit,
    /// The sum of all bytes taken by the application that `credit` has counted.
    counted: u64,
    /// None before the broker has accepted the first subscription.
    cursor: Option<Cursor>,
    /// Skipped offsets, to be reported with the next message.
    skipped: u64,
    /// The topic that is read, and the checksum of the batch before the cursor. The identity is that of the first
    /// subscription: the cursor means nothing in another topic.
    topic_identity: TopicIdentity,
    last_checksum: Option<u32>,
    /// The number that the broker gave this reader.
    reader: u64,
    /// The topic did not exist, and is waited for.
    waited: bool,
}

impl SubscriptionTask {
    pub(super) fn new(
        config: Config,
        topic: TopicName,
        state: Arc<AckState>,
        confirm: watch::Sender<Offset>,
        queue: mpsc::Sender<ReceivedBatch>,
        connection: watch::Receiver<ConnectionState>,
    ) -> Self {
        Self {
            credit: Credit::new(config.credit_bytes),
            config,
            topic,
            state,
            confirm,
            queue,
            connection,
            counted: 0,
            cursor: None,
            skipped: 0,
            topic_identity: TopicIdentity::default(),
            last_checksum: None,
            reader: 0,
            waited: false,
        }
    }

    /// Runs until `stopped` is cancelled or the consumer has failed. Sends the answer to the first subscription to
    /// `first`. Records why it ended before the queue closes.
    pub(super) async fn run(
        mut self,
        first: oneshot::Sender<Subscribed>,
        stopped: CancellationToken,
    ) {
        let mut first = Some(first);
        let error = stopped
            .run_until_cancelled(self.keep_subscribed(&mut first))
            .await
            .unwrap_or(ConsumeError::Closed);
        tracing::debug!(topic = %self.topic, %error, "consumer ended");
        self.state.set_ended(error);
    }

    async fn keep_subscribed(
        &mut self,
        first: &mut Option<oneshot::Sender<Subscribed>>,
    ) -> ConsumeError {
        let mut backoff = Backoff::new(self.config.connection.reconnect_backoff);
        loop {
            let session = match conn::wait_connected(&mut self.connection).await {
                Ok(session) => session,
                Err(error) => return ConsumeError::Connection(error),
            };
            let since = time::now();
            match self.serve(&session, first).await {
                End::Fatal(error) => return error,
                End::Retry => {}
                End::Wait => {
                    tokio::select! { biased;
                        _ = session.closed() => self.wait_replaced(session.number()).await,
                        () = time::sleep(ASK_AGAIN) => {}
                    }
                    continue;
                }
            }
            // If only the stream was lost, retry after a while. If the connection was lost, wait for the next one.
            backoff.on_lost(time::now().saturating_duration_since(since));
            tokio::select! { biased;
                _ = session.closed() => self.wait_replaced(session.number()).await,
                () = time::sleep(backoff.next_delay()) => {}
            }
        }
    }

    /// Waits until the supervisor has noticed that the session of this number is lost.
    async fn wait_replaced(&mut self, lost: u64) {
        let replaced = |state: &ConnectionState| !matches!(state, ConnectionState::Connected(session) if session.number() == lost);
        // An error means that the supervisor has ended. `wait_connected` returns that.
        let _ = self.connection.wait_for(replaced).await;
    }

    /// Runs one subscription from its first packet to its end.
    async fn serve(
        &mut self,
        session: &Session,
        first: &mut Option<oneshot::Sender<Subscribed>>,
    ) -> End {
        let wait = self.config.connection.handshake_timeout;
        let Ok(opened) = session.open_bi(wait).await else {
            return End::Retry;
        };
        let mut stream = PacketStream::new(opened, MaxFrame::delivery(self.config.max_batch));
        let subscribed = match self.subscribe(&mut stream).await {
            Ok(subscribed) => subscribed,
            Err(Stop::Refused(failure))
                if first.is_some()
                    && failure.code == FailureCode::UnknownTopic
                    && self.config.wait_for_topic =>
            {
                if !std::mem::replace(&mut self.waited, true) {
                    tracing::info!(topic = %self.topic, "waiting for the topic, which does not exist yet");
                }
                return End::Wait;
            }
            // The application gets the refusal of the first subscription.
            Err(Stop::Refused(failure))
                if first.is_some() && failure.code != FailureCode::Closing =>
            {
                return End::Fatal(ConsumeError::Refused(failure));
            }
            Err(stop) => return stop.into(),
        };
        let Subscribed { next, end, .. } = subscribed;
        self.set_cursor(next);
        (self.topic_identity, self.reader) = (subscribed.topic, subscribed.reader);
        tracing::info!(topic = %self.topic, %next, %end, "subscribed");
        if let Some(first) = first.take() {
            // An error means that the caller has given up. It stops this task.
            let _ = first.send(subscribed);
        }
        match self.pump(&mut stream).await {
            Ok(never) => match never {},
            Err(stop) => stop.into(),
        }
    }

    async fn subscribe(&mut self, stream: &mut PacketStream) -> Result<Subscribed, Stop> {
        let from = match self.cursor {
            Some(cursor) => Start::Resume(ResumePoint {
                offset: cursor.next(),
                topic: self.topic_identity,
                checksum: self.last_checksum,
            }),
            // Everything in it was stored after this consumer began.
            None if self.waited => Start::Earliest,
            None => self.config.from,
        };
        let subscribe = Packet::Subscribe(Subscribe {
            topic: self.topic.clone(),
            name: self.config.name.clone(),
            from,
            credit: self.credit.on_subscribe(),
            reader: self.reader,
        });
        put(stream, &subscribe);
        flush(stream).await?;
        match next_packet(stream).await? {
            Packet::Subscribed(subscribed) => Ok(subscribed),
            Packet::Failed(failure) => Err(Stop::Refused(failure)),
            _ => Err(Stop::Protocol(
                "it answers a subscription with something else",
            )),
        }
    }

    /// Moves the cursor to `next`, where the subscription begins.
    fn set_cursor(&mut self, next: Offset) {
        let cursor = self.cursor.get_or_insert(match self.config.from {
            // Without a name, the offsets between this one and `next` are skipped. With a name, its position counts.
            Start::Offset(from) if self.config.name.is_none() && !self.waited => Cursor::new(from),
            Start::Resume(point) => Cursor::new(point.offset),
            _ => Cursor::new(next),
        });
        let skipped = cursor.on_subscribed(next);
        if skipped > 0 {
            self.last_checksum = None;
        }
        self.skipped += skipped;
    }

    /// Receives deliveries, and sends credit and acknowledgements, until the stream ends.
    async fn pump(&mut self, stream: &mut PacketStream) -> Result<std::convert::Infallible, Stop> {
        let mut taken = self.state.taken.subscribe();
        let mut requested = self.state.requested();
        // Acknowledgements that an earlier subscription sent and that are not confirmed are sent again.
        let mut sent = *self.confirm.borrow();
        loop {
            let all = *taken.borrow_and_update();
            self.credit.on_taken(all - self.counted);
            self.counted = all;
            if let Some(bytes) = self.credit.poll_grant() {
                put(stream, &Packet::Credit { bytes });
            }
            let next = *requested.borrow_and_update();
            if next > sent {
                put(stream, &Packet::Acknowledge { next });
                sent = next;
            }
            flush(stream).await?;
            tokio::select! { biased;
                packet = next_packet(stream) => self.on_packet(packet?)?,
                Ok(()) = taken.changed() => {}
                Ok(()) = requested.changed() => {}
            }
        }
    }

    fn on_packet(&mut self, packet: Packet) -> Result<(), Stop> {
        match packet {
            Packet::Delivery(delivery) => self.on_delivery(delivery),
            Packet::Acknowledged { next } => {
                self.confirm.send_if_modified(|confirmed| {
                    let further = next > *confirmed;
                    *confirmed = next.max(*confirmed);
                    further
                });
                Ok(())
            }
            Packet::Failed(failure) => Err(Stop::Refused(failure)),
            _ => Err(Stop::Protocol("it sends what no subscription has")),
        }
    }

    fn on_delivery(&mut self, delivery: Delivery) -> Result<(), Stop> {
        let Delivery { base, time, batch } = delivery;
        let bytes = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let corrupt = |source| Stop::Fatal(ConsumeError::Corrupt { base, source });
        let checksum = Batch::stated_checksum(&batch);
        let batch = Batch::decode(batch).map_err(corrupt)?;
        if !self.credit.on_delivery(bytes) {
            return Err(Stop::Protocol("it delivers more than it has credit for"));
        }
        let cursor = self
            .cursor
            .as_mut()
            .ok_or(Stop::Protocol("it delivers first"))?;
        let before = cursor.next();
        let action = cursor.on_delivery(base, batch.count());
        match action.map_err(|InvalidDelivery| Stop::Protocol("it delivers an empty batch"))? {
            Action::Drop => {
                self.credit.on_taken(bytes);
                Ok(())
            }
            Action::Take { skip, skipped } => {
                self.last_checksum = Some(checksum);
                self.skipped += skipped;
                metrics::received(u64::from(batch.count() - skip), bytes);
                metrics::skipped(self.skipped);
                if self.skipped > 0 {
                    tracing::warn!(topic = %self.topic, skipped = self.skipped, expected = %before, "messages are gone");
                }
                let mut records = batch.records();
                records
                    .by_ref()
                    .take(usize::try_from(skip).unwrap_or(usize::MAX))
                    .for_each(drop);
                let received = ReceivedBatch {
                    next: Offset(base.0 + u64::from(skip)),
                    time,
                    skipped: std::mem::take(&mut self.skipped),
                    records,
                    checksum,
                    bytes,
                };
                // The queue has room for all batches that the credit allows, so an error means that the consumer was
                // dropped.
                let queued = self.queue.try_send(received);
                queued.map_err(|_| Stop::Fatal(ConsumeError::Closed))
            }
        }
    }
}

/// Why a subscription ended.
enum Stop {
    /// The stream or its connection was lost.
    Lost,
    /// The broker refused.
    Refused(Failure),
    /// The broker broke the protocol.
    Protocol(&'static str),
    /// The consumer cannot go on.
    Fatal(ConsumeError),
}

impl From<Stop> for End {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Lost => Self::Retry,
            Stop::Refused(failure) => {
                let error = ConsumeError::Refused(failure);
                if error.is_retryable() {
                    tracing::warn!(%error, "the subscription is tried again");
                    Self::Retry
                } else {
                    Self::Fatal(error)
                }
            }
            Stop::Protocol(what) => Self::Fatal(ConsumeError::Protocol(what)),
            Stop::Fatal(error) => Self::Fatal(error),
        }
    }
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Malformed(_) => Self::Protocol("it sends what is no packet"),
            ReadError::Lost(_) => Self::Lost,
        }
    }
}

/// Appends a packet to the stream's buffer.
fn put(stream: &mut PacketStream, packet: &Packet) {
    stream
        .put(packet)
        .expect("names and topics were checked with the options");
}

async fn flush(stream: &mut PacketStream) -> Result<(), Stop> {
    stream.flush().await.map_err(|_| Stop::Lost)
}

/// Waits for the next packet. The broker does not finish a subscription, so the end of the stream is a loss.
async fn next_packet(stream: &mut PacketStream) -> Result<Packet, Stop> {
    stream.next().await?.ok_or(Stop::Lost)
}
