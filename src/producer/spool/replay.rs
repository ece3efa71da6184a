//! The replay: sends what is on disk, in order, on a connection of its own.
//!
//! One piece of the log at a time: its requests, one for each topic, are written on one stream, and the next piece follows
//! when all of them have their final response. So a request that the broker cannot take now is sent again before anything
//! that comes after it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use quinn::SendStream;

use super::{
    Spool,
    log::LogError,
    mode::Size,
    requests::{self, Limits, ReplayRequest, ReplayRequests, Undeliverable},
};
use crate::{
    RequestId,
    conn::{ConnectError, ConnectionState, OpenError, Session, StartError, Supervisor},
    metrics::{producer as producer_metrics, spool as metrics},
    producer::{
        Fate, SendError, SendErrorKind, accumulator::Accumulator, receipt::Accepted,
        sender::Transport,
    },
    tasks::Tasks,
    time,
    wire::{self, Failure, FailureCode, MaxFrame, Packet, PacketReader, Stored},
};

/// About how much is sent as one piece. Its messages fit well into the broker's dedup window.
const PIECE: Size = Size {
    messages: 16_384,
    bytes: 1 << 20,
};
/// How long to wait after a failed attempt.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the broker may take to permit a stream.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the connection may take to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a piece is not delivered yet.
#[derive(Debug, thiserror::Error)]
enum ReplayError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("the spool cannot connect: {0}")]
    Start(#[from] StartError),
    #[error("the spool cannot connect: {0}")]
    Connect(#[from] Arc<ConnectError>),
    #[error("the broker does not take what is in the spool: {} ({:?})", .0.detail, .0.code)]
    NotNow(Failure),
    #[error("the connection is lost")]
    ConnectionLost,
}

/// What earlier attempts have completed of the present piece.
#[derive(Debug, Default)]
struct PieceProgress {
    /// The position at which the piece begins.
    start: u64,
    /// Whether its undeliverable messages were reported.
    reported: bool,
    /// The requests that the broker refused for good. They are not sent again.
    refused: HashSet<RequestId>,
}

/// A stream for requests and their responses.
struct Stream {
    writer: SendStream,
    responses: PacketReader,
}

/// The task that sends what is on disk.
pub(super) struct Replay {
    memory: Arc<Accumulator>,
    spool: Arc<Spool>,
    transport: Transport,
    tasks: Tasks,
    progress: PieceProgress,
}

impl Replay {
    pub(super) fn new(
        memory: Arc<Accumulator>,
        spool: Arc<Spool>,
        transport: Transport,
        tasks: Tasks,
    ) -> Self {
        Self {
            memory,
            spool,
            transport,
            tasks,
            progress: PieceProgress::default(),
        }
    }

    /// Delivers until the producer ends.
    pub(super) async fn run(mut self) {
        let stopped = self.transport.stopped();
        tokio::select! { biased;
            () = stopped.cancelled() => {}
            () = self.run_loop() => {}
        }
    }

    async fn run_loop(&mut self) {
        loop {
            if !self.may_begin() {
                self.spool.replay_notify.notified().await;
                continue;
            }
            let is_empty = self.spool.log.held().messages == 0;
            if is_empty && self.begin() && self.spool.try_end(&self.memory) {
                continue;
            }
            let mut state = self.transport.state();
            let ended = tokio::select! { biased;
                ended = self.connect_and_replay() => ended,
                // The producer's own connection says whether a broker can be reached.
                () = state.wait_for(|state| !matches!(state, ConnectionState::Connected(_))) => Ok(()),
            };
            if let Err(error) = ended {
                self.on_stalled(&error);
                time::sleep(PAUSE).await;
            }
        }
    }

    /// Returns whether what is on disk may be sent.
    fn may_begin(&self) -> bool {
        self.spool.mode().may_replay(self.memory.is_empty())
    }

    /// Begins the replay if it has not begun and may. Returns whether what is on disk may be sent.
    fn begin(&self) -> bool {
        let may = self.spool.mode_mut().begin_replay(self.memory.is_empty());
        self.spool.publish(|_| {});
        may
    }

    fn on_stalled(&self, error: &ReplayError) {
        self.spool.mode_mut().on_stalled();
        self.spool.set_error(Some(&error.to_string()));
        self.spool.publish(|_| {});
        self.spool.write_notify.notify_one();
    }

    /// Connects under the identity of the folder, and delivers until the disk is empty.
    async fn connect_and_replay(&mut self) -> Result<(), ReplayError> {
        let identity = self.spool.log.identity().await?;
        let connection = self.memory.config().connection.clone();
        let supervisor = Supervisor::start(connection, Some(identity), &self.tasks)?;
        let session = supervisor.connected().await?;
        let ended = self.replay_on(&session).await;
        supervisor.close(CLOSE_TIMEOUT).await;
        ended
    }

    /// Delivers piece after piece on one stream of a session.
    async fn replay_on(&mut self, session: &Session) -> Result<(), ReplayError> {
        let opened = session.open_bi(OPEN_TIMEOUT).await;
        let (writer, reader) = opened.map_err(|error| match error {
            OpenError::Lost(_) | OpenError::PeerLimit => ReplayError::ConnectionLost,
        })?;
        let mut stream = Stream {
            writer,
            responses: PacketReader::new(reader, MaxFrame::ANSWER),
        };
        let broker = session.connected();
        let limits = Limits {
            message: usize::try_from(broker.max_message).unwrap_or(usize::MAX),
            frame: usize::try_from(broker.max_frame).unwrap_or(usize::MAX),
        };
        let size = Size {
            messages: PIECE.messages,
            bytes: PIECE.bytes.min(u64::from(broker.max_frame) / 2),
        };
        loop {
            if !self.begin() || self.spool.try_end(&self.memory) {
                return Ok(());
            }
            let Some(piece) = self.spool.log.next_piece(size).await? else {
                // The writer has taken messages that are not on disk yet.
                self.spool.replay_notify.notified().await;
                continue;
            };
            let positions = piece.positions.clone();
            if self.progress.start != positions.start {
                self.progress = PieceProgress {
                    start: positions.start,
                    ..PieceProgress::default()
                };
            }
            let requests = requests::requests_of(piece, limits);
            let bytes = self.deliver(&mut stream, requests).await?;
            self.spool.log.set_done(positions.end).await?;
            self.spool.log.trim().await?;
            let held = self.spool.log.held();
            self.spool.mode_mut().on_replayed(bytes, held);
            self.spool.set_error(None);
            self.spool.publish(|_| {});
            self.spool.write_notify.notify_one();
        }
    }

    /// Sends a piece, and waits until each of its messages has its final response. Returns the bytes of its batches.
    async fn deliver(
        &mut self,
        stream: &mut Stream,
        requests: ReplayRequests,
    ) -> Result<u64, ReplayError> {
        let answered_below = requests::request_at(self.progress.start);
        let ReplayRequests {
            mut requests,
            undeliverable,
        } = requests;
        let bytes = requests.iter().map(|r| r.batch.len() as u64).sum();
        if !std::mem::replace(&mut self.progress.reported, true) {
            for Undeliverable {
                position,
                kind,
                fate,
            } in undeliverable
            {
                metrics::lost(1, kind.as_str());
                self.spool.publish(|state| state.lost += 1);
                self.fail(position, &SendError::new(kind, fate));
            }
        }
        requests.retain(|request| !self.progress.refused.contains(&request.id));
        let last_round = requests.iter().map(|r| r.round).max().unwrap_or_default();
        for round in 0..=last_round {
            let mut unanswered = HashMap::new();
            for request in requests.iter().filter(|request| request.round == round) {
                let (topic, batch) = (&request.topic, &request.batch);
                let head = wire::produce_head(request.id, answered_below, topic, batch.len());
                let mut chunks = [head, batch.clone()];
                let written = stream.writer.write_all_chunks(&mut chunks).await;
                written.map_err(|_| ReplayError::ConnectionLost)?;
                unanswered.insert(request.id, request);
            }
            while !unanswered.is_empty() {
                match stream.responses.next().await {
                    Ok(Some(Packet::Stored(stored))) => {
                        if let Some(request) = unanswered.remove(&stored.request) {
                            self.on_stored(request, &stored);
                        }
                    }
                    Ok(Some(Packet::Refused(refused))) => {
                        if !is_final(refused.failure.code) {
                            return Err(ReplayError::NotNow(refused.failure));
                        }
                        if let Some(request) = unanswered.remove(&refused.request) {
                            self.progress.refused.insert(request.id);
                            self.on_refused(request, refused.failure);
                        }
                    }
                    _ => return Err(ReplayError::ConnectionLost),
                }
            }
        }
        Ok(bytes)
    }

    fn on_stored(&self, request: &ReplayRequest, stored: &Stored) {
        let messages = request.positions.len() as u64;
        metrics::delivered(messages);
        self.spool.publish(|state| state.delivered += messages);
        let batch = Arc::new(Accepted {
            topic: request.topic.clone(),
            base: stored.base,
            time: stored.time,
        });
        for (index, &position) in (0..).zip(&request.positions) {
            let pending = self.spool.pending_receipts().take(position);
            if let Some((slot, epochs)) = pending {
                // Messages that share a promise follow each other in the request. The first of them completes it.
                if slot.index == 0 {
                    slot.promise.stored(Arc::clone(&batch), index);
                }
                self.memory.epochs().resolved_each(epochs);
            }
        }
    }

    fn on_refused(&self, request: &ReplayRequest, failure: Failure) {
        let Failure { code, detail } = failure;
        tracing::error!(
            ?code, detail, topic = %request.topic, messages = request.positions.len(),
            "the broker refuses messages of the spool for good"
        );
        let kind = SendErrorKind::Refused(code);
        let messages = request.positions.len() as u64;
        metrics::lost(messages, kind.as_str());
        self.spool.publish(|state| state.lost += messages);
        let fate = match code {
            FailureCode::Unrecognised(_) | FailureCode::OutOfWindow => Fate::Unknown,
            _ => Fate::NotStored,
        };
        let error = SendError::new(kind, fate).detail(detail);
        for &position in &request.positions {
            self.fail(position, &error);
        }
    }

    /// Completes the receipt of a message that will not be delivered, if it has one.
    fn fail(&self, position: u64, error: &SendError) {
        let pending = self.spool.pending_receipts().take(position);
        if let Some((slot, epochs)) = pending {
            producer_metrics::failed(1, error.kind().as_str());
            if slot.index == 0 {
                slot.promise.failed(error.clone(), Vec::new());
            }
            self.memory.epochs().resolved_each(epochs);
        }
    }
}

/// Returns whether a refusal means that the broker will never take these messages. After any other refusal the same request
/// is sent again; the broker stores it once.
const fn is_final(code: FailureCode) -> bool {
    match code {
        FailureCode::Forbidden
        | FailureCode::UnknownTopic
        | FailureCode::Corrupt
        | FailureCode::TooLarge
        | FailureCode::Protocol
        | FailureCode::OutOfWindow
        | FailureCode::RequestReused
        | FailureCode::TopicReplaced
        | FailureCode::TopicExists
        | FailureCode::OffsetOutOfRange
        | FailureCode::Unrecognised(_) => true,
        FailureCode::StoreRefuses
        | FailureCode::StoreFailed
        | FailureCode::Closing
        | FailureCode::Limit
        | FailureCode::AfterRejected
        | FailureCode::Unauthorised
        | FailureCode::Fenced => false,
    }
}
