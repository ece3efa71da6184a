//! A stream for each message: the naive way, kept for comparison.
//!
//! Each message is a batch of one on a stream of its own, opened for it and finished behind it. Messages of one
//! ordered sub-queue still follow each other: the next is sent when the one before has its outcome.

use std::sync::Arc;

use futures_util::{FutureExt as _, StreamExt, future::BoxFuture};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::codec::FramedRead;

use crate::producer::{
    Fate, SendError, SendErrorKind,
    accumulator::chunk::Chunk,
    accumulator::key_shards::{OwnedShards, ShardId},
    accumulator::queue::Popped,
    sender::batcher::Batcher,
    sender::lane_stats::PER_MESSAGE,
    sender::responses::{self, ResponseEffect},
    sender::streams::MAX_ANSWER,
    sender::transport::{self, Transport},
    shared::Shared,
};
use crate::{RequestId, conn::Session, tasks::Tasks, time, wire, wire::PacketCodec};

/// Ends when nothing more will come of a message that has expired.
type ExpiredInFlight<'a> = BoxFuture<'a, ()>;

/// The lane whose door the dispatcher waits at.
const DOOR: usize = 0;

#[derive(Clone)]
pub(crate) struct PerMessage {
    shared: Arc<Shared>,
    transport: Transport,
    tasks: Tasks,
    streams: Arc<Semaphore>,
}

impl PerMessage {
    pub(crate) fn new(
        shared: Arc<Shared>,
        transport: Transport,
        tasks: Tasks,
        streams: usize,
    ) -> Self {
        shared.single_messages();
        Self {
            shared,
            transport,
            tasks,
            streams: Arc::new(Semaphore::new(streams)),
        }
    }

    /// Runs until the producer ends.
    pub(crate) async fn run(self) {
        let stopped = self.transport.stopped();
        tokio::select! { biased;
            () = stopped.cancelled() => {}
            () = self.dispatch() => {}
        }
    }

    async fn dispatch(&self) {
        while let Ok(permit) = Arc::clone(&self.streams).acquire_owned().await {
            let item = self.next().await;
            let this = self.clone();
            self.tasks.spawn(async move {
                let stopped = this.transport.stopped();
                // Served first: an item that came from the queue is registered, or has its outcome, before anything stops this.
                tokio::select! { biased;
                    () = this.serve(item, permit) => {}
                    () = stopped.cancelled() => {}
                }
            });
        }
    }

    async fn next(&self) -> Popped {
        let waker = &self.shared.queue.waker;
        loop {
            if let Some(item) = self.shared.queue.pop() {
                return item;
            }
            waker.park(DOOR);
            if !self.shared.queue.has_shared_work() {
                waker.wait(DOOR).await;
            }
            if waker.unpark(DOOR) {
                waker.searched(|| false);
            }
        }
    }

    async fn serve(&self, item: Popped, _permit: OwnedSemaphorePermit) {
        match item {
            Popped::Chunk(chunk) => drop(self.exchange(chunk, None).await),
            Popped::Shard(shard) => {
                let mut owned = OwnedShards::default();
                let mut before: Option<ExpiredInFlight<'_>> = None;
                owned.take(&self.shared.queue.keys, shard, DOOR);
                while !owned.is_empty() {
                    if let Some(expired_in_flight) = &mut before {
                        if self.ends_in_time(expired_in_flight, &owned).await {
                            before = None;
                        }
                        self.expire_late(&mut owned, shard);
                    } else if let Some(chunk) = self.shared.queue.pop_owned(&mut owned) {
                        before = self.exchange(chunk, Some(shard)).await;
                    } else if self.shared.has_ended() {
                        // What was queued was taken.
                        return;
                    } else {
                        // A message that is counted is about to be pushed.
                        tokio::task::yield_now().await;
                    }
                    owned.settle(&self.shared.queue.keys);
                }
            }
        }
    }

    /// Waits until nothing comes of `overdue` any more; no longer than until the first message that waits for that is late. What
    /// waits stays where it is: this may be cut off.
    async fn ends_in_time(
        &self,
        expired_in_flight: &mut ExpiredInFlight<'_>,
        owned: &OwnedShards,
    ) -> bool {
        let called = self.shared.queue.next_called(owned);
        // What comes only now is not late before this.
        let deadline = self.shared.deadline(called.unwrap_or_else(time::now));
        tokio::time::timeout_at(deadline.into(), expired_in_flight)
            .await
            .is_ok()
    }

    fn expire_late(&self, owned: &mut OwnedShards, shard: ShardId) {
        let queue = &self.shared.queue;
        let now = time::now();
        while queue
            .next_called(owned)
            .is_some_and(|called| self.shared.deadline(called) <= now)
            && let Some(chunk) = queue.pop_owned(owned)
        {
            self.expire(chunk, Some(shard));
        }
    }

    fn expire(&self, chunk: Chunk, shard: Option<ShardId>) {
        let error = SendError::new(SendErrorKind::Expired, Fate::NotStored);
        self.shared.drop_queued(chunk, shard, &error);
    }

    /// Sends one message, on as many connections as it takes, until it has its outcome. Where it expired and its stream may
    /// still be read, what follows it waits for the answer's end.
    async fn exchange(&self, chunk: Chunk, shard: Option<ShardId>) -> Option<ExpiredInFlight<'_>> {
        let deadline = self.shared.deadline(chunk.called());
        if deadline <= time::now() {
            self.expire(chunk, shard);
            return None;
        }
        let mut batcher = Batcher::new(PER_MESSAGE, self.shared.topic.clone(), 0, 1);
        batcher.push(chunk, shard);
        let mut ids = std::collections::VecDeque::new();
        self.shared.register(batcher.finish(), &mut ids);
        let id = ids.pop_front()?;
        while self.is_open(id) {
            let mut attempt = Box::pin(async move {
                let mut links = self.transport.links();
                match transport::look(&mut links) {
                    Some(link) => drop(self.attempt(id, &link).await),
                    None => links.changed().await,
                }
            });
            let ended = tokio::time::timeout_at(deadline.into(), &mut attempt).await;
            tokio::task::yield_now().await;
            if ended.is_err() {
                // The outcome at the deadline is given elsewhere, at this moment.
                while self.is_open(id) {
                    tokio::task::yield_now().await;
                }
                let expired_in_flight = self.shared.expired_in_flight.is_held(id);
                return expired_in_flight
                    .then(|| attempt.map(move |()| self.shared.end_overdue(id)).boxed());
            }
        }
        // It may have expired just when its stream ended: nothing more will come of it.
        self.shared.end_overdue(id);
        None
    }

    fn is_open(&self, id: RequestId) -> bool {
        self.shared.inflight().get_mut(id).is_some()
    }

    /// One try on one connection. `None` where it came to nothing.
    async fn attempt(&self, id: RequestId, link: &Session) -> Option<()> {
        if !self.transport.resumed(link).await {
            return None;
        }
        let (mut writer, reader) = link.connection().open_bi().await.ok()?;
        let mut frame = {
            let mut inflight = self.shared.inflight();
            let low = inflight.low();
            let request = inflight.get_mut(id)?;
            request.written.get_or_insert_with(time::now);
            request.attempts += 1;
            let head = wire::produce_head(id, low, &request.topic, request.batch.len());
            [head, request.batch.clone()]
        };
        {
            let turn = self.transport.turn(link, usize::MAX).await;
            turn.write(&mut writer, &mut frame).await.ok()?;
            writer.finish().ok()?;
        }
        let mut answers = FramedRead::new(reader, PacketCodec::new(MAX_ANSWER));
        while let Some(Ok(answer)) = answers.next().await {
            if let ResponseEffect::Unexpected = responses::hear(&self.shared, answer, None) {
                return None;
            }
        }
        Some(())
    }
}
