//! What the parts of one producer share. How messages get in stands in `intake.rs`, how they end in `outcomes.rs`.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

#[cfg(feature = "spool")]
use super::spool::{self, OpenError, Spool};
use super::{
    Config, Fate, SendError, SendErrorKind,
    accumulator::accept::{FRAMING, PendingMessage},
    accumulator::budget::{Budget, Cost},
    accumulator::flush_epochs::FlushEpochs,
    accumulator::ordered::OrderedQueue,
    accumulator::queue::Queue,
    sender::batcher::Request,
    sender::expired::ExpiredInFlight,
    sender::in_flight::InFlight,
    sender::lane_stats::LaneStats,
};
use crate::{RequestId, TopicName, metrics::producer as metrics, time, wire::Connected};

/// How large a run may be before the broker has told its longest frame.
const RUN_BEFORE_LIMIT: u64 = 1 << 20;
/// So many chunks of full size at least are in a lane's window.
const CHUNKS_OF_WINDOW: u64 = 4;
/// The calls of one chunk lie within a second, or within so many parts of the delivery timeout.
const MAX_SPREAD: Duration = Duration::from_secs(1);
const SPREAD_OF_TIMEOUT: u32 = 64;

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) topic: TopicName,
    pub(crate) budget: Budget<PendingMessage>,
    pub(crate) queue: Queue,
    pub(crate) ordered: OrderedQueue,
    pub(crate) epochs: FlushEpochs,
    pub(crate) lane_stats: LaneStats,
    inflight: Mutex<InFlight<Request>>,
    /// Taken under the lock of `inflight` for what leaves that.
    pub(crate) expired_in_flight: ExpiredInFlight,
    /// Set once, under the lock of `inflight`: from then on nothing is registered.
    pub(super) ended: AtomicBool,
    /// Why it ended; empty while it lives.
    pub(super) end: OnceLock<SendError>,
    /// The least of the configured limit and the broker's.
    pub(super) max_message: AtomicU64,
    /// What fits into the broker's longest frame, the last message not counted.
    max_run: AtomicU64,
    /// How large a chunk may become before the next one is begun. Written by lanes, by what a run should be.
    pub(super) chunk_bytes: AtomicUsize,
    /// The same in messages.
    pub(super) chunk_messages: AtomicUsize,
    /// How far apart the calls of one chunk may be: by so much earlier than its own deadline a message may expire.
    /// In nanoseconds.
    pub(super) max_age_spread: u64,

    /// The scaler should look: the backlog crossed its edge, or there is work again after a quiet time.
    pub(crate) scaler_notify: Notify,
    /// Batches written again so far.
    retried: AtomicU64,
    /// How many queued messages the scaler wants to be told of. Written by the scaler.
    pub(crate) backlog_edge: AtomicUsize,
    /// The scaler saw nothing to do and waits for the next message. Written by the scaler, cleared by that message.
    pub(crate) scaler_quiet: AtomicBool,

    /// A request has an earlier deadline than the one that is being waited for.
    pub(crate) deadline_notify: Notify,
    /// The call whose deadline is being waited for, in microseconds since `base`; `u64::MAX` for none.
    deadline_watched: AtomicU64,
    base: Instant,

    /// A full batch waits: nobody need linger any longer.
    pub(super) batch_notify: Notify,

    /// Where messages go that memory has no room for; `None` where that was not asked for.
    #[cfg(feature = "spool")]
    pub(super) spool: Option<std::sync::Arc<Spool>>,
}

impl Shared {
    pub(crate) fn new(config: Config, topic: TopicName) -> Self {
        let base = time::now();
        let limit = Self::limit_of(&config);
        Self {
            end: OnceLock::new(),
            max_message: AtomicU64::new(config.max_message_bytes as u64),
            max_run: AtomicU64::new(RUN_BEFORE_LIMIT),
            chunk_bytes: AtomicUsize::new(chunk_bytes(
                &config,
                config.batch_bytes.min(RUN_BEFORE_LIMIT),
            )),
            chunk_messages: AtomicUsize::new(config.batch_messages),
            max_age_spread: nanos((config.delivery_timeout / SPREAD_OF_TIMEOUT).min(MAX_SPREAD)),
            config,
            topic,
            budget: Budget::new(limit),
            queue: Queue::new(base),
            ordered: OrderedQueue::new(),
            epochs: FlushEpochs::new(),
            lane_stats: LaneStats::new(base),
            inflight: Mutex::new(InFlight::new()),
            expired_in_flight: ExpiredInFlight::default(),
            ended: AtomicBool::new(false),
            scaler_notify: Notify::new(),
            retried: AtomicU64::new(0),
            backlog_edge: AtomicUsize::new(usize::MAX),
            scaler_quiet: AtomicBool::new(false),
            deadline_notify: Notify::new(),
            deadline_watched: AtomicU64::new(u64::MAX),
            base,
            batch_notify: Notify::new(),
            #[cfg(feature = "spool")]
            spool: None,
        }
    }

    /// The same, with the spool that `config` asks for. Waits for the disk.
    #[cfg(feature = "spool")]
    pub(crate) fn with_spool(config: Config, topic: TopicName) -> Result<Self, OpenError> {
        let buffer = Cost {
            messages: config.buffer_messages,
            bytes: config.buffer_bytes,
        };
        let asked = config.spool.clone();
        let mut shared = Self::new(config, topic);
        if let Some(asked) = asked {
            shared.spool = Some(std::sync::Arc::new(Spool::open(
                asked,
                spool::staging(buffer),
            )?));
        }
        Ok(shared)
    }

    /// What the budget may hold.
    fn limit_of(config: &Config) -> Cost {
        let buffer = Cost {
            messages: config.buffer_messages,
            bytes: config.buffer_bytes,
        };
        #[cfg(feature = "spool")]
        if config.spool.is_some() {
            let staging = spool::staging(buffer);
            return Cost {
                messages: buffer.messages - staging.messages,
                bytes: buffer.bytes - staging.bytes,
            };
        }
        buffer
    }

    /// The broker's own limits are known.
    pub(crate) fn limit(&self, broker: &Connected) {
        let most = u64::from(broker.max_message).min(self.config.max_message_bytes as u64);
        self.max_message.store(most, Ordering::Relaxed);
        // A run may pass its bound by its last message.
        let run = u64::from(broker.max_frame).saturating_sub(most + 2 * FRAMING);
        self.max_run.store(run.max(1), Ordering::Relaxed);
    }

    pub(super) fn has_full_batch(&self) -> bool {
        self.queue.len() >= self.config.batch_messages
            || self.queue.bytes() >= self.config.batch_bytes
    }

    /// Waits for more messages, as long as `linger` says or until there is a full batch.
    pub(crate) async fn linger(&self) {
        let full = self.batch_notify.notified();
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
        let lanes = self
            .lane_stats
            .scaled()
            .iter()
            .filter(|l| l.is_open())
            .count();
        let share = self.queue.bytes() / lanes.max(1) as u64;
        let most = self
            .config
            .batch_bytes
            .min(self.max_run.load(Ordering::Relaxed));
        let run = share.max(self.config.lane_switch_bytes).min(most);
        // A lane that is alone takes all there is in any case.
        let chunk = if lanes > 1 { run } else { most };
        self.chunk_bytes
            .store(chunk_bytes(&self.config, chunk), Ordering::Relaxed);
        run
    }

    /// With less room than this in its window a lane waits: it takes whole chunks, and comes as near to its window as they do.
    pub(crate) fn least_room(&self) -> u64 {
        let chunk = self.chunk_bytes.load(Ordering::Relaxed) as u64;
        (chunk / 2).clamp(1, self.config.scaler.lane_window.max(1))
    }

    /// Every message is a chunk of its own from now on.
    pub(crate) fn single_messages(&self) {
        self.chunk_messages.store(1, Ordering::Relaxed);
    }

    /// Registers a run's batches in order and appends their ids. Where the producer has ended, they get their
    /// outcome instead.
    pub(crate) fn register(
        &self,
        requests: impl Iterator<Item = Request>,
        ids: &mut VecDeque<RequestId>,
    ) {
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
                request.messages,
                request.batch.len(),
                now.saturating_duration_since(request.at),
            );
            earliest = Some(earliest.map_or(request.at, |e: Instant| e.min(request.at)));
            self.lane_stats.registered(now, &request);
            ids.push_back(inflight.register(request));
        }
        drop(inflight);
        if earliest.is_some_and(|at| self.micros(at) < self.deadline_watched.load(Ordering::SeqCst))
        {
            self.deadline_notify.notify_one();
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

    /// A moment in nanoseconds since the producer began.
    #[inline]
    pub(super) fn nanos(&self, at: Instant) -> u64 {
        nanos(at.saturating_duration_since(self.base))
    }

    /// The moment that is so many nanoseconds after the producer began.
    #[cfg(feature = "spool")]
    pub(super) fn moment(&self, nanos: u64) -> Instant {
        self.base + Duration::from_nanos(nanos)
    }

    pub(super) fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.base).as_micros()).unwrap_or(u64::MAX)
    }

    pub(super) fn ended_error(&self) -> SendError {
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

    /// The requests without an answer that were handed to a stream, oldest first.
    pub(crate) fn written(&self) -> Vec<RequestId> {
        let inflight = self.inflight();
        let written = inflight
            .iter()
            .filter(|(_, request)| request.written.is_some());
        written.map(|(id, _)| id).collect()
    }

    /// Whether another run may be registered.
    pub(crate) fn has_room(&self) -> bool {
        self.inflight().has_room() && self.expired_in_flight.has_room()
    }

    /// The requests without an answer.
    pub(crate) fn inflight(&self) -> MutexGuard<'_, InFlight<Request>> {
        self.inflight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When a message that was called at `at` must have its outcome.
    pub(crate) fn deadline(&self, at: Instant) -> Instant {
        at + self.config.delivery_timeout
    }

    /// Messages without an outcome.
    pub(crate) fn open(&self) -> u64 {
        let open = u64::from(self.budget.used().messages);
        #[cfg(feature = "spool")]
        if let Some(spool) = &self.spool {
            return open + spool.unsettled();
        }
        open
    }

    /// Whether [`Shared::end`] was called.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }
}

/// For less than five hundred years.
#[inline]
fn nanos(time: Duration) -> u64 {
    time.as_secs()
        .wrapping_mul(1_000_000_000)
        .wrapping_add(time.subsec_nanos().into())
}

/// How large a chunk may become where it should have `wanted` bytes: a lane has several in its window.
fn chunk_bytes(config: &Config, wanted: u64) -> usize {
    let most = (config.scaler.lane_window / CHUNKS_OF_WINDOW).max(config.lane_switch_bytes);
    usize::try_from(wanted.min(most)).unwrap_or(usize::MAX)
}
