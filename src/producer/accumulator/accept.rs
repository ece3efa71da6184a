//! The accumulator: accepts messages, holds them until a lane takes them, and frees what they held.
//!
//! A call reserves room in the [budget](super::budget), or waits in line for it. A message with room goes into a
//! [queue](super::queue), which a lane pulls. Its outcome releases its share of the budget, which admits the calls that
//! wait.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

#[cfg(test)]
use super::pause::{self, Point};
use super::{
    backlog_alarm::BacklogAlarm,
    budget::{self, Budget, Cost, Reservation},
    chunk::{ChunkLimits, ChunkStart, Entry},
    flush_epochs::FlushEpochs,
    key_shards::{KeyShards, ShardId},
    lane_waker::ORDERED,
    ordered::OrderedQueue,
    queue::{Queue, Taken},
    queued::{Queued, message_cost},
};
use crate::{
    TopicName,
    metrics::producer as metrics,
    producer::{
        Config, Fate, Message, SendError, SendErrorKind,
        receipt::{Promise, Receipt},
    },
    time,
};

/// What framing may add to a message of the largest size. Only a message with very many headers needs more.
pub(crate) const FRAMING: u64 = 64 << 10;
/// The calls of one chunk lie within a second, and within this part of the delivery timeout.
const MAX_AGE_SPREAD: Duration = Duration::from_secs(1);
const AGE_SPREAD_DIVISOR: u32 = 64;

/// Which queue a message goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// The queue that all lanes share (`send_async`).
    Unordered,
    /// The queue of the one ordered lane (`send`).
    Ordered,
}

/// The size of a message, as the budget and the queue count it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    /// The most bytes that it takes in a batch.
    pub(crate) encoded: usize,
    pub(crate) cost: Cost,
}

/// A message that waits for room.
#[derive(Debug)]
pub(crate) struct PendingMessage {
    pub(crate) message: Message,
    pub(crate) route: Route,
    pub(crate) size: Size,
    /// The time of the call, in nanoseconds since the producer began.
    pub(crate) at: u64,
    /// Gets the receipt once the message is accepted.
    pub(crate) receipt: oneshot::Sender<Receipt>,
}

/// A place in a line of calls that wait for room.
pub(crate) type WaiterId = budget::WaiterId<PendingMessage>;

/// What became of a submitted message.
pub(crate) enum Submitted {
    Accepted(Receipt),
    /// It waits for room; the receipt comes when it is accepted.
    Waiting(WaiterId, oneshot::Receiver<Receipt>),
}

/// A store beside the memory of an [`Accumulator`], which decides for each message where it goes.
#[cfg(feature = "spool")]
pub(crate) trait Overflow: std::fmt::Debug + Send + Sync {
    /// Accepts a message, in memory or here, or gives it its place in a line.
    fn submit(
        &self,
        memory: &Accumulator,
        message: Message,
        route: Route,
        size: Size,
    ) -> Result<Submitted, SendError>;

    /// Accepts a message, in memory or here, if there is room at once.
    fn try_submit(
        &self,
        memory: &Accumulator,
        message: Message,
        route: Route,
        size: Size,
    ) -> Result<Receipt, SendError>;

    /// Ready once a waiting message was admitted, or is given back.
    fn poll_admitted(
        &self,
        memory: &Accumulator,
        waiter: &WaiterId,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), PendingMessage>>;

    /// Takes a waiting message out of its line.
    fn withdraw(&self, memory: &Accumulator, waiter: &WaiterId) -> Option<PendingMessage>;

    /// Learns that messages in memory had their outcome, and whether none is left without one.
    fn on_released(&self, is_empty: bool);

    /// Returns how many messages here are without an outcome.
    fn unresolved(&self) -> u64;

    /// Accepts nothing more.
    fn close(&self);

    /// Gives everything without an outcome its last one, and returns the messages that are not kept here.
    fn end(&self, memory: &Accumulator, error: &SendError) -> Vec<Message>;
}

/// Everything of one producer that no lane has taken yet.
#[derive(Debug)]
pub(crate) struct Accumulator {
    config: Arc<Config>,
    topic: TopicName,
    budget: Budget<PendingMessage>,
    queue: Arc<Queue>,
    ordered: Arc<OrderedQueue>,
    epochs: FlushEpochs,
    backlog: BacklogAlarm,
    /// The lesser of the configured limit and the broker's. Written when a connection is established.
    max_message: AtomicU64,
    /// The size at which a chunk is closed. Written by lanes, from the size of their runs.
    chunk_bytes: AtomicUsize,
    /// The message count at which a chunk is closed.
    chunk_messages: AtomicUsize,
    /// How far apart the calls of one chunk may be, in nanoseconds. A message may expire this much early.
    max_age_spread: u64,
    /// Zero of the times that are kept as numbers.
    base: Instant,
    /// Set once nothing more is registered or delivered.
    ended: AtomicBool,
    /// Why the producer ended; empty while it runs. Written before `ended`.
    end_error: OnceLock<SendError>,
    /// Takes messages that memory has no room for; `None` without a spool.
    #[cfg(feature = "spool")]
    overflow: Option<Arc<dyn Overflow>>,
}

impl Accumulator {
    /// Creates an accumulator that holds at most `limit`.
    pub(crate) fn new(config: Arc<Config>, topic: TopicName, limit: Cost) -> Self {
        let base = time::now();
        let spread = config.delivery_timeout / AGE_SPREAD_DIVISOR;
        Self {
            budget: Budget::new(limit),
            queue: Arc::new(Queue::new(base)),
            ordered: Arc::new(OrderedQueue::new()),
            epochs: FlushEpochs::new(),
            backlog: BacklogAlarm::new(),
            max_message: AtomicU64::new(config.max_message_bytes),
            chunk_bytes: AtomicUsize::new(usize::MAX),
            chunk_messages: AtomicUsize::new(config.batch_messages),
            max_age_spread: nanos(spread.min(MAX_AGE_SPREAD)),
            base,
            ended: AtomicBool::new(false),
            end_error: OnceLock::new(),
            #[cfg(feature = "spool")]
            overflow: None,
            config,
            topic,
        }
    }

    /// Sends messages that memory has no room for to `overflow`.
    #[cfg(feature = "spool")]
    pub(crate) fn with_overflow(mut self, overflow: Arc<dyn Overflow>) -> Self {
        self.overflow = Some(overflow);
        self
    }

    // ---- from the call to the queue ----

    /// Accepts a message, or gives it its place among the calls that wait for room.
    pub(crate) fn submit(&self, message: Message, route: Route) -> Result<Submitted, SendError> {
        let Some(size) = self.size(&message) else {
            return Err(self.reject(SendErrorKind::TooLarge, message));
        };
        #[cfg(feature = "spool")]
        if let Some(overflow) = &self.overflow {
            return overflow.submit(self, message, route, size);
        }
        self.submit_to_memory(message, route, size)
    }

    /// Accepts a message if there is room at once.
    pub(crate) fn try_submit(&self, message: Message, route: Route) -> Result<Receipt, SendError> {
        let Some(size) = self.size(&message) else {
            return Err(self.reject(SendErrorKind::TooLarge, message));
        };
        #[cfg(feature = "spool")]
        if let Some(overflow) = &self.overflow {
            return overflow.try_submit(self, message, route, size);
        }
        self.try_submit_to_memory(message, route, size)
    }

    /// As [`submit`](Self::submit), without a look at the overflow.
    #[inline]
    pub(crate) fn submit_to_memory(
        &self,
        message: Message,
        route: Route,
        size: Size,
    ) -> Result<Submitted, SendError> {
        if self.budget.try_take(size.cost) {
            return self
                .accept_reserved(message, route, size)
                .map(Submitted::Accepted);
        }
        self.wait_for_room(message, route, size)
    }

    /// As [`try_submit`](Self::try_submit), without a look at the overflow.
    #[inline]
    pub(crate) fn try_submit_to_memory(
        &self,
        message: Message,
        route: Route,
        size: Size,
    ) -> Result<Receipt, SendError> {
        match self.budget.try_take(size.cost) {
            true => self.accept_reserved(message, route, size),
            false if self.budget.is_closed() => Err(self.reject(SendErrorKind::Closed, message)),
            false => Err(self.reject(SendErrorKind::Full, message)),
        }
    }

    #[cold]
    fn wait_for_room(
        &self,
        message: Message,
        route: Route,
        size: Size,
    ) -> Result<Submitted, SendError> {
        let (pending, receipt) = self.pending(message, route, size);
        match self.budget.reserve(size.cost, pending) {
            Reservation::Granted(PendingMessage { message, .. }) => self
                .accept_reserved(message, route, size)
                .map(Submitted::Accepted),
            Reservation::Waiting(waiter) => {
                if self.budget.may_admit() {
                    self.accept_admitted();
                }
                Ok(Submitted::Waiting(waiter, receipt))
            }
            Reservation::Closed(pending) => {
                Err(self.reject(SendErrorKind::Closed, pending.message))
            }
        }
    }

    /// Returns a message as it waits for room, and where its receipt will come.
    pub(crate) fn pending(
        &self,
        mut message: Message,
        route: Route,
        size: Size,
    ) -> (PendingMessage, oneshot::Receiver<Receipt>) {
        if message.timestamp().is_none() {
            message = message.with_timestamp(time::timestamp());
        }
        let (receipt, receiver) = oneshot::channel();
        let pending = PendingMessage {
            message,
            route,
            size,
            at: self.nanos(time::now()),
            receipt,
        };
        (pending, receiver)
    }

    /// Returns the size of a message; `None` for one that is too large.
    fn size(&self, message: &Message) -> Option<Size> {
        let len = message.content_len();
        let encoded = message.encoded_len();
        let most = self.max_message.load(Ordering::Relaxed);
        let headers = message.headers().len() <= crate::wire::Record::MAX_HEADERS;
        let fits = headers && len as u64 <= most && encoded as u64 <= most + FRAMING;
        fits.then(|| Size {
            encoded,
            cost: message_cost(len),
        })
    }

    /// Accepts a message whose room is reserved, unless the producer has ended meanwhile.
    pub(crate) fn accept_reserved(
        &self,
        message: Message,
        route: Route,
        size: Size,
    ) -> Result<Receipt, SendError> {
        if self.has_ended() {
            self.release(size.cost, [0; 2]);
            return Err(self.reject(SendErrorKind::Closed, message));
        }
        Ok(self.append(message, route, size, self.nanos(time::now()), None))
    }

    /// Appends a message to its queue. One that has a receipt and an epoch already keeps both.
    #[inline]
    pub(crate) fn append(
        &self,
        message: Message,
        route: Route,
        size: Size,
        at: u64,
        kept: Option<(Arc<Promise>, u64)>,
    ) -> Receipt {
        #[cfg(test)]
        pause::at(Point::NotCounted);
        let shard = message.key().map(|key| KeyShards::<Queued>::shard(key));
        let receipt = match (route, shard) {
            (Route::Unordered, None) => self.append_plain(&message, size, at, kept),
            (Route::Unordered, Some(shard)) => {
                let (queued, receipt) = self.queued(message, at, kept);
                self.queue.push_keyed(shard, queued);
                receipt
            }
            (Route::Ordered, _) => {
                let (queued, receipt) = self.queued(message, at, kept);
                self.ordered.push(queued);
                receipt
            }
        };
        if route == Route::Unordered {
            self.backlog.on_push(|| self.queue.len());
            if !self.config.linger.is_zero() && self.has_full_batch() {
                self.queue.filled();
            }
        }
        // If the producer ended in between, it drained the queue before this message was in it.
        if self.has_ended() {
            drop(self.abandon_queued());
        }
        receipt
    }

    fn append_plain(
        &self,
        message: &Message,
        size: Size,
        at: u64,
        kept: Option<(Arc<Promise>, u64)>,
    ) -> Receipt {
        let (promise, epoch) = kept.unzip();
        let entry = Entry {
            message,
            topic: message.topic().filter(|topic| **topic != self.topic),
            len: size.encoded,
            cost: size.cost,
            at,
            promise,
        };
        let limits = ChunkLimits {
            bytes: self.chunk_bytes.load(Ordering::Relaxed),
            messages: self.chunk_messages.load(Ordering::Relaxed),
            max_age_spread: self.max_age_spread,
            epoch: self.epochs.current(),
        };
        self.queue.push_plain(&entry, &limits, || ChunkStart {
            epoch: epoch.unwrap_or_else(|| self.epochs.begin()),
            ..self.clock()
        })
    }

    /// Returns a message that keeps its place among others, counted in its flush epoch, and its receipt.
    fn queued(
        &self,
        message: Message,
        at: u64,
        kept: Option<(Arc<Promise>, u64)>,
    ) -> (Queued, Receipt) {
        let (promise, epoch) =
            kept.unwrap_or_else(|| (Arc::new(Promise::of_one()), self.epochs.begin()));
        let receipt = Receipt::new(Arc::clone(&promise), 0);
        (Queued::new(message, promise, at, epoch), receipt)
    }

    /// Ready with `Ok` once a waiting message was admitted; with an error that holds it once nothing more is.
    pub(crate) fn poll_admitted(
        &self,
        waiter: &WaiterId,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendError>> {
        #[cfg(feature = "spool")]
        let polled = match &self.overflow {
            Some(overflow) => overflow.poll_admitted(self, waiter, cx),
            None => self.budget.poll_admitted(waiter, cx),
        };
        #[cfg(not(feature = "spool"))]
        let polled = self.budget.poll_admitted(waiter, cx);
        polled.map_err(|pending| self.reject(SendErrorKind::Closed, pending.message))
    }

    /// Takes a waiting message out of the line; `None` where it was admitted before.
    pub(crate) fn withdraw(&self, waiter: &WaiterId) -> Option<Message> {
        #[cfg(feature = "spool")]
        let withdrawn = match &self.overflow {
            Some(overflow) => overflow.withdraw(self, waiter),
            None => self.withdraw_from_memory(waiter),
        };
        #[cfg(not(feature = "spool"))]
        let withdrawn = self.withdraw_from_memory(waiter);
        withdrawn.map(|pending| pending.message)
    }

    /// As [`withdraw`](Self::withdraw), from the line for room in memory.
    pub(crate) fn withdraw_from_memory(&self, waiter: &WaiterId) -> Option<PendingMessage> {
        let withdrawn = self.budget.withdraw(waiter);
        // A smaller message behind it may fit.
        self.accept_admitted();
        withdrawn
    }

    /// Counts a message that was not accepted, and returns why.
    pub(crate) fn rejected(&self, kind: SendErrorKind) -> SendError {
        metrics::rejected(kind.as_str());
        match (kind, self.end_error.get()) {
            (SendErrorKind::Closed, Some(end)) => end.clone().with_fate(Fate::NotStored),
            _ => SendError::new(kind, Fate::NotStored),
        }
    }

    /// As [`rejected`](Self::rejected), with the message in the error.
    #[cold]
    pub(crate) fn reject(&self, kind: SendErrorKind, message: Message) -> SendError {
        self.rejected(kind).message(message)
    }

    // ---- what an outcome frees ----

    /// Frees what messages held of the budget, admits the calls that fit now, and tells the flushes that wait.
    pub(crate) fn release(&self, cost: Cost, epochs: [u64; 2]) {
        if self.budget.release(cost) {
            self.accept_admitted();
        }
        self.epochs.resolved_each(epochs);
        #[cfg(feature = "spool")]
        if let Some(overflow) = &self.overflow {
            overflow.on_released(self.is_empty());
        }
    }

    /// Accepts the waiting messages that there is room for, in the order of their calls.
    pub(crate) fn accept_admitted(&self) {
        while let Some(mut admitted) = self.budget.admit() {
            for pending in admitted.take() {
                let PendingMessage {
                    message,
                    route,
                    size,
                    at,
                    receipt,
                } = pending;
                // A caller that waits no longer has given up the receipt, not the message.
                let _ = receipt.send(self.append(message, route, size, at, None));
            }
        }
    }

    /// Lets what follows answered messages of an ordered sub-queue leave it.
    pub(crate) fn release_shards(&self, shards: &[(ShardId, usize)]) {
        for &(shard, messages) in shards {
            self.queue.answered(shard, messages);
        }
    }

    // ---- what lanes ask for ----

    /// Returns the queue that all lanes share.
    pub(crate) const fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    /// Returns the queue of the ordered lane.
    pub(crate) const fn ordered(&self) -> &Arc<OrderedQueue> {
        &self.ordered
    }

    /// Tells a lane to look again, asleep or about to be.
    pub(crate) fn tell_lane(&self, lane: usize) {
        match lane {
            ORDERED => self.ordered.tell(),
            lane => self.queue.tell_lane(lane),
        }
    }

    /// Tells every lane to look again.
    pub(crate) fn tell_all_lanes(&self) {
        self.queue.tell_all_lanes();
        self.ordered.tell();
    }

    /// Reads the clocks, for the times of calls. The epoch is not meaningful.
    pub(crate) fn clock(&self) -> ChunkStart {
        let now = time::now();
        ChunkStart {
            now,
            nanos: self.nanos(now),
            wall: time::timestamp(),
            epoch: 0,
        }
    }

    /// Returns whether as many messages wait as a batch holds.
    pub(crate) fn has_full_batch(&self) -> bool {
        self.queue.len() >= self.config.batch_messages
            || self.queue.bytes() >= self.config.batch_bytes
    }

    /// Sets the size at which a chunk is closed.
    pub(crate) fn set_chunk_bytes(&self, bytes: usize) {
        self.chunk_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Returns the size at which a chunk is closed.
    pub(crate) fn chunk_bytes(&self) -> usize {
        self.chunk_bytes.load(Ordering::Relaxed)
    }

    /// Makes every message a chunk of its own from now on.
    pub(crate) fn set_single_messages(&self) {
        self.chunk_messages.store(1, Ordering::Relaxed);
    }

    /// Applies the broker's limit for one message, and returns the lesser of it and the configured one.
    pub(crate) fn limit_message(&self, broker: u64) -> u64 {
        let most = broker.min(self.config.max_message_bytes);
        self.max_message.store(most, Ordering::Relaxed);
        most
    }

    // ---- what the whole producer asks for ----

    /// Returns the topic of messages that name none.
    pub(crate) const fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// Returns the options.
    pub(crate) const fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Returns how far apart the calls may be of messages that one deadline holds for.
    pub(crate) const fn age_spread(&self) -> Duration {
        Duration::from_nanos(self.max_age_spread)
    }

    /// Returns when a message that was called at `at` must have its outcome.
    pub(crate) fn deadline(&self, at: Instant) -> Instant {
        at + self.config.delivery_timeout
    }

    /// Returns what tells the scaler of a growing backlog.
    pub(crate) const fn backlog(&self) -> &BacklogAlarm {
        &self.backlog
    }

    /// Returns what flushes wait for.
    pub(crate) const fn epochs(&self) -> &FlushEpochs {
        &self.epochs
    }

    /// Returns how many messages wait for a lane.
    pub(crate) fn queued_messages(&self) -> usize {
        self.queue.len() + self.ordered.len()
    }

    /// Returns how many calls wait for room.
    pub(crate) fn waiting_calls(&self) -> usize {
        self.budget.waiting()
    }

    /// Returns how many messages are without an outcome.
    pub(crate) fn unresolved(&self) -> u64 {
        let in_memory = u64::from(self.budget.used().messages);
        #[cfg(feature = "spool")]
        if let Some(overflow) = &self.overflow {
            return in_memory + overflow.unresolved();
        }
        in_memory
    }

    /// Converts a moment to nanoseconds since the producer began.
    #[inline]
    pub(crate) fn nanos(&self, at: Instant) -> u64 {
        nanos(at.saturating_duration_since(self.base))
    }

    // ---- the end ----

    /// Accepts nothing more; the calls that wait for room get their messages back.
    pub(crate) fn close(&self) {
        self.budget.close();
        #[cfg(feature = "spool")]
        if let Some(overflow) = &self.overflow {
            overflow.close();
        }
    }

    /// Publishes why the producer ends, and accepts nothing more. The first reason counts.
    pub(crate) fn begin_end(&self, error: &SendError) {
        let _ = self.end_error.set(error.clone());
        self.budget.close();
    }

    /// Marks the end: from now on a message that is appended is given back at once.
    pub(crate) fn mark_ended(&self) {
        self.ended.store(true, Ordering::SeqCst);
    }

    /// Returns whether the producer has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// Returns why the producer ended, or will.
    pub(crate) fn end_error(&self) -> SendError {
        let end = self.end_error.get().cloned();
        end.unwrap_or_else(|| SendError::new(SendErrorKind::Closed, Fate::NotStored))
    }

    /// Gives every message that no lane has taken its last outcome, and returns these messages.
    pub(crate) fn abandon_queued(&self) -> Vec<Message> {
        let error = self.end_error().with_fate(Fate::NotStored);
        let ordered = self.ordered.drain().map(Taken::Queued);
        let taken = self.queue.drain().into_iter().chain(ordered);
        taken
            .flat_map(|taken| self.fail(taken, None, &error))
            .collect()
    }

    /// Gives messages that no lane has sent their last outcome, and returns them.
    pub(crate) fn fail(
        &self,
        taken: Taken,
        shard: Option<ShardId>,
        error: &SendError,
    ) -> Vec<Message> {
        let (messages, promise, cost, epochs) = match taken {
            Taken::Chunk(chunk) => {
                let (cost, epochs) = (chunk.cost, chunk.epochs());
                let promise = Arc::clone(&chunk.promise);
                (chunk.into_messages(&self.topic), promise, cost, epochs)
            }
            Taken::Queued(queued) => {
                let (cost, epochs) = (queued.cost(), queued.epochs());
                let (message, promise) = queued.into_message(&self.clock());
                let topic = message.topic().unwrap_or(&self.topic).clone();
                (vec![message.with_topic(topic)], promise, cost, epochs)
            }
        };
        metrics::failed(messages.len() as u64, error.kind().as_str());
        promise.failed(error.clone(), messages.clone());
        if let Some(shard) = shard {
            self.queue.answered(shard, messages.len());
        }
        self.release(cost, epochs);
        messages
    }

    /// Ends the overflow, and returns the messages on their way to it.
    #[cfg(feature = "spool")]
    pub(crate) fn end_overflow(&self, error: &SendError) -> Vec<Message> {
        let overflow = self.overflow.as_ref();
        overflow.map_or_else(Vec::new, |overflow| overflow.end(self, error))
    }
}

/// What an overflow may do with the memory of the accumulator.
#[cfg(feature = "spool")]
impl Accumulator {
    /// Returns how many messages in memory are without an outcome.
    pub(crate) fn messages_in_memory(&self) -> usize {
        usize::try_from(self.budget.used().messages).unwrap_or(usize::MAX)
    }

    /// Returns whether nothing that was accepted in memory is without an outcome.
    pub(crate) fn is_empty(&self) -> bool {
        self.budget.used().messages == 0
    }

    /// Returns whether no message is accepted any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.budget.is_closed()
    }

    /// Reserves room in memory, if there is any at once.
    pub(crate) fn try_reserve(&self, cost: Cost) -> bool {
        self.budget.try_take(cost)
    }

    /// Moves the calls that wait for room in memory to the line for `other`.
    pub(crate) fn transfer_waiters_to(&self, other: &Budget<PendingMessage>) {
        self.budget.transfer_waiters(other);
    }

    /// Moves the calls that wait for room in `other` to the line for memory.
    pub(crate) fn take_waiters_of(&self, other: &Budget<PendingMessage>) {
        other.transfer_waiters(&self.budget);
    }

    /// As [`poll_admitted`](Self::poll_admitted), in the line for room in memory.
    pub(crate) fn poll_admitted_to_memory(
        &self,
        waiter: &WaiterId,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), PendingMessage>> {
        self.budget.poll_admitted(waiter, cx)
    }

    /// Converts nanoseconds since the producer began to a moment.
    pub(crate) fn moment(&self, nanos: u64) -> Instant {
        self.base + Duration::from_nanos(nanos)
    }
}

/// Converts to nanoseconds. Exact for less than five hundred years.
#[inline]
fn nanos(time: Duration) -> u64 {
    time.as_secs()
        .wrapping_mul(1_000_000_000)
        .wrapping_add(time.subsec_nanos().into())
}
