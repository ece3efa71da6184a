//! The way out: every message gets its one outcome here, and what it held is freed once.

use std::{sync::atomic::Ordering, time::Duration};

use crate::producer::{
    Fate, Message, SendError, SendErrorKind, Undelivered, accumulator::budget::Cost,
    accumulator::chunk::Chunk, accumulator::key_shards::ShardId,
    accumulator::lane_waker::MAX_LANES, receipt::Accepted, sender::batcher::Request,
    sender::expired::Held, sender::source::ORDERED, shared::Shared,
};
use crate::{
    RequestId,
    metrics::producer as metrics,
    time,
    wire::{Batch, Failure, FailureCode, Refused, Stored},
};

impl Shared {
    /// Lets every lane look again.
    pub(in crate::producer) fn wake_all(&self) {
        (0..MAX_LANES).for_each(|lane| self.queue.waker.wake(lane));
        self.ordered.wake();
    }

    /// The broker has stored a request. Its lane is woken, unless that is `here`, where it is known.
    pub(crate) fn stored(&self, stored: &Stored, here: Option<usize>) {
        let Some(request) = self.resolve(stored.request) else {
            return self.end_overdue(stored.request);
        };
        let now = time::now();
        let held = Duration::from_micros(u64::from(stored.processing_us));
        self.lane_stats.answered(now, &request, held);
        let mut base = stored.base;
        for part in &request.parts {
            part.promise.stored(Accepted {
                topic: request.topic.clone(),
                base,
                time: stored.time,
            });
            base.0 += part.messages as u64;
        }
        metrics::acked(
            request.messages as u64,
            now.saturating_duration_since(request.at),
            held,
        );
        self.settle(&request, here);
    }

    /// The broker has refused a request.
    pub(crate) fn refused(&self, refused: Refused) {
        let Some(request) = self.resolve(refused.request) else {
            return self.end_overdue(refused.request);
        };
        let Failure { code, detail } = refused.failure;
        let fate = fate_of_refused(code, request.attempts);
        let error = SendError::new(SendErrorKind::Refused(code), fate).detail(detail);
        self.lane_stats.ended(time::now(), &request);
        self.fail(request, &error);
    }

    /// Request `id` ends without an acknowledgement. What is known of it depends on whether it was handed to a stream,
    /// unless `fate` says more.
    pub(crate) fn failed(&self, id: RequestId, error: &SendError) {
        if let Some(request) = self.resolve(id) {
            self.lane_stats.ended(time::now(), &request);
            self.fail(request, error);
        }
    }

    /// The deadline of request `id` has passed. What was handed to a stream may be stored all the same: then whatever has
    /// to stay behind it does.
    pub(crate) fn expired(&self, id: RequestId) {
        let request = self.resolve_and(id, |request| {
            let is_ordered = request.lane == ORDERED || !request.shards.is_empty();
            if request.written.is_some() && is_ordered {
                let (lane, ride) = (request.lane, request.ride);
                let shards = std::mem::take(&mut request.shards);
                self.expired_in_flight.hold(id, Held { lane, ride, shards });
            }
        });
        if let Some(request) = request {
            let error = SendError::new(SendErrorKind::Expired, fate_of(&request));
            self.lane_stats.ended(time::now(), &request);
            self.fail(request, &error);
        }
    }

    /// What was told as expired will not be stored any more, or has been.
    pub(crate) fn end_overdue(&self, id: RequestId) {
        let was_full = !self.expired_in_flight.has_room();
        if let Some(held) = self.expired_in_flight.end(id) {
            self.let_follow(&held);
            self.wake_lane(held.lane);
        }
        if was_full {
            self.wake_all();
        }
    }

    /// All streams of `lane` have ended but that of `ride`.
    pub(crate) fn expire_other_streams(&self, lane: usize, ride: u64) {
        for held in self.expired_in_flight.expire_other_streams(lane, ride) {
            self.let_follow(&held);
        }
    }

    /// What waited for this batch in its sub-queues may go anywhere.
    fn let_follow(&self, held: &Held) {
        for &(shard, messages) in &held.shards {
            self.queue.keys.answered(shard, messages);
        }
    }

    fn resolve(&self, id: RequestId) -> Option<Request> {
        self.resolve_and(id, |_| ())
    }

    /// Take a request out, and does something with it before others can see that. Where that makes room in a ring that
    /// had none, lanes that found it full look again.
    fn resolve_and(&self, id: RequestId, also: impl FnOnce(&mut Request)) -> Option<Request> {
        let mut inflight = self.inflight();
        let was_full = !inflight.has_room();
        let mut request = inflight.resolve(id);
        if let Some(request) = &mut request {
            also(request);
        }
        let has_room = inflight.has_room();
        drop(inflight);
        if was_full && has_room {
            self.wake_all();
        }
        request
    }

    pub(in crate::producer) fn fail(&self, request: Request, error: &SendError) {
        metrics::failed(request.messages as u64, error.kind().as_str());
        let mut messages = messages_of(&request);
        for part in &request.parts {
            let rest = messages.split_off(part.messages.min(messages.len()));
            let of_part = std::mem::replace(&mut messages, rest);
            part.promise.failed(error.clone(), of_part);
        }
        self.settle(&request, None);
    }

    /// Frees what a request held, once, and wakes its lane if that is not `here`.
    fn settle(&self, request: &Request, here: Option<usize>) {
        for &(shard, messages) in &request.shards {
            self.queue.keys.answered(shard, messages);
        }
        if here != Some(request.lane) {
            self.wake_lane(request.lane);
        }
        self.release(request.cost, request.epochs);
    }

    fn wake_lane(&self, lane: usize) {
        if lane == ORDERED {
            self.ordered.wake();
        } else if lane < MAX_LANES {
            self.queue.waker.wake(lane);
        }
    }

    pub(in crate::producer) fn release(&self, cost: Cost, epochs: [u64; 2]) {
        self.budget
            .release(cost, |admitted| self.admitted(admitted));
        for (epoch, chunks) in (0..).zip(epochs) {
            if chunks > 0 {
                self.epochs.resolved(epoch, chunks);
            }
        }
        #[cfg(feature = "spool")]
        if let Some(spool) = &self.spool
            && self.budget.used().messages == 0
        {
            spool.on_memory_whole();
        }
    }

    /// Messages that no lane took in time.
    pub(crate) fn drop_queued(&self, chunk: Chunk, shard: Option<ShardId>, error: &SendError) {
        self.fail(Request::unsent(chunk, shard, &self.topic), error);
    }

    /// Ends the producer: everything without an outcome gets its last one, and is handed back.
    pub(crate) fn end(&self, error: &SendError) -> Vec<Undelivered> {
        // The first end counts.
        let _ = self.end.set(error.clone());
        self.budget.close();
        let ids: Vec<_> = {
            let inflight = self.inflight();
            self.ended.store(true, Ordering::SeqCst);
            inflight.iter().map(|(id, _)| id).collect()
        };
        let mut left = Vec::new();
        for id in ids {
            let Some(request) = self.resolve(id) else {
                continue;
            };
            let fate = fate_of(&request);
            left.extend(undelivered(&request, fate));
            self.lane_stats.ended(time::now(), &request);
            self.fail(request, &error.clone().with_fate(fate));
        }
        left.extend(self.abandon_queued());
        #[cfg(feature = "spool")]
        if let Some(spool) = &self.spool {
            left.extend(spool.end(self, error));
        }
        left
    }

    pub(in crate::producer) fn abandon_queued(&self) -> Vec<Undelivered> {
        let mut left = Vec::new();
        for chunk in self.queue.drain().into_iter().chain(self.ordered.drain()) {
            let request = Request::unsent(chunk, None, &self.topic);
            left.extend(undelivered(&request, Fate::NotStored));
            self.fail(request, &self.ended_error().with_fate(Fate::NotStored));
        }
        left
    }
}

fn undelivered(request: &Request, fate: Fate) -> impl Iterator<Item = Undelivered> {
    messages_of(request)
        .into_iter()
        .map(move |message| Undelivered { message, fate })
}

/// What is known of a request that has no answer.
pub(crate) const fn fate_of(request: &Request) -> Fate {
    match request.written {
        Some(_) => Fate::Unknown,
        None => Fate::NotStored,
    }
}

/// What is known of a request that was refused when it had been handed to a stream so many times. Where it had been
/// before, an earlier time may have stored it, unless the broker looked for that first.
const fn fate_of_refused(code: FailureCode, attempts: u32) -> Fate {
    match code {
        FailureCode::StoreFailed | FailureCode::Unrecognised(_) => Fate::Unknown,
        FailureCode::StoreRefuses | FailureCode::Limit | FailureCode::UnknownTopic => {
            Fate::NotStored
        }
        _ if attempts > 1 => Fate::Unknown,
        _ => Fate::NotStored,
    }
}

fn messages_of(request: &Request) -> Vec<Message> {
    // The batch was made here, a moment ago: it decodes.
    let Ok(batch) = Batch::decode(request.batch.clone()) else {
        return Vec::new();
    };
    let records = batch.records();
    records
        .map(|record| Message::from_record(record, request.topic.clone()))
        .collect()
}
