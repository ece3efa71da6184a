//! The two halves of a client's stream: requests that are read until a shutdown ends that, and answers.

use std::{sync::Arc, time::Instant};

use quinn::WriteError;

use super::{failure, shared::Peer};
use crate::{
    conn::CloseCode,
    time,
    wire::{Failure, FailureCode, MaxFrame, Packet, PacketReader, PacketWriter, ReadError},
};

/// Answers or deliveries that are ready together are written together, up to this many bytes.
pub(super) const WRITE_BYTES: usize = 16 * 1024;

/// In a shutdown, a client that keeps sending is read for this many quiet times at most.
const MAX_QUIET_TIMES: u32 = 4;

/// The result of serving a stream. The inner result is what the client is told last.
pub(super) type StreamEnd = Result<Result<(), Failure>, WriteError>;

/// The client's half of a stream.
#[derive(Debug)]
pub(super) struct RequestReader {
    peer: Arc<Peer>,
    packets: PacketReader,
    /// In a shutdown, the time at which reading ends even if the client keeps sending.
    deadline: Option<Instant>,
}

impl RequestReader {
    pub(super) fn new(peer: Arc<Peer>, recv: quinn::RecvStream) -> Self {
        let max_frame = match peer.producer {
            Some(_) => MaxFrame::configured(peer.shared.config.limits.max_frame),
            None => MaxFrame::REQUEST,
        };
        Self {
            peer,
            packets: PacketReader::new(recv, max_frame),
            deadline: None,
        }
    }

    /// Returns the next packet. `None`: the client has finished or reset its half, or a shutdown is under way and
    /// nothing came for a while.
    ///
    /// Cancel safe: dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Result<Option<Packet>, Failure> {
        let Self {
            peer,
            packets,
            deadline,
        } = self;
        let quiet = async {
            peer.shared.drain.cancelled().await;
            let (now, quiet) = (time::now(), peer.quiet_time());
            let deadline = *deadline.get_or_insert(now + quiet * MAX_QUIET_TIMES);
            time::sleep_until(deadline.min(now + quiet)).await;
        };
        let packet = tokio::select! {
            biased;
            // First, or a client that keeps sending would never let it be polled.
            () = quiet => return Ok(None),
            packet = packets.next() => packet,
        };
        match packet {
            Ok(packet) => Ok(packet),
            Err(ReadError::Lost(error)) => {
                tracing::debug!(%error, "a client reset its half of a stream");
                Ok(None)
            }
            Err(ReadError::Malformed(error)) => {
                Err(failure::undecodable(&error, FailureCode::Protocol))
            }
        }
    }

    /// Tells the client that nothing more is read.
    pub(super) fn stop(&mut self) {
        self.packets.stop(CloseCode::Protocol.into());
    }
}

/// Puts an answer in the buffer.
pub(super) fn put(answers: &mut PacketWriter, answer: &Packet) {
    if let Err(error) = answers.put(answer) {
        // Only a store that returns more than it was asked for gets here. The client waits for its answer in vain.
        tracing::error!(%error, "an answer cannot be encoded");
    }
}
