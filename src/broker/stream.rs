//! One stream: what its first packets make of it.
//!
//! ```text
//! Probe, ListTopics, QueryStored   answered, and the stream stays what it was
//! Produce                     it is a lane from now on
//! Subscribe                   it is a subscription from now on
//! anything else               Failed, and its end
//! ```

use std::{sync::Arc, time::Instant};

use futures_util::StreamExt;
use quinn::WriteError;
use tokio_util::codec::FramedRead;

use super::{commit, failure, lane, outgoing::Outgoing, shared::Peer, subscription};
use crate::{
    RequestId, TopicName,
    conn::CloseCode,
    time,
    wire::{CodecError, DecodeError, Failure, FailureCode, Packet, PacketCodec, StoredEarlier},
};

/// In a shutdown, a client that goes on sending is read for so many quiet times at most.
const MOST_QUIET_TIMES: u32 = 4;

/// The client's half of a stream.
#[derive(Debug)]
pub(super) struct Incoming {
    peer: Arc<Peer>,
    frames: FramedRead<quinn::RecvStream, PacketCodec>,
    /// In a shutdown: when reading ends, whatever comes.
    until: Option<Instant>,
}

impl Incoming {
    fn new(peer: Arc<Peer>, recv: quinn::RecvStream) -> Self {
        let codec = PacketCodec::new(peer.shared.config.limits.max_frame);
        Self {
            peer,
            frames: FramedRead::new(recv, codec),
            until: None,
        }
    }

    /// The next packet; `None` where the client has ended or given up its half, or in a shutdown where nothing
    /// more came. Loses nothing when it is dropped.
    pub(super) async fn next(&mut self) -> Result<Option<Packet>, Failure> {
        let Self {
            peer,
            frames,
            until,
        } = self;
        let quiet = async {
            peer.shared.drain.cancelled().await;
            let (now, quiet) = (time::now(), peer.quiet_time());
            let until = *until.get_or_insert(now + quiet * MOST_QUIET_TIMES);
            time::sleep_until(until.min(now + quiet)).await;
        };
        let frame = tokio::select! {
            biased;
            // First, or a client that goes on sending would never let it be looked at.
            () = quiet => None,
            frame = frames.next() => frame,
        };
        match frame {
            Some(Ok(packet)) => Ok(Some(packet)),
            Some(Err(CodecError::Io(error))) => {
                tracing::debug!(%error, "a client gave up its half of a stream");
                Ok(None)
            }
            Some(Err(CodecError::Decode(error))) => Err(malformed(&error)),
            Some(Err(error)) => Err(failure(FailureCode::Protocol, &error)),
            None => Ok(None),
        }
    }

    /// Tells the client that nothing more is read.
    fn stop(&mut self) {
        let _ = self.frames.get_mut().stop(CloseCode::Protocol.into());
    }
}

fn malformed(error: &DecodeError) -> Failure {
    let code = match error {
        DecodeError::TooLong { .. } => FailureCode::TooLarge,
        _ => FailureCode::Protocol,
    };
    failure(code, error)
}

/// The packet makes no sense where it came.
pub(super) fn misplaced(what: &str) -> Failure {
    failure(FailureCode::Protocol, what)
}

/// How serving a stream ends: the inner result is what the client is told last.
pub(super) type End = Result<Result<(), Failure>, WriteError>;

/// Serves one stream to its end.
pub(super) async fn serve(peer: Arc<Peer>, send: quinn::SendStream, recv: quinn::RecvStream) {
    let mut incoming = Incoming::new(Arc::clone(&peer), recv);
    let mut outgoing = Outgoing::new(send);
    let address = peer.connection.remote_address();
    match dispatch(&peer, &mut incoming, &mut outgoing).await {
        Ok(Ok(())) => {}
        Ok(Err(failure)) => {
            tracing::debug!(peer = %address, code = ?failure.code, reason = %failure.detail, "stream failed");
            outgoing.put(&Packet::Failed(failure));
            incoming.stop();
        }
        Err(error) => return tracing::debug!(peer = %address, %error, "stream lost"),
    }
    if let Err(error) = outgoing.finish().await {
        tracing::debug!(peer = %address, %error, "stream lost");
    }
}

async fn dispatch(peer: &Arc<Peer>, incoming: &mut Incoming, outgoing: &mut Outgoing) -> End {
    loop {
        let packet = match incoming.next().await {
            Ok(Some(packet)) => packet,
            Ok(None) => return Ok(Ok(())),
            Err(failure) => return Ok(Err(failure)),
        };
        let answer = match packet {
            Packet::Produce(first) => return lane::run(peer, incoming, outgoing, first).await,
            Packet::Subscribe(wanted) => {
                return subscription::run(peer, incoming, outgoing, wanted).await;
            }
            Packet::Probe { nonce } => Packet::Probed { nonce },
            Packet::QueryStored { from } => match recall(peer, from).await {
                Ok(stored) => Packet::StoredList(stored),
                Err(failure) => return Ok(Err(failure)),
            },
            Packet::ListTopics { after } => match list(peer, after).await {
                Ok(topics) => topics,
                Err(failure) => return Ok(Err(failure)),
            },
            _ => {
                return Ok(Err(misplaced(
                    "a stream begins with Produce, Subscribe, ListTopics, QueryStored or Probe",
                )));
            }
        };
        outgoing.put(&answer);
        outgoing.flush().await?;
    }
}

/// What is stored of the client's own requests.
async fn recall(peer: &Peer, from: RequestId) -> Result<Vec<StoredEarlier>, Failure> {
    let Some(producer) = peer.producer else {
        return Err(misplaced(
            "the session has no producer whose requests these could be",
        ));
    };
    let store = &peer.shared.store;
    let recalled = store
        .stored_requests(producer, from, Packet::MAX_STORED_LIST)
        .await;
    let recalled = recalled.map_err(|error| commit::failure(&error))?;
    let stored = recalled.into_iter().map(|(request, at)| StoredEarlier {
        request,
        base: at.base,
        time: at.time,
    });
    Ok(stored.collect())
}

async fn list(peer: &Peer, after: Option<TopicName>) -> Result<Packet, Failure> {
    let topics = &peer.shared.topics;
    let page = topics.list(after, |name| peer.permissions.may_see(name));
    page.await
        .map(Packet::Topics)
        .map_err(|error| commit::failure(&error))
}
