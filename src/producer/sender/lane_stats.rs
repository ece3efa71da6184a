//! What each lane does at present: written by the lanes, read by the scaler.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::batcher::Request;
use crate::producer::accumulator::ORDERED;
use crate::scaler::meter::Answers;

/// The index of the dispatcher that has no lanes.
pub(crate) const PER_MESSAGE: usize = ORDERED + 1;

/// With at most this many bytes in flight a lane is never over its share: packets come in bursts of a few.
const ALWAYS_FAIR: u64 = 4 * 1200;

/// The state of all lanes of one producer.
#[derive(Debug)]
pub(crate) struct LaneStats {
    lanes: Box<[LaneState]>,
    /// Bytes in flight on all lanes that can be scaled.
    shared_bytes: AtomicU64,
    /// The number of these lanes that have a stream.
    streaming: AtomicUsize,
    /// Response times. Written for each answer, read by the scaler.
    answers: Mutex<Answers>,
    base: Instant,
}

/// The state of one lane.
#[derive(Debug, Default)]
pub(crate) struct LaneState {
    /// Whether its task runs. Set when it is started, cleared by the task when it ends.
    open: AtomicBool,
    /// Whether it has a stream.
    streaming: AtomicBool,
    /// Bytes of its unanswered batches, written or not yet.
    bytes: AtomicU64,
    /// Messages in these batches.
    messages: AtomicUsize,
    /// Whether it found its window full when it last looked.
    full: AtomicBool,
    /// When it was last answered, or got its first unanswered request, in microseconds since `base`.
    progress: AtomicU64,
    /// The time from the write of the last answered batch to its answer, in microseconds.
    response_time: AtomicU64,
}

impl LaneStats {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            lanes: (0..=PER_MESSAGE).map(|_| LaneState::default()).collect(),
            shared_bytes: AtomicU64::new(0),
            streaming: AtomicUsize::new(0),
            answers: Mutex::new(Answers::default()),
            base: now,
        }
    }

    pub(crate) fn lane(&self, lane: usize) -> &LaneState {
        &self.lanes[lane]
    }

    /// Returns the lanes that can be scaled.
    pub(crate) fn scaled(&self) -> &[LaneState] {
        &self.lanes[..ORDERED]
    }

    /// Returns the number of scaled lanes whose task runs.
    pub(crate) fn open_lanes(&self) -> usize {
        self.scaled().iter().filter(|lane| lane.is_open()).count()
    }

    /// Returns the unanswered messages and bytes of all lanes.
    pub(crate) fn in_flight(&self) -> (usize, u64) {
        self.lanes.iter().fold((0, 0), |(messages, bytes), lane| {
            (
                messages + lane.messages.load(Ordering::Relaxed),
                bytes + lane.bytes(),
            )
        })
    }

    pub(crate) fn registered(&self, now: Instant, request: &Request) {
        let lane = self.lane(request.lane);
        lane.messages.fetch_add(request.messages, Ordering::Relaxed);
        let before = lane
            .bytes
            .fetch_add(request.batch.len() as u64, Ordering::Relaxed);
        if request.lane < ORDERED {
            self.shared_bytes
                .fetch_add(request.batch.len() as u64, Ordering::Relaxed);
        }
        if before == 0 {
            lane.progress.store(self.micros(now), Ordering::Relaxed);
        }
    }

    pub(crate) fn answered(&self, now: Instant, request: &Request, processing: Duration) {
        self.ended(now, request);
        if let Some(written) = request.written {
            let took = now.saturating_duration_since(written);
            let network = took.saturating_sub(processing);
            let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            self.lane(request.lane)
                .response_time
                .store(micros, Ordering::Relaxed);
            self.answers()
                .on_answer(now, request.batch.len() as u64, took, network);
        }
    }

    pub(crate) fn ended(&self, now: Instant, request: &Request) {
        let lane = self.lane(request.lane);
        lane.messages.fetch_sub(request.messages, Ordering::Relaxed);
        lane.bytes
            .fetch_sub(request.batch.len() as u64, Ordering::Relaxed);
        if request.lane < ORDERED {
            self.shared_bytes
                .fetch_sub(request.batch.len() as u64, Ordering::Relaxed);
        }
        lane.progress.store(self.micros(now), Ordering::Relaxed);
    }

    /// Returns whether a lane has more than twice the mean of the lanes in flight: its stream stalls, or the broker is slow
    /// with it. New messages are better off on another lane.
    pub(crate) fn is_over_fair_share(&self, lane: usize) -> bool {
        let bytes = self.lane(lane).bytes();
        if lane >= ORDERED || bytes <= ALWAYS_FAIR {
            return false;
        }
        let lanes = self.streams() as u64;
        let all = self.shared_bytes.load(Ordering::Relaxed);
        lanes > 1 && bytes.saturating_mul(lanes) > all.saturating_mul(2)
    }

    /// Returns the number of scaled lanes that have a stream.
    pub(crate) fn streams(&self) -> usize {
        self.streaming.load(Ordering::Relaxed)
    }

    pub(crate) fn set_streaming(&self, lane: usize, streaming: bool) {
        let before = self.lane(lane).streaming.swap(streaming, Ordering::Relaxed);
        match (before, streaming) {
            (false, true) if lane < ORDERED => {
                self.streaming.fetch_add(1, Ordering::Relaxed);
            }
            (true, false) if lane < ORDERED => {
                self.streaming.fetch_sub(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }

    pub(crate) fn close(&self, lane: usize) {
        self.set_streaming(lane, false);
        let lane = self.lane(lane);
        lane.open.store(false, Ordering::Relaxed);
        lane.full.store(false, Ordering::Relaxed);
    }

    pub(crate) fn answers(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how long a lane with something unanswered has had no answer.
    pub(crate) fn stalled(&self, lane: &LaneState, now: Instant) -> Duration {
        if lane.bytes() == 0 {
            return Duration::ZERO;
        }
        let since = self.base + Duration::from_micros(lane.progress.load(Ordering::Relaxed));
        now.saturating_duration_since(since)
    }

    fn micros(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.base).as_micros()).unwrap_or(u64::MAX)
    }
}

impl LaneState {
    pub(crate) fn open(&self) {
        self.open.store(true, Ordering::Relaxed);
    }

    pub(crate) fn has_stream(&self) -> bool {
        self.streaming.load(Ordering::Relaxed)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Returns how long the last answer took; zero while nothing is unanswered.
    pub(crate) fn last_response_time(&self) -> Duration {
        match self.bytes() {
            0 => Duration::ZERO,
            _ => Duration::from_micros(self.response_time.load(Ordering::Relaxed)),
        }
    }

    /// Returns how many more bytes a window has room for. An empty lane always has room for one run.
    pub(crate) fn room(&self, window: u64) -> u64 {
        match self.bytes() {
            0 => window.max(1),
            bytes => window.saturating_sub(bytes),
        }
    }

    pub(crate) fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }
}
