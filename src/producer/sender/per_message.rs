//! A stream for each message, for comparison with lanes.
//!
//! Each message is a batch of one on a stream of its own, opened for it and finished after it. Messages of one ordered
//! sub-queue still follow each other: the next is sent when the one before has its outcome.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    batcher::{BatchLimits, Batcher},
    context::LaneContext,
    lane_stats::PER_MESSAGE,
    requests::ResponseEffect,
    transport,
};
use crate::{
    RequestId,
    conn::Session,
    producer::{
        Fate, SendError, SendErrorKind,
        accumulator::{Item, ItemReader, ShardId, ShardReader, Taken},
    },
    tasks::Tasks,
    time, wire,
    wire::{MaxFrame, PacketReader},
};

/// Ends when nothing more can come of a message that has expired.
type ExpiredAttempt<'a> = BoxFuture<'a, ()>;

const ONE_MESSAGE: BatchLimits = BatchLimits {
    bytes: 0,
    messages: 1,
    age_spread: Duration::ZERO,
};

/// Sends every message of `send_async` on a stream of its own.
#[derive(Clone)]
pub(crate) struct PerMessage {
    context: LaneContext,
    tasks: Tasks,
    streams: Arc<Semaphore>,
}

impl PerMessage {
    /// Creates a dispatcher with at most `streams` open streams.
    pub(crate) fn new(context: LaneContext, tasks: Tasks, streams: usize) -> Self {
        context.accumulator.set_single_messages();
        Self {
            context,
            tasks,
            streams: Arc::new(Semaphore::new(streams)),
        }
    }

    /// Runs until the producer ends.
    pub(crate) async fn run(self) {
        let stopped = self.context.transport.stopped();
        tokio::select! { biased;
            () = stopped.cancelled() => {}
            () = self.dispatch() => {}
        }
    }

    async fn dispatch(&self) {
        let reader = ItemReader::new(Arc::clone(self.context.accumulator.queue()));
        while let Ok(permit) = Arc::clone(&self.streams).acquire_owned().await {
            let item = reader.next().await;
            let this = self.clone();
            self.tasks.spawn(async move {
                let stopped = this.context.transport.stopped();
                // Served first: an item from the queue is registered, or has its outcome, before anything stops this.
                tokio::select! { biased;
                    () = this.serve(item, permit) => {}
                    () = stopped.cancelled() => {}
                }
            });
        }
    }

    async fn serve(&self, item: Item, _permit: OwnedSemaphorePermit) {
        match item {
            Item::Chunk(chunk) => drop(self.exchange(Taken::Chunk(chunk), None).await),
            Item::Shard(reader) => self.serve_shard(reader).await,
        }
    }

    async fn serve_shard(&self, mut reader: ShardReader) {
        let shard = reader.shard();
        let mut before: Option<ExpiredAttempt<'_>> = None;
        loop {
            if let Some(expired) = &mut before {
                if self.ends_in_time(expired, &mut reader).await {
                    before = None;
                }
                self.expire_late(&mut reader);
            } else if let Some(queued) = reader.pop() {
                before = self.exchange(Taken::Queued(queued), Some(shard)).await;
            } else if self.context.accumulator.has_ended() {
                // What was queued was taken.
                return;
            } else {
                // The task that read the answer is about to count it.
                tokio::task::yield_now().await;
            }
            if reader.release_if_idle() {
                return;
            }
        }
    }

    /// Waits until nothing more can come of an expired message, but no longer than until the first message after it is
    /// late. What waits stays where it is, so this may be dropped.
    async fn ends_in_time(
        &self,
        expired: &mut ExpiredAttempt<'_>,
        reader: &mut ShardReader,
    ) -> bool {
        let called = reader.next_called(|| self.context.accumulator.clock());
        // What comes only now is not late before this.
        let deadline = self
            .context
            .accumulator
            .deadline(called.unwrap_or_else(time::now));
        tokio::time::timeout_at(deadline.into(), expired)
            .await
            .is_ok()
    }

    fn expire_late(&self, reader: &mut ShardReader) {
        let accumulator = &self.context.accumulator;
        let now = time::now();
        while reader
            .next_called(|| accumulator.clock())
            .is_some_and(|called| accumulator.deadline(called) <= now)
            && let Some(queued) = reader.pop()
        {
            self.expire(Taken::Queued(queued), Some(reader.shard()));
        }
    }

    fn expire(&self, taken: Taken, shard: Option<ShardId>) {
        let error = SendError::new(SendErrorKind::Expired, Fate::NotStored);
        drop(self.context.accumulator.fail(taken, shard, &error));
    }

    /// Sends one message, on as many connections as it takes, until it has its outcome. If it expired while its stream may
    /// still be read, returns what ends when it cannot be stored any more: what follows it waits for that.
    async fn exchange(&self, taken: Taken, shard: Option<ShardId>) -> Option<ExpiredAttempt<'_>> {
        let LaneContext {
            accumulator,
            requests,
            transport,
            ..
        } = &self.context;
        let clock = accumulator.clock();
        let called = match &taken {
            Taken::Chunk(chunk) => chunk.called(),
            Taken::Queued(queued) => queued.called(&clock),
        };
        let deadline = accumulator.deadline(called);
        if deadline <= clock.now {
            self.expire(taken, shard);
            return None;
        }
        let mut batcher = Batcher::new(PER_MESSAGE, accumulator.topic().clone(), ONE_MESSAGE);
        match taken {
            Taken::Chunk(chunk) => batcher.push_chunk(chunk),
            Taken::Queued(queued) => batcher.push_message(queued, shard, &clock),
        }
        let mut ids = VecDeque::new();
        requests.register(batcher.finish(), &mut ids);
        let id = ids.pop_front()?;
        while self.is_in_flight(id) {
            let mut attempt = Box::pin(async move {
                let mut state = transport.state();
                match transport::current_session_and_mark_seen(&mut state) {
                    Some(session) => drop(self.attempt(id, &session).await),
                    None => state.changed().await,
                }
            });
            let ended = tokio::time::timeout_at(deadline.into(), &mut attempt).await;
            tokio::task::yield_now().await;
            if ended.is_err() {
                // The outcome at the deadline is given by `expiry.rs`, at about this moment.
                while self.is_in_flight(id) {
                    tokio::task::yield_now().await;
                }
                let expired = requests.is_expired(id);
                return expired.then(|| attempt.map(move |()| requests.end_expired(id)).boxed());
            }
        }
        // It may have expired just when its stream ended: nothing more comes of it.
        requests.end_expired(id);
        None
    }

    fn is_in_flight(&self, id: RequestId) -> bool {
        self.context.requests.in_flight().get_mut(id).is_some()
    }

    /// Tries once, on one connection. Returns `None` if the stream failed.
    async fn attempt(&self, id: RequestId, session: &Session) -> Option<()> {
        let LaneContext {
            requests,
            transport,
            ..
        } = &self.context;
        if !transport.recovered(session).await {
            return None;
        }
        let (mut writer, reader) = session.connection().open_bi().await.ok()?;
        let mut frame = {
            let mut in_flight = requests.in_flight();
            let low = in_flight.low();
            let request = in_flight.get_mut(id)?;
            request.written.get_or_insert_with(time::now);
            request.attempts += 1;
            let head = wire::produce_head(id, low, &request.topic, request.batch.len());
            [head, request.batch.clone()]
        };
        {
            let permit = transport.write_permit(session, usize::MAX).await;
            permit.write(&mut writer, &mut frame).await.ok()?;
            writer.finish().ok()?;
        }
        let mut responses = PacketReader::new(reader, MaxFrame::ANSWER);
        while let Ok(Some(response)) = responses.next().await {
            if requests.on_response(response, None) == ResponseEffect::Unexpected {
                return None;
            }
        }
        Some(())
    }
}
