//! A lane: one task, one pooled stream, one window of unanswered bytes.
//!
//! A lane pulls. Whenever its window has room it takes a run of what waits, makes it into batches, registers them under
//! request ids, and writes them. Beside that it reads the responses. A lane whose stream stalls stops pulling by itself,
//! and the others go on.
//!
//! A lane outlives its streams. What it has registered stays its own, in order, until it is answered. On a new stream it
//! writes all of that again, with the same ids, before anything new. While there is no connection it still takes messages
//! up to its window, so that their deadlines are kept.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use bytes::Bytes;

use super::{
    batcher::{BatchLimits, Batcher},
    context::LaneContext,
    requests::{Requests, ResponseEffect},
    source::LaneSource,
    transport,
};
use crate::{
    RequestId,
    conn::Session,
    pool::{FrameMark, PooledStream},
    producer::{
        Fate, SendError, SendErrorKind,
        accumulator::{ORDERED, Run, Take},
    },
    time,
    wire::{self, PacketReader},
};

/// How long a lane that got no stream waits before it asks the pool again.
const NO_STREAM_PAUSE: Duration = Duration::from_millis(100);
/// How long a lane keeps its stream when another route needs one and the peer permits no more.
const STREAM_TURN: Duration = Duration::from_millis(100);
/// The least and the most bytes of one piece of a write: about a packet, and a few.
const MIN_SEGMENT: u64 = 1024;
const MAX_SEGMENT: u64 = 8 * 1024;
/// The most frames of one write.
const MAX_FRAMES: usize = 8;
/// quinn's priority for new data. Probes, questions and retransmitted data have the default of 0 and go first.
const NEW: i32 = -1;
const SENT_BEFORE: i32 = 0;

/// One lane.
pub(crate) struct Lane {
    context: LaneContext,
    source: LaneSource,
    batcher: Batcher,
    /// The requests that this lane has registered, from the oldest that may be unanswered on.
    own: VecDeque<RequestId>,
    /// The number of `own` requests that were written on the present stream.
    written: usize,
    /// Counts the streams of this lane, and the times without one.
    stream_epoch: u64,
    /// What the lane may take, as it found when it last looked.
    take: Take,
    responses: Arc<ResponseFlag>,
    /// Set by the scaler: take nothing new, and end when everything is answered.
    retire: Arc<AtomicBool>,
}

/// Why a lane let go of a stream.
enum StreamEnd {
    /// It was retired, and has nothing unanswered.
    Retired,
    /// Another route needs a stream and the peer permits no more. The lane has nothing unanswered.
    Yielded,
    /// The stream or its connection is of no more use.
    Broken(&'static str),
}

impl Lane {
    pub(crate) fn new(context: LaneContext, source: LaneSource, retire: Arc<AtomicBool>) -> Self {
        let config = &context.config;
        let limits = BatchLimits {
            bytes: usize::try_from(config.batch_bytes).unwrap_or(usize::MAX),
            messages: config.batch_messages,
            age_spread: context.accumulator.age_spread(),
        };
        let topic = context.accumulator.topic().clone();
        let batcher = Batcher::new(source.index(), topic, limits);
        Self {
            context,
            source,
            batcher,
            own: VecDeque::new(),
            written: 0,
            stream_epoch: 0,
            take: Take::Any,
            responses: Arc::default(),
            retire,
        }
    }

    /// Runs until the lane is retired or the producer ends.
    pub(crate) async fn run(mut self) {
        let index = self.source.index();
        let requests = Arc::clone(&self.context.requests);
        requests.stats().lane(index).open();
        let stopped = self.context.transport.stopped();
        tokio::select! { biased;
            () = stopped.cancelled() => {}
            () = self.run_loop() => {}
        }
        requests.stats().close(index);
    }

    async fn run_loop(&mut self) {
        while let Some(session) = self.wait_for_session().await {
            // `send` may never be called: the ordered lane takes no stream before it is.
            if self.source.index() == ORDERED && self.is_idle() && !self.source.has_work() {
                self.source.wait(Take::Any).await;
                continue;
            }
            match self.run_on_stream(&session).await {
                StreamEnd::Retired => return,
                // The scaler opens another lane when it wants one.
                StreamEnd::Yielded if self.source.is_extra() && !self.source.has_work() => {
                    self.retire.store(true, Ordering::Relaxed);
                    return;
                }
                // The lane does not ask for a stream before there is something to send.
                StreamEnd::Yielded if !self.source.has_work() => self.source.wait(Take::Any).await,
                StreamEnd::Yielded => {}
                StreamEnd::Broken(why) => {
                    tracing::debug!(lane = self.source.index(), why, "a lane lost its stream");
                }
            }
        }
    }

    /// Waits for a connection, and takes messages meanwhile. Returns `None` once retired.
    async fn wait_for_session(&mut self) -> Option<Arc<Session>> {
        self.begin_stream_epoch();
        let mut state = self.context.transport.state();
        loop {
            if let Some(session) = transport::current_session_and_mark_seen(&mut state) {
                return Some(session);
            }
            if self.is_done() {
                return None;
            }
            let more = self.fill();
            tokio::select! { biased;
                () = state.changed(), if !more => {}
                () = self.wait(), if !more => {}
                else => tokio::task::yield_now().await,
            }
        }
    }

    /// Works on one stream until it breaks or the lane is done.
    async fn run_on_stream(&mut self, session: &Arc<Session>) -> StreamEnd {
        let stream = {
            let transport = &self.context.transport;
            // An extra lane gets a stream that is left over, not one that another lane has.
            let _demand = (!self.source.is_extra()).then(|| transport.demand_stream());
            if transport.has_stream_demand() {
                self.context.accumulator.tell_all_lanes();
            }
            transport.stream().await
        };
        let mut stream = match stream {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(lane = self.source.index(), %error, "no stream for a lane");
                if self.source.is_extra() && self.is_idle() {
                    self.retire.store(true, Ordering::Relaxed);
                    return StreamEnd::Retired;
                }
                tokio::select! { biased;
                    () = time::sleep(NO_STREAM_PAUSE) => {}
                    _ = session.connection().closed() => {}
                }
                return StreamEnd::Broken("no stream");
            }
        };
        if stream.session_number() != session.number() {
            PooledStream::discard(stream);
            return StreamEnd::Broken("the connection has changed");
        }
        if !self.context.transport.recovered(session).await {
            PooledStream::discard(stream);
            return StreamEnd::Broken("the connection was lost before anything was written on it");
        }
        self.begin_stream_epoch();
        let requests = Arc::clone(&self.context.requests);
        let flag = Arc::clone(&self.responses);
        let index = self.source.index();
        requests.stats().set_streaming(index, true);
        let (halves, mut mark) = PooledStream::with_mark(&mut stream);
        let (writer, responses) = halves.halves();
        let end = tokio::select! { biased;
            why = read_responses(&requests, responses, index, &flag) => StreamEnd::Broken(why),
            end = self.write_loop(writer, &mut mark, session) => end,
        };
        requests.stats().set_streaming(index, false);
        match end {
            StreamEnd::Retired | StreamEnd::Yielded => drop(stream),
            StreamEnd::Broken(_) => PooledStream::discard(stream),
        }
        end
    }

    async fn write_loop(
        &mut self,
        writer: &mut quinn::SendStream,
        mark: &mut FrameMark<'_>,
        session: &Session,
    ) -> StreamEnd {
        let since = time::now();
        // A handle of its own: a permit borrows it while the lane goes on.
        let transport = self.context.transport.clone();
        loop {
            let mut frames = self.next_frames(segment(session.path_stats().cwnd));
            if !frames.is_empty() {
                let streams = self.context.requests.stats().streams();
                let permit = transport.write_permit(session, streams).await;
                // A stream enters quinn's queue with the priority of that moment, and again with each lost packet. If a
                // lost packet had to wait behind two windows of new messages, it would be as late as they are.
                let _ = writer.set_priority(NEW);
                // A lane that is stopped in the middle of a frame does not return its stream to the pool.
                mark.begin();
                let written = permit.write(writer, &mut frames).await;
                let _ = writer.set_priority(SENT_BEFORE);
                if written.is_err() {
                    return StreamEnd::Broken("the stream takes no more");
                }
                mark.end();
                continue;
            }
            if transport.has_stream_demand() {
                let had_its_turn = time::now().saturating_duration_since(since) >= STREAM_TURN;
                if self.is_idle() && (had_its_turn || !self.source.has_work()) {
                    return StreamEnd::Yielded;
                }
                if had_its_turn && self.awaits_response() {
                    self.responses
                        .until_set_or(self.source.wait(Take::Nothing))
                        .await;
                    continue;
                }
            }
            if self.fill() {
                continue;
            }
            if self.is_done() {
                return StreamEnd::Retired;
            }
            self.wait().await;
        }
    }

    /// Returns the next registered requests that were not written on this stream: their heads, and their batches in pieces
    /// of `segment` bytes.
    fn next_frames(&mut self, segment: usize) -> Vec<Bytes> {
        let mut pieces = Vec::new();
        if self.written == self.own.len() {
            return pieces;
        }
        let now = time::now();
        let mut again = 0;
        let mut in_flight = self.context.requests.in_flight();
        let low = in_flight.low();
        let mut frames = 0;
        while frames < MAX_FRAMES {
            let Some(&id) = self.own.get(self.written) else {
                break;
            };
            if let Some(request) = in_flight.get_mut(id) {
                // It is on its way to the spool.
                if request.written.is_none() && self.context.requests.is_sweeping() {
                    break;
                }
                frames += 1;
                request.attempts += 1;
                again += u64::from(request.attempts > 1);
                request.written.get_or_insert(now);
                request.stream_epoch = self.stream_epoch;
                pieces.push(wire::produce_head(
                    id,
                    low,
                    &request.topic,
                    request.batch.len(),
                ));
                push_segments(&mut pieces, request.batch.clone(), segment);
            }
            self.written += 1;
        }
        drop(in_flight);
        self.context.requests.count_retries(again);
        pieces
    }

    /// Takes a run and registers it, if the window has room and something waits. Returns whether something was taken.
    fn fill(&mut self) -> bool {
        self.forget_answered();
        let LaneContext {
            config,
            accumulator,
            requests,
            run_size,
            ..
        } = &self.context;
        let index = self.source.index();
        let stats = requests.stats();
        let (room, over_fair_share) = match requests.is_sweeping() {
            // Nothing of it is sent: it goes to the spool.
            true => (u64::MAX, false),
            false => (
                stats.lane(index).room(config.scaler.lane_window),
                stats.is_over_fair_share(index),
            ),
        };
        let least_room = run_size.least_room(accumulator.chunk_bytes());
        let full = room < least_room || !requests.has_room();
        stats.lane(index).set_full(full || over_fair_share);
        let retires = self.retire.load(Ordering::Relaxed);
        self.take = if full || retires && self.source.release_idle_shards() {
            Take::Nothing
        } else if over_fair_share || retires {
            Take::OwnShards
        } else {
            Take::Any
        };
        if self.take != Take::Any {
            self.source.stop_searching();
        }
        let sharing = match index {
            ORDERED => 1,
            _ => stats.open_lanes(),
        };
        let sizes = run_size.next(self.source.waiting_bytes(), sharing);
        if index != ORDERED {
            accumulator.set_chunk_bytes(sizes.chunk);
        }
        let run = Run {
            bytes: sizes.run.min(room),
            messages: config.batch_messages,
        };
        let clock = accumulator.clock();
        let oldest = clock.now.checked_sub(config.delivery_timeout);
        let mut late = Vec::new();
        let (batcher, late_ones) = (&mut self.batcher, &mut late);
        let taken = self
            .source
            .pull(self.take, run, &clock, oldest, batcher, late_ones);
        for (taken, shard) in late {
            let error = SendError::new(SendErrorKind::Expired, Fate::NotStored);
            drop(accumulator.fail(taken, shard, &error));
        }
        if taken > 0 {
            requests.register(self.batcher.finish(), &mut self.own);
        }
        taken > 0
    }

    /// Begins another stream, or a time without one: nothing more comes of the stream before.
    fn begin_stream_epoch(&mut self) {
        self.written = 0;
        self.stream_epoch += 1;
    }

    /// Forgets what is answered, and what expired on streams that have ended.
    fn forget_answered(&mut self) {
        let requests = &self.context.requests;
        requests.end_expired_of_other_streams(self.source.index(), self.stream_epoch);
        if self.own.is_empty() {
            return;
        }
        let mut in_flight = requests.in_flight();
        while let Some(&id) = self.own.front() {
            if in_flight.get_mut(id).is_some() {
                break;
            }
            self.own.pop_front();
            self.written = self.written.saturating_sub(1);
        }
    }

    fn is_idle(&mut self) -> bool {
        !self.awaits_response() && self.source.release_idle_shards()
    }

    /// Returns whether a response to this lane may still come.
    fn awaits_response(&mut self) -> bool {
        self.forget_answered();
        !self.own.is_empty() || self.context.requests.has_expired(self.source.index())
    }

    fn is_done(&mut self) -> bool {
        self.retire.load(Ordering::Relaxed) && self.is_idle()
    }

    /// Waits until there may be something to do.
    async fn wait(&mut self) {
        let take = self.take;
        self.responses.until_set_or(self.source.wait(take)).await;
        let linger = self.context.config.linger;
        if take == Take::Any && !linger.is_zero() && self.source.has_work() {
            let accumulator = &self.context.accumulator;
            tokio::select! { biased;
                () = self.source.linger(|| accumulator.has_full_batch()) => {}
                () = time::sleep(linger) => {}
            }
        }
    }
}

/// Set by the half of a lane that reads responses, seen by the half that writes. Both are one task, and the second is polled
/// after the first, so the task need not be woken for it.
#[derive(Debug, Default)]
struct ResponseFlag(AtomicBool);

impl ResponseFlag {
    fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Waits for `wait`; returns at once if the flag was set since the last call.
    async fn until_set_or(&self, wait: impl Future<Output = ()>) {
        let mut wait = pin!(wait);
        poll_fn(|cx| match self.0.swap(false, Ordering::Relaxed) {
            true => Poll::Ready(()),
            false => wait.as_mut().poll(cx),
        })
        .await;
    }
}

/// Reads the responses to a lane until its stream is of no more use, and returns why.
async fn read_responses(
    requests: &Requests,
    responses: &mut PacketReader,
    lane: usize,
    flag: &ResponseFlag,
) -> &'static str {
    loop {
        match responses.next().await {
            Ok(Some(response)) => match requests.on_response(response, Some(lane)) {
                ResponseEffect::Continue => flag.set(),
                ResponseEffect::StreamFailed => return "the broker refused a batch of it",
                ResponseEffect::Unexpected => return "the broker sent a packet that is no response",
            },
            Err(_) => return "the stream cannot be read",
            Ok(None) => return "the broker ended the stream",
        }
    }
}

/// Returns the size of the pieces of a write. quinn counts a piece against its send window until all of it is acknowledged. A
/// batch in one piece, as large as the congestion window, would keep the path idle while its last packet is under way, and so
/// would many lanes with a large piece each.
fn segment(cwnd: u64) -> usize {
    let bytes = (cwnd / 8).clamp(MIN_SEGMENT, MAX_SEGMENT);
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn push_segments(pieces: &mut Vec<Bytes>, mut batch: Bytes, segment: usize) {
    while batch.len() > segment {
        pieces.push(batch.split_to(segment));
    }
    pieces.push(batch);
}
