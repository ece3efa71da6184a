//! The broker's half of a stream: packets gathered in a buffer, written together.

use bytes::{Bytes, BytesMut};
use quinn::WriteError;
use tokio_util::codec::Encoder;

use crate::{
    conn::CloseCode,
    wire::{Packet, PacketCodec},
};

/// What is there at a time is gathered up to so many bytes before it is written.
pub(super) const GATHER: usize = 16 * 1024;

/// A send stream with a buffer. One that is dropped before its end is reset, so that a packet that was cut off is
/// not taken for the end of what the broker had to say.
#[derive(Debug)]
pub(super) struct Outgoing {
    send: quinn::SendStream,
    codec: PacketCodec,
    buffer: BytesMut,
    finished: bool,
}

impl Outgoing {
    pub(super) fn new(send: quinn::SendStream) -> Self {
        Self {
            send,
            // Answers have bounds of their own; a delivery goes past the codec.
            codec: PacketCodec::new(usize::MAX),
            buffer: BytesMut::new(),
            finished: false,
        }
    }

    /// Puts a packet in the buffer.
    pub(super) fn put(&mut self, packet: &Packet) {
        if let Err(error) = self.codec.encode(packet, &mut self.buffer) {
            // Would be a mistake of ours; the client sees an answer that does not come.
            tracing::error!(%error, "an answer could not be encoded");
        }
    }

    /// How many bytes wait in the buffer.
    pub(super) fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Writes what is in the buffer.
    pub(super) async fn flush(&mut self) -> Result<(), WriteError> {
        let full = self.buffer.split().freeze();
        if full.is_empty() {
            return Ok(());
        }
        self.send.write_chunk(full).await
    }

    /// Writes these parts of packets behind what is in the buffer, without copying them.
    pub(super) async fn write(&mut self, parts: &mut [Bytes]) -> Result<(), WriteError> {
        self.flush().await?;
        self.send.write_all_chunks(parts).await
    }

    /// Writes what is in the buffer, ends the stream, and waits until the client's QUIC has all of it.
    pub(super) async fn finish(mut self) -> Result<(), WriteError> {
        self.flush().await?;
        self.finished = true;
        // Errors of both mean that the client wants nothing more of this stream.
        let _ = self.send.finish();
        let _ = self.send.stopped().await;
        Ok(())
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if !self.finished {
            let _ = self.send.reset(CloseCode::Dropped.into());
        }
    }
}
