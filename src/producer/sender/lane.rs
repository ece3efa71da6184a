//! A lane: one task, one pooled stream, one window of unanswered bytes.
//!
//! A lane pulls. Whenever its window has room it takes a run of what waits, makes it into batches, registers them
//! under request ids and writes them; beside that it reads the answers. A lane whose stream stalls stops pulling by
//! itself, and the others carry on.
//!
//! A lane outlives its streams: what it has registered stays its own, in order, until it is answered. On a new
//! stream it writes all of that again, with the same ids, before anything new. While there is no connection it goes
//! on taking messages up to its window, so that their deadlines are kept.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;

use crate::producer::{
    Fate, SendError, SendErrorKind,
    accumulator::queue::Run,
    sender::batcher::Batcher,
    sender::responses::{self, ResponseFlag},
    sender::source::{LaneSource, ORDERED, Take},
    sender::transport::{self, Transport},
    shared::Shared,
};
use crate::{
    RequestId,
    conn::Session,
    pool::{FrameMark, PooledStream},
    time, wire,
};

/// How long a lane waits before it asks the pool again after it got no stream.
const NO_STREAM_PAUSE: Duration = Duration::from_millis(100);
/// The fewest and the most bytes of one piece: about a packet, and a few.
const LEAST_SEGMENT: u64 = 1024;
const MOST_SEGMENT: u64 = 8 * 1024;
/// The most frames of one write.
const FRAMES: usize = 8;
/// What is new waits behind all else: probes, questions, and what is sent again, which have quinn's default of 0.
const NEW: i32 = -1;
const SENT_BEFORE: i32 = 0;

pub(crate) struct Lane {
    shared: Arc<Shared>,
    transport: Transport,
    feed: LaneSource,
    batcher: Batcher,
    /// What this lane has registered, from the oldest that may be unanswered on.
    mine: VecDeque<RequestId>,
    /// How many of `mine` were written on the present stream.
    written: usize,
    /// How many streams, and times without one, came before.
    ride: u64,
    /// What it found at its last look that it may take.
    takes: Take,
    bell: Arc<ResponseFlag>,
    /// Set by the scaler: take nothing new, end when all is answered.
    retire: Arc<AtomicBool>,
}

/// Where the peer permits no further stream and another road needs one, how long a lane keeps its own.
const TURN: Duration = Duration::from_millis(100);

/// Why a lane let go of a stream.
enum End {
    /// It was asked to, and has nothing unanswered.
    Retired,
    /// Another road needs a stream, and the peer permits no more. It has nothing unanswered.
    Yielded,
    /// The stream or its connection is of no use any more.
    Broken(&'static str),
}

impl Lane {
    pub(crate) fn new(
        shared: Arc<Shared>,
        transport: Transport,
        feed: LaneSource,
        retire: Arc<AtomicBool>,
    ) -> Self {
        let config = &shared.config;
        let batch_bytes = usize::try_from(config.batch_bytes).unwrap_or(usize::MAX);
        let topic = shared.topic.clone();
        let batcher = Batcher::new(feed.index(), topic, batch_bytes, config.batch_messages);
        Self {
            shared,
            transport,
            feed,
            batcher,
            mine: VecDeque::new(),
            written: 0,
            ride: 0,
            takes: Take::Any,
            bell: Arc::default(),
            retire,
        }
    }

    /// Runs until retired, or until the producer has ended.
    pub(crate) async fn run(mut self) {
        let index = self.feed.index();
        self.shared.lane_stats.lane(index).open();
        let stopped = self.transport.stopped();
        tokio::select! { biased;
            () = stopped.cancelled() => {}
            () = self.live() => {}
        }
        self.shared.lane_stats.close(index);
    }

    async fn live(&mut self) {
        while let Some(link) = self.await_link().await {
            // Messages of `send` may never come: no stream is taken before they do.
            if self.feed.index() == ORDERED && self.is_idle() && !self.feed.has_work() {
                self.feed.wait(Take::Any).await;
                continue;
            }
            match self.ride(&link).await {
                End::Retired => return,
                // The scaler asks for another when it wants one.
                End::Yielded if self.feed.is_spare() && !self.feed.has_work() => {
                    self.retire.store(true, Ordering::Relaxed);
                    return;
                }
                // Not back into the line before there is something to send.
                End::Yielded if !self.feed.has_work() => self.feed.wait(Take::Any).await,
                End::Yielded => {}
                End::Broken(why) => {
                    tracing::debug!(lane = self.feed.index(), why, "a lane lost its stream");
                }
            }
        }
    }

    /// Waits for a connection, and takes messages meanwhile. `None` once retired.
    async fn await_link(&mut self) -> Option<Arc<Session>> {
        self.begin_stream_epoch();
        let mut links = self.transport.links();
        loop {
            if let Some(link) = transport::look(&mut links) {
                return Some(link);
            }
            if self.is_done() {
                return None;
            }
            let more = self.fill();
            tokio::select! { biased;
                () = links.changed(), if !more => {}
                () = self.wait(), if !more => {}
                else => tokio::task::yield_now().await,
            }
        }
    }

    /// Works on one stream until it breaks or the lane is done.
    async fn ride(&mut self, link: &Arc<Session>) -> End {
        let stream = {
            // Further lanes are worth a stream that is left over, not one that somebody has.
            let _in_need = (!self.feed.is_spare()).then(|| self.transport.in_need());
            if self.transport.is_wanted() {
                self.shared.wake_all();
            }
            self.transport.stream().await
        };
        let mut stream = match stream {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(lane = self.feed.index(), %error, "no stream for a lane");
                if self.feed.is_spare() && self.is_idle() {
                    self.retire.store(true, Ordering::Relaxed);
                    return End::Retired;
                }
                tokio::select! { biased;
                    () = time::sleep(NO_STREAM_PAUSE) => {}
                    _ = link.connection().closed() => {}
                }
                return End::Broken("no stream");
            }
        };
        if stream.session_number() != link.number() {
            PooledStream::discard(stream);
            return End::Broken("the connection has changed");
        }
        if !self.transport.resumed(link).await {
            PooledStream::discard(stream);
            return End::Broken("the connection was lost before anything was written on it");
        }
        self.begin_stream_epoch();
        let (shared, bell) = (Arc::clone(&self.shared), Arc::clone(&self.bell));
        let index = self.feed.index();
        self.shared.lane_stats.set_streaming(index, true);
        let (halves, mut frames) = PooledStream::with_mark(&mut stream);
        let (writer, answers) = halves.halves();
        let end = tokio::select! { biased;
            why = responses::read(&shared, answers, index, &bell) => End::Broken(why),
            end = self.work(writer, &mut frames, link) => end,
        };
        self.shared.lane_stats.set_streaming(index, false);
        match end {
            End::Retired | End::Yielded => drop(stream),
            End::Broken(_) => PooledStream::discard(stream),
        }
        end
    }

    async fn work(
        &mut self,
        writer: &mut quinn::SendStream,
        frames: &mut FrameMark<'_>,
        link: &Session,
    ) -> End {
        let since = time::now();
        loop {
            let mut chunks = self.next_frames(segment(link.path_stats().cwnd));
            if !chunks.is_empty() {
                let turn = self
                    .transport
                    .turn(link, self.shared.lane_stats.streams())
                    .await;
                // A stream takes its place in quinn's line with the priority of that moment, and again with each packet
                // that is lost. A lost one that had to wait behind two windows of new messages would be as late as they.
                let _ = writer.set_priority(NEW);
                // A lane that is stopped in the middle of these frames leaves a stream that the pool resets.
                frames.begin();
                let written = turn.write(writer, &mut chunks).await;
                let _ = writer.set_priority(SENT_BEFORE);
                if written.is_err() {
                    return End::Broken("the stream takes no more");
                }
                frames.end();
                continue;
            }
            if self.transport.is_wanted() {
                let had_its_turn = time::now().saturating_duration_since(since) >= TURN;
                if self.is_idle() && (had_its_turn || !self.feed.has_work()) {
                    return End::Yielded;
                }
                if had_its_turn && self.is_owed() {
                    self.bell.until_set_or(self.feed.wait(Take::Nothing)).await;
                    continue;
                }
            }
            if self.fill() {
                continue;
            }
            if self.is_done() {
                return End::Retired;
            }
            self.wait().await;
        }
    }

    /// The next registered requests that this stream has not seen, as heads and batches in pieces of so many bytes.
    fn next_frames(&mut self, segment: usize) -> Vec<Bytes> {
        let mut chunks = Vec::new();
        if self.written == self.mine.len() {
            return chunks;
        }
        let now = time::now();
        let mut again = 0;
        let mut inflight = self.shared.inflight();
        let low = inflight.low();
        let mut frames = 0;
        while frames < FRAMES {
            let Some(&id) = self.mine.get(self.written) else {
                break;
            };
            self.written += 1;
            if let Some(request) = inflight.get_mut(id) {
                frames += 1;
                request.attempts += 1;
                again += u64::from(request.attempts > 1);
                request.written.get_or_insert(now);
                request.ride = self.ride;
                chunks.push(wire::produce_head(
                    id,
                    low,
                    &request.topic,
                    request.batch.len(),
                ));
                push_segments(&mut chunks, request.batch.clone(), segment);
            }
        }
        drop(inflight);
        self.shared.count_retries(again);
        chunks
    }

    /// Take a run and registers it, if the window has room and something waits. True where something was taken.
    fn fill(&mut self) -> bool {
        self.prune();
        let lane_state = self.shared.lane_stats.lane(self.feed.index());
        let room = lane_state.room(self.shared.config.scaler.lane_window);
        let overladen = self.shared.lane_stats.is_overladen(self.feed.index());
        let full = room < self.shared.least_room() || !self.shared.has_room();
        lane_state.set_full(full || overladen);
        let retires = self.retire.load(Ordering::Relaxed);
        self.takes = if full || retires && self.feed.settle() {
            Take::Nothing
        } else if overladen || retires {
            Take::OwnShards
        } else {
            Take::Any
        };
        if self.takes != Take::Any {
            self.feed.pass();
        }
        let run = Run {
            bytes: self.shared.run_bytes().min(room),
            messages: self.shared.config.batch_messages,
        };
        let oldest = time::now().checked_sub(self.shared.config.delivery_timeout);
        let mut late = Vec::new();
        let taken = self.feed.pull(
            self.takes,
            run,
            |chunk| oldest.is_some_and(|oldest| chunk.called() <= oldest),
            &mut self.batcher,
            &mut late,
        );
        for (chunk, shard) in late {
            let error = SendError::new(SendErrorKind::Expired, Fate::NotStored);
            self.shared.drop_queued(chunk, shard, &error);
        }
        if taken > 0 {
            self.shared.register(self.batcher.finish(), &mut self.mine);
        }
        taken > 0
    }

    /// Nothing more will come of the stream before, if there was one.
    fn begin_stream_epoch(&mut self) {
        self.written = 0;
        self.ride += 1;
    }

    /// Forgets what is answered, and what expired on streams that have ended.
    fn prune(&mut self) {
        self.shared
            .expire_other_streams(self.feed.index(), self.ride);
        if self.mine.is_empty() {
            return;
        }
        let mut inflight = self.shared.inflight();
        while let Some(&id) = self.mine.front() {
            if inflight.get_mut(id).is_some() {
                break;
            }
            self.mine.pop_front();
            self.written = self.written.saturating_sub(1);
        }
    }

    fn is_idle(&mut self) -> bool {
        !self.is_owed() && self.feed.settle()
    }

    /// Whether the broker owes it an answer.
    fn is_owed(&mut self) -> bool {
        self.prune();
        !self.mine.is_empty() || self.shared.expired_in_flight.is_owed(self.feed.index())
    }

    fn is_done(&mut self) -> bool {
        self.retire.load(Ordering::Relaxed) && self.is_idle()
    }

    /// Waits until there may be something to do.
    async fn wait(&mut self) {
        let takes = self.takes;
        self.bell.until_set_or(self.feed.wait(takes)).await;
        if takes == Take::Any && !self.shared.config.linger.is_zero() && self.feed.has_work() {
            self.shared.linger().await;
        }
    }
}

/// quinn counts a piece of a write against its send window until all of the piece is acknowledged. A batch in one piece,
/// as large as the congestion window, would keep the pipe empty while its last packet is on its way; and so would many
/// lanes with a piece each that is a good part of it.
fn segment(cwnd: u64) -> usize {
    let bytes = (cwnd / 8).clamp(LEAST_SEGMENT, MOST_SEGMENT);
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn push_segments(chunks: &mut Vec<Bytes>, mut batch: Bytes, segment: usize) {
    while batch.len() > segment {
        chunks.push(batch.split_to(segment));
    }
    chunks.push(batch);
}
