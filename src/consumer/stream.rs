//! The task behind a consumer: one subscription after another, on one connection after another.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{
    Config, ConsumeError,
    ack::Desk,
    credit::Credit,
    cursor::{Cursor, Impossible, Step},
    packets::{Lost, Packets},
    receive::Chunk,
};
use crate::{
    Offset, TopicName,
    conn::{self, Backoff, ConnectionState, Session},
    metrics::consumer as metrics,
    time,
    wire::{Batch, Delivery, Failure, FailureCode, Packet, Start, Subscribe},
};

/// Where a consumer begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Began {
    pub(super) next: Offset,
    pub(super) end: Offset,
}

/// Why a subscription ended.
enum End {
    /// The stream or its connection is lost, or the broker can do no more at present: another one may do.
    Again,
    /// There is no use in another one.
    For(ConsumeError),
}

impl From<ConsumeError> for End {
    fn from(error: ConsumeError) -> Self {
        Self::For(error)
    }
}

/// The task.
pub(super) struct Receiving {
    config: Config,
    topic: TopicName,
    desk: Arc<Desk>,
    confirm: watch::Sender<Offset>,
    queue: mpsc::Sender<Chunk>,
    link: watch::Receiver<ConnectionState>,
    credit: Credit,
    /// Of what the application has taken, how much the credit knows.
    counted: u64,
    /// None before the first subscription stands.
    cursor: Option<Cursor>,
    /// Offsets that are gone, to be told with the next message.
    skipped: u64,
}

impl Receiving {
    pub(super) fn new(
        config: Config,
        topic: TopicName,
        desk: Arc<Desk>,
        confirm: watch::Sender<Offset>,
        queue: mpsc::Sender<Chunk>,
        link: watch::Receiver<ConnectionState>,
    ) -> Self {
        Self {
            credit: Credit::new(config.credit_bytes),
            config,
            topic,
            desk,
            confirm,
            queue,
            link,
            counted: 0,
            cursor: None,
            skipped: 0,
        }
    }

    /// Runs until `stopped`, or until nothing more can come. The queue closes behind the last word to the desk.
    pub(super) async fn run(mut self, began: oneshot::Sender<Began>, stopped: CancellationToken) {
        let mut began = Some(began);
        let error = stopped
            .run_until_cancelled(self.keep_subscribed(&mut began))
            .await
            .unwrap_or(ConsumeError::Closed);
        tracing::debug!(topic = %self.topic, %error, "consumer ended");
        self.desk.end(error);
    }

    async fn keep_subscribed(
        &mut self,
        began: &mut Option<oneshot::Sender<Began>>,
    ) -> ConsumeError {
        let mut backoff = Backoff::new(self.config.connection.reconnect_backoff);
        loop {
            let link = match conn::wait_connected(&mut self.link).await {
                Ok(link) => link,
                Err(error) => return ConsumeError::Connection(error),
            };
            let since = time::now();
            match self.serve(&link, began).await {
                End::For(error) => return error,
                End::Again => {}
            }
            // A stream that ends alone is tried again after a while; with its connection, on the next one.
            backoff.on_lost(time::now().saturating_duration_since(since));
            tokio::select! { biased;
                _ = link.closed() => self.next_link(link.number()).await,
                () = time::sleep(backoff.next_delay()) => {}
            }
        }
    }

    /// Waits until the supervisor has noticed that the link of this number is lost.
    async fn next_link(&mut self, lost: u64) {
        let other = |state: &ConnectionState| !matches!(state, ConnectionState::Connected(l) if l.number() == lost);
        // An error means that the supervisor is gone, which the next look will tell.
        let _ = self.link.wait_for(other).await;
    }

    /// One subscription from its first packet to its end.
    async fn serve(&mut self, link: &Session, began: &mut Option<oneshot::Sender<Began>>) -> End {
        let wait = self.config.connection.handshake_timeout;
        let Ok(opened) = link.open_bi(wait).await else {
            return End::Again;
        };
        let mut stream = Packets::new(opened, self.config.max_batch);
        let subscribed = self.subscribe(&mut stream).await;
        let Began { next, end } = match subscribed {
            Ok(began) => began,
            // Before the first one stands, a refusal is for the application to hear.
            Err(Stop::Refused(failure))
                if began.is_some() && failure.code != FailureCode::Closing =>
            {
                return End::For(ConsumeError::Refused(failure));
            }
            Err(stop) => return stop.into(),
        };
        self.settle(next);
        tracing::info!(topic = %self.topic, %next, %end, "subscribed");
        if let Some(began) = began.take() {
            // An error means that nobody waits any more; the task is stopped soon.
            let _ = began.send(Began { next, end });
        }
        match self.pump(&mut stream).await {
            Ok(never) => match never {},
            Err(stop) => stop.into(),
        }
    }

    async fn subscribe(&mut self, stream: &mut Packets) -> Result<Began, Stop> {
        let from = match self.cursor {
            Some(cursor) => Start::Resume(cursor.next()),
            None => self.config.from,
        };
        stream.put(&Packet::Subscribe(Subscribe {
            topic: self.topic.clone(),
            name: self.config.name.clone(),
            from,
            credit: self.credit.on_subscribe(),
        }));
        stream.flush().await?;
        match stream.next().await? {
            Packet::Subscribed { next, end } => Ok(Began { next, end }),
            Packet::Failed(failure) => Err(Stop::Refused(failure)),
            _ => Err(Stop::Broken(
                "it answers a subscription with something else",
            )),
        }
    }

    /// The subscription begins at `next`.
    fn settle(&mut self, next: Offset) {
        let cursor = self.cursor.get_or_insert(match self.config.from {
            // Without a name, what lies between this and `next` is gone. With one, the position decides.
            Start::Offset(from) | Start::Resume(from) if self.config.name.is_none() => {
                Cursor::new(from)
            }
            _ => Cursor::new(next),
        });
        self.skipped += cursor.on_subscribed(next);
    }

    /// Deliveries in, credit and acknowledgements out, until the stream ends.
    async fn pump(&mut self, stream: &mut Packets) -> Result<std::convert::Infallible, Stop> {
        let mut taken = self.desk.taken.subscribe();
        let mut wanted = self.desk.wanted();
        // What an earlier subscription sent and had no answer to goes out again.
        let mut sent = *self.confirm.borrow();
        loop {
            let all = *taken.borrow_and_update();
            self.credit.on_taken(all - self.counted);
            self.counted = all;
            if let Some(bytes) = self.credit.poll_grant() {
                stream.put(&Packet::Credit { bytes });
            }
            let next = *wanted.borrow_and_update();
            if next > sent {
                stream.put(&Packet::Acknowledge { next });
                sent = next;
            }
            stream.flush().await?;
            tokio::select! { biased;
                packet = stream.next() => self.on_packet(packet?)?,
                Ok(()) = taken.changed() => {}
                Ok(()) = wanted.changed() => {}
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
            _ => Err(Stop::Broken("it sends what no subscription has")),
        }
    }

    fn on_delivery(&mut self, delivery: Delivery) -> Result<(), Stop> {
        let Delivery { base, time, batch } = delivery;
        let bytes = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let corrupt = |source| Stop::For(ConsumeError::Corrupt { base, source });
        let batch = Batch::decode(batch).map_err(corrupt)?;
        if !self.credit.on_delivery(bytes) {
            return Err(Stop::Broken("it delivers more than it has credit for"));
        }
        let cursor = self
            .cursor
            .as_mut()
            .ok_or(Stop::Broken("it delivers first"))?;
        let before = cursor.next();
        let step = cursor.on_delivery(base, batch.count());
        match step.map_err(|Impossible| Stop::Broken("it delivers an empty batch"))? {
            Step::Old => {
                self.credit.on_taken(bytes);
                Ok(())
            }
            Step::Take { skip, skipped } => {
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
                let chunk = Chunk {
                    next: Offset(base.0 + u64::from(skip)),
                    time,
                    skipped: std::mem::take(&mut self.skipped),
                    records,
                    bytes,
                };
                // There is room for all that there is credit for, so the consumer is gone.
                let queued = self.queue.try_send(chunk);
                queued.map_err(|_| Stop::For(ConsumeError::Closed))
            }
        }
    }
}

/// Why a stream is of no further use.
enum Stop {
    Lost,
    Refused(Failure),
    Broken(&'static str),
    For(ConsumeError),
}

impl From<Stop> for End {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Lost => Self::Again,
            Stop::Refused(failure) => {
                let error = ConsumeError::Refused(failure);
                if error.is_retryable() {
                    tracing::warn!(%error, "the subscription is tried again");
                    Self::Again
                } else {
                    Self::For(error)
                }
            }
            Stop::Broken(what) => Self::For(ConsumeError::Protocol(what)),
            Stop::For(error) => Self::For(error),
        }
    }
}

impl From<Lost> for Stop {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Stream => Self::Lost,
            Lost::Sense => Self::Broken("it sends what is no packet"),
        }
    }
}
