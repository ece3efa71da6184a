//! The drain: what is on disk goes out, in order, on a connection of its own.
//!
//! One piece at a time: its requests, one a topic, are written on one stream, and the next piece follows when all of
//! them are answered. So a request that the broker cannot take now is sent again before anything that comes behind it.

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
    requests::{self, Limits, Part, ReplayRequests, Undeliverable},
};
use crate::{
    Offset, RequestId,
    conn::{self, ConnectError, ConnectionState, OpenError, Session, StartError, Supervisor},
    metrics::spool as metrics,
    producer::{
        Fate, SendError, SendErrorKind, accumulator::Accumulator, receipt::Accepted,
        sender::Transport,
    },
    tasks::Tasks,
    time,
    wire::{self, Failure, FailureCode, MaxFrame, Packet, PacketReader, Stored},
};

/// About how much is sent as one piece. Its messages lie well within the broker's dedupe window.
const PIECE: Size = Size {
    messages: 16_384,
    bytes: 1 << 20,
};
/// How long to wait before the next try.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the broker may take to permit a stream, and to hear that we leave.
const STREAM: Duration = Duration::from_secs(5);
const GOODBYE: Duration = Duration::from_secs(1);

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

/// Delivers until the producer ends.
pub(super) async fn run(
    memory: Arc<Accumulator>,
    spool: Arc<Spool>,
    transport: Transport,
    tasks: Tasks,
) {
    let stopped = transport.stopped();
    tokio::select! { biased;
        () = stopped.cancelled() => {}
        () = live(&memory, &spool, &transport, &tasks) => {}
    }
}

/// What became of the present piece in earlier tries.
#[derive(Debug, Default)]
struct Settled {
    /// Where the piece begins.
    start: u64,
    /// What cannot be sent was told.
    told: bool,
    /// The broker refused these for good: they are not sent again.
    refused: HashSet<RequestId>,
}

async fn live(memory: &Accumulator, spool: &Spool, transport: &Transport, tasks: &Tasks) {
    let mut settled = Settled::default();
    loop {
        if !spool.could_drain(memory) {
            spool.replay_notify.notified().await;
            continue;
        }
        if spool.log.held().messages == 0 && spool.begin_drain(memory) && spool.try_end(memory) {
            continue;
        }
        let mut links = transport.state();
        let ended = tokio::select! { biased;
            ended = session(memory, spool, tasks, &mut settled) => ended,
            // The producer's own connection says whether there is a broker to be reached.
            () = links.wait_for(|link| !matches!(link, ConnectionState::Connected(_))) => Ok(()),
        };
        if let Err(error) = ended {
            spool.on_stalled(&error);
            time::sleep(PAUSE).await;
        }
    }
}

/// Connects as who this folder is, and delivers until the disk is empty.
async fn session(
    memory: &Accumulator,
    spool: &Spool,
    tasks: &Tasks,
    settled: &mut Settled,
) -> Result<(), ReplayError> {
    let identity = spool.log.identity().await?;
    let supervisor = Supervisor::start(memory.config().connection.clone(), Some(identity), tasks)?;
    let mut links = supervisor.watch_state();
    let link = conn::wait_connected(&mut links).await?;
    let end = ride(memory, spool, &link, settled).await;
    supervisor.close(GOODBYE).await;
    end
}

/// Delivers piece after piece on one stream.
async fn ride(
    memory: &Accumulator,
    spool: &Spool,
    link: &Session,
    settled: &mut Settled,
) -> Result<(), ReplayError> {
    let opened = link.open_bi(STREAM).await;
    let (writer, reader) = opened.map_err(|error| match error {
        OpenError::Lost(_) | OpenError::PeerLimit => ReplayError::ConnectionLost,
    })?;
    let mut stream = Stream {
        writer,
        answers: PacketReader::new(reader, MaxFrame::ANSWER),
    };
    let told = link.connected();
    let limits = Limits {
        message: usize::try_from(told.max_message).unwrap_or(usize::MAX),
        frame: usize::try_from(told.max_frame).unwrap_or(usize::MAX),
    };
    let size = Size {
        messages: PIECE.messages,
        bytes: PIECE.bytes.min(u64::from(told.max_frame) / 2),
    };
    loop {
        if !spool.begin_drain(memory) || spool.try_end(memory) {
            return Ok(());
        }
        let Some(piece) = spool.log.next_piece(size).await? else {
            // What the writer has in hand comes next.
            spool.replay_notify.notified().await;
            continue;
        };
        let places = piece.places.clone();
        if settled.start != places.start {
            *settled = Settled {
                start: places.start,
                ..Settled::default()
            };
        }
        let joined = requests::join(piece, limits);
        let bytes = spool.deliver(memory, &mut stream, joined, settled).await?;
        spool.log.set_done(places.end).await?;
        spool.log.trim().await?;
        let held = spool.log.held();
        spool.mode_mut().on_drained(bytes, held);
        spool.set_error(None);
        spool.publish(|_| {});
        spool.write_notify.notify_one();
    }
}

/// A stream for requests and their answers.
struct Stream {
    writer: SendStream,
    answers: PacketReader,
}

impl Spool {
    /// Whether what is on disk may go out.
    fn could_drain(&self, memory: &Accumulator) -> bool {
        self.mode().could_drain(is_whole(memory))
    }

    /// There is a connection for what is on disk. Whether it goes out from now on.
    fn begin_drain(&self, memory: &Accumulator) -> bool {
        let may = self.mode_mut().begin_drain(is_whole(memory));
        self.publish(|_| {});
        may
    }

    fn on_stalled(&self, error: &ReplayError) {
        self.mode_mut().on_stalled();
        self.set_error(Some(&error.to_string()));
        self.publish(|_| {});
        self.write_notify.notify_one();
    }

    /// Sends a piece and waits until each of its messages has its final answer. Responses how many bytes it had.
    async fn deliver(
        &self,
        memory: &Accumulator,
        stream: &mut Stream,
        joined: ReplayRequests,
        settled: &mut Settled,
    ) -> Result<u64, ReplayError> {
        let below = requests::request(settled.start);
        let ReplayRequests { mut parts, lost } = joined;
        let bytes = parts.iter().map(|part| part.batch.len() as u64).sum();
        if !std::mem::replace(&mut settled.told, true) {
            for Undeliverable { place, kind, fate } in lost {
                metrics::lost(1, kind.as_str());
                self.fail(memory, place, &SendError::new(kind, fate));
            }
        }
        parts.retain(|part| !settled.refused.contains(&part.id));
        let turns = parts.iter().map(|part| part.turn).max().unwrap_or_default();
        for turn in 0..=turns {
            let mut open = HashMap::new();
            for part in parts.iter().filter(|part| part.turn == turn) {
                let head = wire::produce_head(part.id, below, &part.topic, part.batch.len());
                let mut chunks = [head, part.batch.clone()];
                let written = stream.writer.write_all_chunks(&mut chunks).await;
                written.map_err(|_| ReplayError::ConnectionLost)?;
                open.insert(part.id, part);
            }
            while !open.is_empty() {
                match stream.answers.next().await {
                    Ok(Some(Packet::Stored(stored))) => {
                        if let Some(part) = open.remove(&stored.request) {
                            self.delivered(memory, part, &stored);
                        }
                    }
                    Ok(Some(Packet::Refused(refused))) => {
                        if !is_final(refused.failure.code) {
                            return Err(ReplayError::NotNow(refused.failure));
                        }
                        if let Some(part) = open.remove(&refused.request) {
                            settled.refused.insert(part.id);
                            self.refused(memory, part, refused.failure);
                        }
                    }
                    _ => return Err(ReplayError::ConnectionLost),
                }
            }
        }
        Ok(bytes)
    }

    fn delivered(&self, memory: &Accumulator, part: &Part, stored: &Stored) {
        metrics::delivered(part.places.len() as u64);
        for (index, &place) in (0..).zip(&part.places) {
            let waiting = self.pending_receipts().take(place);
            if let Some((promise, epochs)) = waiting {
                promise.stored(Accepted {
                    topic: part.topic.clone(),
                    base: Offset(stored.base.0 + index),
                    time: stored.time,
                });
                memory.epochs().resolved_each(epochs);
            }
        }
    }

    fn refused(&self, memory: &Accumulator, part: &Part, failure: Failure) {
        let Failure { code, detail } = failure;
        tracing::error!(
            ?code, detail, topic = %part.topic, messages = part.places.len(),
            "the broker refuses messages of the spool for good"
        );
        let kind = SendErrorKind::Refused(code);
        metrics::lost(part.places.len() as u64, kind.as_str());
        let fate = match code {
            FailureCode::Unrecognised(_) | FailureCode::OutOfWindow => Fate::Unknown,
            _ => Fate::NotStored,
        };
        let error = SendError::new(kind, fate).detail(detail);
        for &place in &part.places {
            self.fail(memory, place, &error);
        }
    }

    /// The message at `place` will not be delivered.
    fn fail(&self, memory: &Accumulator, place: u64, error: &SendError) {
        let waiting = self.pending_receipts().take(place);
        if let Some((promise, epochs)) = waiting {
            crate::metrics::producer::failed(1, error.kind().as_str());
            promise.failed(error.clone(), Vec::new());
            memory.epochs().resolved_each(epochs);
        }
    }
}

/// Whether nothing that was accepted is in memory.
fn is_whole(memory: &Accumulator) -> bool {
    memory.is_empty()
}

/// Whether a refusal says that these messages will never be taken. What may pass is asked again, and what is stored is
/// never stored twice.
const fn is_final(code: FailureCode) -> bool {
    match code {
        FailureCode::Forbidden
        | FailureCode::UnknownTopic
        | FailureCode::Corrupt
        | FailureCode::TooLarge
        | FailureCode::Protocol
        | FailureCode::OutOfWindow
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
