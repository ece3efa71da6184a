//! The requests of one producer, from their registration to their outcome.
//!
//! Every message gets its one outcome here, by its request: the broker's response, a deadline, or the end of the producer.
//! What the request held is freed once, at that moment.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::{
    batcher::Request,
    expired::{ExpiredBatch, ExpiredInFlight},
    in_flight::InFlight,
    lane_stats::LaneStats,
};
use crate::{
    RequestId,
    metrics::producer as metrics,
    producer::{
        Fate, SendError, SendErrorKind, Undelivered,
        accumulator::{Accumulator, ORDERED},
        receipt::Accepted,
    },
    time,
    wire::{Failure, FailureCode, Packet, Refused, Stored},
};

/// What a response means for the stream that it came on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResponseEffect {
    /// The stream goes on.
    Continue,
    /// The broker stores nothing more of this stream: a batch was refused, and none after it may be stored before the
    /// producer knows that.
    StreamFailed,
    /// The packet is no response.
    Unexpected,
}

/// The requests without an outcome, and what completes them.
#[derive(Debug)]
pub(crate) struct Requests {
    accumulator: Arc<Accumulator>,
    in_flight: Mutex<InFlight<Request>>,
    /// Written under the lock of `in_flight` when a request moves from there to here.
    expired: ExpiredInFlight,
    stats: LaneStats,
    /// Whether requests that were not written yet are on their way to the spool, and must not be written. Changes under the
    /// lock of `in_flight`.
    sweeping: AtomicBool,
    /// Notified when a request is registered during a sweep.
    registered: Notify,
    /// Batches written more than once.
    retried: AtomicU64,
    /// Notified when a request has an earlier deadline than the one that is being waited for.
    earlier_deadline: Notify,
    /// The call whose deadline is being waited for, in microseconds since `base`; `u64::MAX` for none. Read and written
    /// under the lock of `in_flight`.
    watched_call: AtomicU64,
    base: Instant,
}

impl Requests {
    pub(crate) fn new(accumulator: Arc<Accumulator>) -> Self {
        let base = time::now();
        Self {
            accumulator,
            in_flight: Mutex::new(InFlight::new()),
            expired: ExpiredInFlight::default(),
            stats: LaneStats::new(base),
            sweeping: AtomicBool::new(false),
            registered: Notify::new(),
            retried: AtomicU64::new(0),
            earlier_deadline: Notify::new(),
            watched_call: AtomicU64::new(u64::MAX),
            base,
        }
    }

    /// Returns what the lanes do at present.
    pub(crate) const fn stats(&self) -> &LaneStats {
        &self.stats
    }

    /// Returns the requests without an outcome, locked.
    pub(crate) fn in_flight(&self) -> MutexGuard<'_, InFlight<Request>> {
        self.in_flight
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    // ---- on the way out ----

    /// Registers the batches of a run in order and appends their ids. If the producer has ended, the batches get their
    /// outcome instead.
    pub(crate) fn register(
        &self,
        requests: impl Iterator<Item = Request>,
        ids: &mut VecDeque<RequestId>,
    ) {
        let now = time::now();
        let mut refused = Vec::new();
        let mut earliest = None;
        let mut in_flight = self.in_flight();
        for request in requests {
            if self.accumulator.has_ended() {
                refused.push(request);
                continue;
            }
            metrics::batched(
                request.messages,
                request.batch.len(),
                now.saturating_duration_since(request.at),
            );
            earliest = Some(earliest.map_or(request.at, |e: Instant| e.min(request.at)));
            self.stats.registered(now, &request);
            ids.push_back(in_flight.register(request));
        }
        let watched = self.watched_call.load(Ordering::Relaxed);
        drop(in_flight);
        if self.is_sweeping() {
            self.registered.notify_one();
        }
        if earliest.is_some_and(|at| self.micros(at) < watched) {
            self.earlier_deadline.notify_one();
        }
        for request in refused {
            self.fail(request, &self.accumulator.end_error());
        }
    }

    /// Returns whether another run may be registered.
    pub(crate) fn has_room(&self) -> bool {
        self.in_flight().has_room() && self.expired.has_room()
    }

    /// Returns whether requests that were not written yet must not be written.
    pub(crate) fn is_sweeping(&self) -> bool {
        self.sweeping.load(Ordering::SeqCst)
    }

    /// Counts batches that are written again.
    pub(crate) fn count_retries(&self, batches: u64) {
        self.retried.fetch_add(batches, Ordering::Relaxed);
        metrics::retried(batches);
    }

    /// Returns how many batches were written more than once.
    pub(crate) fn retried(&self) -> u64 {
        self.retried.load(Ordering::Relaxed)
    }

    /// Returns the requests without an outcome that were handed to a stream, oldest first.
    pub(crate) fn written(&self) -> Vec<RequestId> {
        let in_flight = self.in_flight();
        let written = in_flight
            .iter()
            .filter(|(_, request)| request.written.is_some());
        written.map(|(id, _)| id).collect()
    }

    // ---- on the way back ----

    /// Completes the request that a response is about. `lane` is the lane that read it: it is not woken for it.
    pub(crate) fn on_response(&self, response: Packet, lane: Option<usize>) -> ResponseEffect {
        match response {
            Packet::Stored(stored) => {
                self.complete_stored(&stored, lane);
                ResponseEffect::Continue
            }
            Packet::Refused(refused) => {
                match refused.failure.code {
                    // A closing broker's refusals go to the next connection, and what follows a refused batch goes to
                    // the next stream, both within their deadlines.
                    FailureCode::Closing | FailureCode::AfterRejected => {}
                    _ => self.complete_refused(refused),
                }
                ResponseEffect::StreamFailed
            }
            _ => ResponseEffect::Unexpected,
        }
    }

    /// Completes a request that the broker has stored.
    pub(crate) fn complete_stored(&self, stored: &Stored, lane: Option<usize>) {
        let Some(request) = self.take(stored.request, |_| ()) else {
            return self.end_expired(stored.request);
        };
        let now = time::now();
        let processing = Duration::from_micros(u64::from(stored.processing_us));
        self.stats.answered(now, &request, processing);
        let batch = Arc::new(Accepted {
            topic: request.topic.clone(),
            base: stored.base,
            time: stored.time,
        });
        let mut first = 0;
        for part in &request.parts {
            part.promise.stored(Arc::clone(&batch), first);
            // A batch counts its messages in 32 bits.
            first += u32::try_from(part.messages).unwrap_or(u32::MAX);
        }
        metrics::acked(
            request.messages as u64,
            now.saturating_duration_since(request.at),
            processing,
        );
        self.free(&request, lane);
    }

    fn complete_refused(&self, refused: Refused) {
        let Some(request) = self.take(refused.request, |_| ()) else {
            return self.end_expired(refused.request);
        };
        let Failure { code, detail } = refused.failure;
        let fate = fate_of_refused(code, request.attempts);
        let error = SendError::new(SendErrorKind::Refused(code), fate).detail(detail);
        self.stats.ended(time::now(), &request);
        self.fail(request, &error);
    }

    /// Completes a request with an error.
    pub(crate) fn complete_failed(&self, id: RequestId, error: &SendError) {
        if let Some(request) = self.take(id, |_| ()) {
            self.stats.ended(time::now(), &request);
            self.fail(request, error);
        }
    }

    /// Takes a request out, and calls `also` before others can see that. Where that makes room in a table that was full,
    /// all lanes look again.
    fn take(&self, id: RequestId, also: impl FnOnce(&mut Request)) -> Option<Request> {
        let mut in_flight = self.in_flight();
        let was_full = !in_flight.has_room();
        let mut request = in_flight.resolve(id);
        if let Some(request) = &mut request {
            also(request);
        }
        let has_room = in_flight.has_room();
        drop(in_flight);
        if was_full && has_room {
            self.accumulator.tell_all_lanes();
        }
        request
    }

    fn fail(&self, request: Request, error: &SendError) {
        metrics::failed(request.messages as u64, error.kind().as_str());
        let mut messages = request.to_messages();
        for part in &request.parts {
            let rest = messages.split_off(part.messages.min(messages.len()));
            let of_part = std::mem::replace(&mut messages, rest);
            part.promise.failed(error.clone(), of_part);
        }
        self.free(&request, None);
    }

    /// Frees what a request held, and wakes its lane unless that is `lane`.
    fn free(&self, request: &Request, lane: Option<usize>) {
        self.accumulator.release_shards(&request.shards);
        if lane != Some(request.lane) {
            self.accumulator.tell_lane(request.lane);
        }
        self.accumulator.release(request.cost, request.epochs);
    }

    // ---- deadlines ----

    /// Returns the earliest call among the requests, whose deadline is waited for from now on.
    pub(crate) fn watch_earliest_call(&self) -> Option<Instant> {
        let in_flight = self.in_flight();
        let earliest = in_flight.iter().map(|(_, request)| request.at).min();
        let watched = earliest.map_or(u64::MAX, |at| self.micros(at));
        // Under the lock, so that a request that is not among these ones finds the new value.
        self.watched_call.store(watched, Ordering::Relaxed);
        earliest
    }

    /// Waits until a request is registered whose call is earlier than the one that is watched.
    pub(crate) async fn earlier_call(&self) {
        self.earlier_deadline.notified().await;
    }

    /// Completes a request whose deadline has passed. If it was handed to a stream, the broker may store it all the same:
    /// then what must not overtake it keeps to its stream.
    pub(crate) fn expire(&self, id: RequestId) {
        let request = self.take(id, |request| {
            let is_ordered = request.lane == ORDERED || !request.shards.is_empty();
            if request.written.is_some() && is_ordered {
                let batch = ExpiredBatch {
                    lane: request.lane,
                    stream_epoch: request.stream_epoch,
                    shards: std::mem::take(&mut request.shards),
                };
                self.expired.insert(id, batch);
            }
        });
        if let Some(request) = request {
            let error = SendError::new(SendErrorKind::Expired, request.fate());
            self.stats.ended(time::now(), &request);
            self.fail(request, &error);
        }
    }

    /// Lets what waits for an expired batch go on: it will not be stored any more, or has been.
    pub(crate) fn end_expired(&self, id: RequestId) {
        let was_full = !self.expired.has_room();
        if let Some(batch) = self.expired.remove(id) {
            self.accumulator.release_shards(&batch.shards);
            self.accumulator.tell_lane(batch.lane);
        }
        if was_full {
            self.accumulator.tell_all_lanes();
        }
    }

    /// Ends the expired batches that were written on earlier streams of a lane: nothing more comes of those.
    pub(crate) fn end_expired_of_other_streams(&self, lane: usize, stream_epoch: u64) {
        for batch in self.expired.remove_other_streams(lane, stream_epoch) {
            self.accumulator.release_shards(&batch.shards);
        }
    }

    /// Returns whether the broker may still answer an expired batch of this lane.
    pub(crate) fn has_expired(&self, lane: usize) -> bool {
        self.expired.awaits_response(lane)
    }

    /// Returns whether the broker may still answer this request, which has expired.
    pub(crate) fn is_expired(&self, id: RequestId) -> bool {
        self.expired.contains(id)
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.base).as_micros()).unwrap_or(u64::MAX)
    }

    // ---- the end ----

    /// Ends the producer: everything without an outcome gets its last one, and is handed back.
    pub(crate) fn end(&self, error: &SendError) -> Vec<Undelivered> {
        self.accumulator.begin_end(error);
        let ids: Vec<_> = {
            // Under this lock: from now on nothing is registered.
            let in_flight = self.in_flight();
            self.accumulator.mark_ended();
            in_flight.iter().map(|(id, _)| id).collect()
        };
        let mut left = Vec::new();
        for id in ids {
            let Some(request) = self.take(id, |_| ()) else {
                continue;
            };
            let fate = request.fate();
            let messages = request.to_messages().into_iter();
            left.extend(messages.map(|message| Undelivered { message, fate }));
            self.stats.ended(time::now(), &request);
            self.fail(request, &error.clone().with_fate(fate));
        }
        let mut not_sent = self.accumulator.abandon_queued();
        #[cfg(feature = "spool")]
        not_sent.extend(self.accumulator.end_overflow(error));
        left.extend(not_sent.drain(..).map(|message| Undelivered {
            message,
            fate: Fate::NotStored,
        }));
        left
    }
}

/// What the spool does with requests when memory goes to disk.
#[cfg(feature = "spool")]
impl Requests {
    /// Keeps requests from being written for the first time, until [`end_sweep`](Self::end_sweep).
    pub(crate) fn begin_sweep(&self) {
        let _in_flight = self.in_flight();
        self.sweeping.store(true, Ordering::SeqCst);
    }

    /// Takes the requests that were never written, oldest first. Their lanes go on with what follows. What they hold of the
    /// budget and of the flush epochs is the caller's to free.
    pub(crate) fn take_unwritten(&self) -> Vec<Request> {
        let ids: Vec<_> = {
            let in_flight = self.in_flight();
            let unwritten = in_flight.iter().filter(|(_, r)| r.written.is_none());
            unwritten.map(|(id, _)| id).collect()
        };
        let now = time::now();
        let mut taken = Vec::with_capacity(ids.len());
        for id in ids {
            // Nothing is written for the first time during a sweep, so it was not written in between either.
            let Some(mut request) = self.take(id, |_| ()) else {
                continue;
            };
            self.stats.ended(now, &request);
            let shards = std::mem::take(&mut request.shards);
            self.accumulator.release_shards(&shards);
            self.accumulator.tell_lane(request.lane);
            taken.push(request);
        }
        taken
    }

    /// Returns the number of messages in requests, if all of them were written before.
    pub(crate) fn only_written(&self) -> Option<usize> {
        let in_flight = self.in_flight();
        let mut messages = 0;
        for (_, request) in in_flight.iter() {
            request.written?;
            messages += request.messages;
        }
        Some(messages)
    }

    /// Waits until another request is registered.
    pub(crate) async fn wait_registered(&self) {
        self.registered.notified().await;
    }

    /// Lets requests be written again.
    pub(crate) fn end_sweep(&self) {
        {
            let _in_flight = self.in_flight();
            self.sweeping.store(false, Ordering::SeqCst);
        }
        self.accumulator.tell_all_lanes();
    }
}

/// Returns what is known of a request that was refused after `attempts` writes. An earlier write may have been stored,
/// unless the broker looked for that first.
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use futures_util::FutureExt;

    use super::*;
    use crate::{
        TopicName,
        producer::{Config, accumulator::Cost},
    };

    #[tokio::test]
    async fn a_request_that_comes_while_the_timer_is_set_has_its_deadline_watched() {
        let topic = TopicName::new("t").unwrap();
        let room = Cost {
            messages: 10,
            bytes: 1 << 20,
        };
        let accumulator = Accumulator::new(Arc::new(Config::default()), topic, room);
        let requests = Requests::new(Arc::new(accumulator));
        let first = time::now();
        let request = |at| Request {
            topic: TopicName::new("t").unwrap(),
            batch: bytes::Bytes::new(),
            messages: 0,
            parts: Vec::new(),
            cost: Cost::default(),
            shards: Vec::new(),
            epochs: [0, 0],
            at,
            lane: 0,
            written: None,
            stream_epoch: 0,
            attempts: 0,
        };
        let mut ids = VecDeque::new();
        requests.register(std::iter::once(request(first)), &mut ids);
        assert_eq!(requests.earlier_call().now_or_never(), Some(()));
        assert_eq!(requests.watch_earliest_call(), Some(first));
        // A later deadline than the one that is watched wakes no task.
        let second = first + Duration::from_secs(1);
        requests.register(std::iter::once(request(second)), &mut ids);
        assert_eq!(requests.earlier_call().now_or_never(), None);
        ids.drain(..).for_each(|id| requests.expire(id));
        // From the look at the deadlines on, there is none, so that each one is earlier.
        assert_eq!(requests.watch_earliest_call(), None);
        requests.register(std::iter::once(request(second)), &mut ids);
        assert_eq!(requests.earlier_call().now_or_never(), Some(()));
    }
}
