//! A stream for each message: the naive way, kept for comparison.
//!
//! Each message is a batch of one on a stream of its own, opened for it and finished behind it. Messages of one
//! ordered sub-queue still follow each other: the next is sent when the one before has its outcome.

use std::sync::Arc;

use futures_util::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::codec::FramedRead;

use super::{
    Fate, SendError, SendErrorKind,
    batcher::Batcher,
    chunk::Chunk,
    core::Core,
    gauges::PER_MESSAGE,
    keys::{Owned, ShardId},
    lane::{self, Heard},
    queue::Popped,
    road::{self, Road},
    streams::MAX_ANSWER,
};
use crate::{RequestId, conn::Link, tasks::Tasks, time, wire, wire::PacketCodec};

/// The lane whose door the dispatcher waits at.
const DOOR: usize = 0;

#[derive(Clone)]
pub(crate) struct PerMessage {
    core: Arc<Core>,
    road: Road,
    tasks: Tasks,
    streams: Arc<Semaphore>,
}

impl PerMessage {
    pub(crate) fn new(core: Arc<Core>, road: Road, tasks: Tasks, streams: usize) -> Self {
        core.single_messages();
        Self {
            core,
            road,
            tasks,
            streams: Arc::new(Semaphore::new(streams)),
        }
    }

    /// Runs until the producer ends.
    pub(crate) async fn run(self) {
        let stopped = self.road.stopped();
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
                let stopped = this.road.stopped();
                tokio::select! { biased;
                    () = stopped.cancelled() => {}
                    () = this.serve(item, permit) => {}
                }
            });
        }
    }

    async fn next(&self) -> Popped {
        let parking = &self.core.queue.parking;
        loop {
            if let Some(item) = self.core.queue.pop() {
                return item;
            }
            parking.park(DOOR);
            if !self.core.queue.has_shared_work() {
                parking.wait(DOOR).await;
            }
            if parking.unpark(DOOR) {
                parking.searched(|| false);
            }
        }
    }

    async fn serve(&self, item: Popped, _permit: OwnedSemaphorePermit) {
        match item {
            Popped::Chunk(chunk) => self.exchange(chunk, None).await,
            Popped::Shard(shard) => {
                let mut owned = Owned::default();
                owned.take(&self.core.queue.keys, shard, DOOR);
                while !owned.is_empty() {
                    match self.core.queue.pop_owned(&mut owned) {
                        Some(chunk) => self.exchange(chunk, Some(shard)).await,
                        // An end has taken what was queued.
                        None if self.core.has_ended() => return,
                        // A message that is counted is about to be pushed.
                        None => tokio::task::yield_now().await,
                    }
                    owned.settle(&self.core.queue.keys);
                }
            }
        }
    }

    /// Sends one message, on as many connections as it takes, until it has its outcome.
    async fn exchange(&self, chunk: Chunk, shard: Option<ShardId>) {
        let deadline = self.core.deadline(chunk.called());
        if deadline <= time::now() {
            let error = SendError::new(SendErrorKind::Expired, Fate::NotStored);
            return self.core.drop_queued(chunk, shard, &error);
        }
        let mut batcher = Batcher::new(PER_MESSAGE, self.core.topic.clone(), 0, 1);
        batcher.push(chunk, shard);
        let mut ids = std::collections::VecDeque::new();
        self.core.register(batcher.finish(), &mut ids);
        let Some(id) = ids.pop_front() else {
            return;
        };
        let mut links = self.road.links();
        while self.core.inflight().get_mut(id).is_some() {
            let attempt = async {
                match road::look(&mut links) {
                    Some(link) => self.attempt(id, &link).await,
                    None => {
                        road::news(&mut links).await;
                        Some(())
                    }
                }
            };
            // The outcome at the deadline is given elsewhere; here it only ends the wait.
            let _ = tokio::time::timeout_at(deadline.into(), attempt).await;
            tokio::task::yield_now().await;
        }
    }

    /// One try on one connection. `None` where it came to nothing.
    async fn attempt(&self, id: RequestId, link: &Link) -> Option<()> {
        if !self.road.resumed(link).await {
            return None;
        }
        let (mut writer, reader) = link.connection().open_bi().await.ok()?;
        let mut frame = {
            let mut inflight = self.core.inflight();
            let low = inflight.low();
            let request = inflight.get_mut(id)?;
            request.written.get_or_insert_with(time::now);
            request.attempts += 1;
            let head = wire::produce_head(id, low, &request.topic, request.batch.len());
            [head, request.batch.clone()]
        };
        {
            let _turn = self.road.turn(link).await;
            writer.write_all_chunks(&mut frame).await.ok()?;
            writer.finish().ok()?;
        }
        let mut answers = FramedRead::new(reader, PacketCodec::new(MAX_ANSWER));
        while let Some(Ok(answer)) = answers.next().await {
            if let Heard::Nonsense = lane::on_answer(&self.core, answer) {
                return None;
            }
        }
        Some(())
    }
}
