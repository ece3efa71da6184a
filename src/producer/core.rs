//! What the parts of one producer share: the way in, and the one place where outcomes are settled.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::{
    Config, Fate, Message, SendError, SendErrorKind, Undelivered,
    batcher::Request,
    budget::{Budget, Cost, Entrance, Ticket},
    feed::ORDERED,
    flush::Eras,
    gauges::Gauges,
    inflight::InFlight,
    ordered::OrderedQueue,
    parking::MAX_LANES,
    queue::{Queue, Queued},
    receipt::{self, Accepted, Receipt},
};
use crate::{
    RequestId, Timestamp, TopicName,
    metrics::producer as metrics,
    time,
    wire::{Batch, Connected, Record, Stored, encoded_len},
};

/// What a message costs of the budget beside its content: the memory of its place in the queue and of its receipt.
pub(crate) const MESSAGE_OVERHEAD: u64 = 256;

/// What framing may add to a message of the largest size. Only a message of very many headers has more.
const FRAMING: u64 = 64 << 10;

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Any lane.
    Lanes,
    /// The one ordered stream.
    Ordered,
}

/// A message in front of the budget, with the way it will go.
#[derive(Debug)]
pub(crate) struct Applicant {
    queued: Queued,
    way: Way,
}

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) topic: TopicName,
    pub(crate) budget: Budget<Applicant>,
    pub(crate) queue: Queue,
    pub(crate) ordered: OrderedQueue,
    pub(crate) eras: Eras,
    pub(crate) gauges: Gauges,
    inflight: Mutex<InFlight<Request>>,
    /// Set once, under the lock of `inflight`: from then on nothing is registered.
    ended: AtomicBool,
    /// Why it ended; empty while it lives.
    end: OnceLock<SendError>,
    /// The least of the configured limit and the broker's.
    max_message: AtomicU64,
    /// What fits into the broker's longest frame, the last message not counted.
    max_run: AtomicU64,

    /// The scaler should look: the backlog crossed its edge, or there is work again after a quiet time.
    pub(crate) scaler_door: Notify,
    /// Batches written again so far.
    retried: AtomicU64,
    /// How many queued messages the scaler wants to be told of. Written by the scaler.
    pub(crate) backlog_edge: AtomicUsize,
    /// The scaler saw nothing to do and waits for the next message. Written by the scaler, cleared by that message.
    pub(crate) scaler_quiet: AtomicBool,

    /// A request has an earlier deadline than the one that is being waited for.
    pub(crate) deadline_door: Notify,
    /// The call whose deadline is being waited for, in microseconds since `base`; `u64::MAX` for none.
    deadline_watched: AtomicU64,
    base: Instant,

    /// A full batch waits: nobody need linger any longer.
    batch_door: Notify,
}

/// What a call that sends gets.
pub(crate) enum Entered {
    Accepted(Receipt),
    Waiting(Ticket, Receipt),
}

impl Core {
    pub(crate) fn new(config: Config, topic: TopicName) -> Self {
        let limit = Cost {
            messages: config.buffer_messages,
            bytes: config.buffer_bytes,
        };
        Self {
            end: OnceLock::new(),
            max_message: AtomicU64::new(config.max_message_bytes as u64),
            max_run: AtomicU64::new(u64::MAX),
            config,
            topic,
            budget: Budget::new(limit),
            queue: Queue::new(time::now()),
            ordered: OrderedQueue::new(),
            eras: Eras::new(),
            gauges: Gauges::new(time::now()),
            inflight: Mutex::new(InFlight::new()),
            ended: AtomicBool::new(false),
            scaler_door: Notify::new(),
            retried: AtomicU64::new(0),
            backlog_edge: AtomicUsize::new(usize::MAX),
            scaler_quiet: AtomicBool::new(false),
            deadline_door: Notify::new(),
            deadline_watched: AtomicU64::new(u64::MAX),
            base: time::now(),
            batch_door: Notify::new(),
        }
    }

    /// The broker's own limits are known.
    pub(crate) fn limit(&self, broker: &Connected) {
        let most = u64::from(broker.max_message).min(self.config.max_message_bytes as u64);
        self.max_message.store(most, Ordering::Relaxed);
        // A run may pass its bound by its last message.
        let run = u64::from(broker.max_frame).saturating_sub(most + 2 * FRAMING);
        self.max_run.store(run.max(1), Ordering::Relaxed);
    }

    /// Takes a message in, or gives it its place among those that wait for room.
    pub(crate) fn enter(
        &self,
        message: Message,
        way: Way,
        wait: bool,
    ) -> Result<Entered, SendError> {
        let len = message.content_len() as u64;
        let encoded = encoded_len(&message.record) as u64;
        let most = self.max_message.load(Ordering::Relaxed);
        if len > most || encoded > most + FRAMING {
            return Err(self.rejected(SendErrorKind::TooLarge).message(message));
        }
        let Message { mut record, topic } = message;
        if record.time == Timestamp::default() {
            record.time = time::timestamp();
        }
        let (slot, receipt) = receipt::slot();
        let cost = Cost::one(len + MESSAGE_OVERHEAD);
        let applicant = Applicant {
            queued: Queued {
                record,
                topic,
                slot,
                len: encoded,
                cost,
                at: time::now(),
                era: 0,
            },
            way,
        };
        if !wait {
            if !self.budget.try_take(cost) {
                return Err(self.reject(SendErrorKind::Full, applicant));
            }
            return self.admit(applicant).map(|()| Entered::Accepted(receipt));
        }
        match self.budget.enter(cost, applicant) {
            Entrance::Admitted(applicant) => {
                self.admit(applicant).map(|()| Entered::Accepted(receipt))
            }
            Entrance::Waiting(ticket) => Ok(Entered::Waiting(ticket, receipt)),
            Entrance::Closed(applicant) => Err(self.reject(SendErrorKind::Closed, applicant)),
        }
    }

    /// An applicant that holds its budget is accepted, unless the producer has ended meanwhile.
    fn admit(&self, applicant: Applicant) -> Result<(), SendError> {
        if self.ended.load(Ordering::SeqCst) {
            let mut admitted = Vec::new();
            self.budget.release(applicant.queued.cost, &mut admitted);
            admitted.into_iter().for_each(Applicant::forsake);
            return Err(self.reject(SendErrorKind::Closed, applicant));
        }
        self.accept(applicant);
        Ok(())
    }

    fn accept(&self, Applicant { mut queued, way }: Applicant) {
        queued.era = self.eras.accept();
        match way {
            Way::Lanes => {
                let waiting = self.queue.push(queued);
                if waiting == self.backlog_edge.load(Ordering::Relaxed)
                    || self.scaler_quiet.load(Ordering::Relaxed)
                        && self.scaler_quiet.swap(false, Ordering::SeqCst)
                {
                    self.scaler_door.notify_one();
                }
                if !self.config.linger.is_zero() && self.has_full_batch() {
                    self.batch_door.notify_waiters();
                }
            }
            Way::Ordered => self.ordered.push(queued),
        }
        // An end that came in between has drained the queue before this message was in it.
        if self.ended.load(Ordering::SeqCst) {
            self.abandon_queued();
        }
    }

    /// Ready once a message that waited was accepted, or is given back.
    pub(crate) fn poll_entered(
        &self,
        ticket: Ticket,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendError>> {
        self.budget
            .poll_admitted(ticket, cx)
            .map_err(|applicant| self.reject(SendErrorKind::Closed, applicant))
    }

    /// Why a message that was not accepted is not; counted.
    pub(crate) fn rejected(&self, kind: SendErrorKind) -> SendError {
        metrics::rejected(kind);
        match (kind, self.end.get()) {
            (SendErrorKind::Closed, Some(end)) => end.clone().with_fate(Fate::NotStored),
            _ => SendError::new(kind, Fate::NotStored),
        }
    }

    fn reject(&self, kind: SendErrorKind, applicant: Applicant) -> SendError {
        self.rejected(kind).message(applicant.into_message())
    }

    fn has_full_batch(&self) -> bool {
        self.queue.len() >= self.config.batch_messages
            || self.queue.bytes() >= self.config.batch_bytes
    }

    /// Waits for more messages, as long as `linger` says or until there is a full batch.
    pub(crate) async fn linger(&self) {
        let full = self.batch_door.notified();
        tokio::pin!(full);
        full.as_mut().enable();
        if !self.has_full_batch() {
            tokio::select! { biased;
                () = full => {}
                () = time::sleep(self.config.linger) => {}
            }
        }
    }

    /// How many bytes one run should have: an equal share of what waits for each lane, at least a packet and at
    /// most a batch.
    pub(crate) fn run_bytes(&self) -> u64 {
        let lanes = self.gauges.scaled().iter().filter(|l| l.is_open()).count();
        let share = self.queue.bytes() / lanes.max(1) as u64;
        share
            .max(self.config.run_bytes)
            .min(self.config.batch_bytes)
            .min(self.max_run.load(Ordering::Relaxed))
    }

    /// Gives back the place of an applicant who does not want to wait any longer; the message comes back
    /// unless it was accepted before.
    pub(crate) fn leave(&self, ticket: Ticket) -> Option<Message> {
        let mut admitted = Vec::new();
        let applicant = self.budget.leave(ticket, &mut admitted);
        self.accept_all(admitted);
        applicant.map(Applicant::into_message)
    }

    fn accept_all(&self, admitted: Vec<Applicant>) {
        for applicant in admitted {
            self.accept(applicant);
        }
    }

    /// Nobody enters any more; those who wait for room get their messages back.
    pub(crate) fn close_entrance(&self) {
        self.budget.close();
    }

    /// Registers a run's batches in order and appends their ids. Where the producer has ended, they get their
    /// outcome instead.
    pub(crate) fn register(&self, requests: Vec<Request>, ids: &mut VecDeque<RequestId>) {
        let now = time::now();
        let mut refused = Vec::new();
        let mut earliest = None;
        let mut inflight = self.inflight();
        for request in requests {
            if self.has_ended() {
                refused.push(request);
                continue;
            }
            metrics::batched(
                request.slots.len(),
                request.batch.len(),
                now.saturating_duration_since(request.at),
            );
            earliest = Some(earliest.map_or(request.at, |e: Instant| e.min(request.at)));
            self.gauges.registered(now, &request);
            ids.push_back(inflight.register(request));
        }
        drop(inflight);
        if earliest.is_some_and(|at| self.micros(at) < self.deadline_watched.load(Ordering::SeqCst))
        {
            self.deadline_door.notify_one();
        }
        for request in refused {
            self.fail(request, &self.ended_error());
        }
    }

    /// Whose deadline is being waited for now.
    pub(crate) fn watch_deadline(&self, at: Option<Instant>) {
        let watched = at.map_or(u64::MAX, |at| self.micros(at));
        self.deadline_watched.store(watched, Ordering::SeqCst);
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.base).as_micros()).unwrap_or(u64::MAX)
    }

    fn ended_error(&self) -> SendError {
        let end = self.end.get().cloned();
        end.unwrap_or_else(|| SendError::new(SendErrorKind::Closed, Fate::NotStored))
    }

    /// So many batches are being written again.
    pub(crate) fn count_retries(&self, batches: u64) {
        self.retried.fetch_add(batches, Ordering::Relaxed);
        metrics::retried(batches);
    }

    /// Batches written again so far.
    pub(crate) fn retried(&self) -> u64 {
        self.retried.load(Ordering::Relaxed)
    }

    /// Whether another run may be registered.
    pub(crate) fn has_room(&self) -> bool {
        self.inflight().has_room()
    }

    /// The requests without an answer.
    pub(crate) fn inflight(&self) -> MutexGuard<'_, InFlight<Request>> {
        self.inflight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a request out. Where that makes room in a ring that had none, lanes that found it full look again.
    fn resolve(&self, id: RequestId) -> Option<Request> {
        let mut inflight = self.inflight();
        let was_full = !inflight.has_room();
        let request = inflight.resolve(id);
        let has_room = inflight.has_room();
        drop(inflight);
        if was_full && has_room {
            (0..MAX_LANES).for_each(|lane| self.queue.parking.wake(lane));
            self.ordered.wake();
        }
        request
    }

    /// The broker has stored a request.
    pub(crate) fn stored(&self, stored: &Stored) {
        let Some(mut request) = self.resolve(stored.request) else {
            return;
        };
        let now = time::now();
        let held = Duration::from_micros(u64::from(stored.held_us));
        self.gauges.answered(now, &request, held);
        let accepted = Arc::new(Accepted {
            topic: request.topic.clone(),
            base: stored.base,
            time: stored.time,
        });
        let mut index = 0;
        for slot in request.slots.drain(..) {
            slot.stored(&accepted, index);
            index += 1;
        }
        metrics::acked(
            u64::from(index),
            now.saturating_duration_since(request.at),
            held,
        );
        self.settle(&request);
    }

    /// Request `id` ends without an acknowledgement. What is known of it depends on whether it was handed to a stream,
    /// unless `fate` says more.
    pub(crate) fn failed(&self, id: RequestId, error: &SendError) {
        if let Some(request) = self.resolve(id) {
            self.gauges.ended(time::now(), &request);
            self.fail(request, error);
        }
    }

    fn fail(&self, mut request: Request, error: &SendError) {
        let slots = std::mem::take(&mut request.slots);
        metrics::failed(slots.len() as u64, error.kind());
        let messages = messages_of(&request);
        for (slot, message) in slots.into_iter().zip(messages) {
            slot.failed(error.clone().message(message));
        }
        self.settle(&request);
    }

    /// Frees what a request held, once.
    fn settle(&self, request: &Request) {
        for &(shard, messages) in &request.shards {
            self.queue.keys.answered(shard, messages);
        }
        self.wake_lane(request.lane);
        self.release(request.cost, request.eras);
    }

    fn wake_lane(&self, lane: usize) {
        if lane == ORDERED {
            self.ordered.wake();
        } else if lane < MAX_LANES {
            self.queue.parking.wake(lane);
        }
    }

    fn release(&self, cost: Cost, eras: [u64; 2]) {
        let mut admitted = Vec::new();
        self.budget.release(cost, &mut admitted);
        self.accept_all(admitted);
        for (era, messages) in (0..).zip(eras) {
            if messages > 0 {
                self.eras.resolved(era, messages);
            }
        }
    }

    /// A message that no lane took in time.
    pub(crate) fn drop_queued(&self, queued: Queued, error: SendError) {
        let mut eras = [0; 2];
        eras[usize::from(queued.era & 1 == 1)] = 1;
        let cost = queued.cost;
        metrics::failed(1, error.kind());
        queued.slot.failed(error.message(Message {
            record: queued.record,
            topic: queued.topic,
        }));
        self.release(cost, eras);
    }

    /// When a message that was called at `at` must have its outcome.
    pub(crate) fn deadline(&self, at: Instant) -> Instant {
        at + self.config.delivery_timeout
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
            left.extend(
                messages_of(&request)
                    .into_iter()
                    .map(|message| Undelivered { message, fate }),
            );
            self.gauges.ended(time::now(), &request);
            self.fail(request, &error.clone().with_fate(fate));
        }
        left.extend(self.abandon_queued());
        left
    }

    /// Whether [`Core::end`] was called.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    fn abandon_queued(&self) -> Vec<Undelivered> {
        let mut left = Vec::new();
        for queued in self.queue.drain().into_iter().chain(self.ordered.drain()) {
            left.push(Undelivered {
                message: Message {
                    record: queued.record.clone(),
                    topic: queued.topic.clone(),
                },
                fate: Fate::NotStored,
            });
            self.drop_queued(queued, self.ended_error().with_fate(Fate::NotStored));
        }
        left
    }
}

/// What is known of a request that has no answer.
pub(crate) const fn fate_of(request: &Request) -> Fate {
    match request.written {
        Some(_) => Fate::Unknown,
        None => Fate::NotStored,
    }
}

fn messages_of(request: &Request) -> Vec<Message> {
    // The batch was made here, a moment ago: it decodes.
    let Ok(batch) = Batch::decode(request.batch.clone()) else {
        return Vec::new();
    };
    let topic = Some(request.topic.clone());
    batch
        .records()
        .map(|record: Record| Message {
            record,
            topic: topic.clone(),
        })
        .collect()
}

impl Applicant {
    fn into_message(self) -> Message {
        Message {
            record: self.queued.record,
            topic: self.queued.topic,
        }
    }

    /// Was admitted by a release of a producer that has ended.
    fn forsake(self) {
        let Self { queued, .. } = self;
        queued
            .slot
            .failed(SendError::new(SendErrorKind::Closed, Fate::NotStored));
    }
}
