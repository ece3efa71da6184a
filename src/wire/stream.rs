//! A QUIC stream that carries packets: [`PacketStream`] and its two halves.
//!
//! A QUIC stream that is dropped looks finished to its peer, even in the middle of a frame. So each half says what it
//! means when it is dropped: a [`PacketWriter`] that was not finished is reset, and the peer then reads an error, not
//! an end; a [`PacketReader`] asks the peer to send no more.

use std::{io, slice};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use quinn::{RecvStream, SendStream, VarInt, WriteError};
use tokio_util::codec::{Encoder, FramedRead};

use super::{CodecError, DecodeError, EncodeError, MaxFrame, Packet, PacketCodec};
use crate::text::{MAX_REASON, printable};

/// The error code of a stream that was given up, without a reason.
const ABANDONED: VarInt = VarInt::from_u32(0);

/// Why a [`PacketReader`] gives no more packets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ReadError {
    /// The peer reset the stream, or the connection was lost.
    #[error("the stream was lost")]
    Lost(#[source] io::Error),
    /// The peer sent bytes that are not a packet.
    #[error("what was sent is not a packet")]
    Malformed(#[from] DecodeError),
}

/// The receiving half of a QUIC stream, as packets.
#[derive(Debug)]
pub(crate) struct PacketReader {
    frames: FramedRead<RecvStream, PacketCodec>,
}

impl PacketReader {
    /// Reads frames of at most `max_frame` from `recv`.
    #[must_use]
    pub(crate) fn new(recv: RecvStream, max_frame: MaxFrame) -> Self {
        Self {
            frames: FramedRead::new(recv, PacketCodec::new(max_frame.bytes())),
        }
    }

    /// Returns the next packet, or `None` where the peer finished the stream between two frames.
    ///
    /// # Errors
    /// [`ReadError`]. The stream is of no further use then.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: bytes that were read stay in the buffer.
    pub(crate) async fn next(&mut self) -> Result<Option<Packet>, ReadError> {
        match self.frames.next().await {
            None => Ok(None),
            Some(Ok(packet)) => Ok(Some(shown(packet))),
            Some(Err(CodecError::Io(error))) => Err(ReadError::Lost(error)),
            Some(Err(CodecError::Decode(error))) => Err(ReadError::Malformed(error)),
            Some(Err(CodecError::Encode(_))) => unreachable!("a decoder encodes nothing"),
        }
    }

    /// Asks the peer to send no more, for the reason `code`.
    pub(crate) fn stop(&mut self, code: VarInt) {
        // An error means that the peer has finished the stream already.
        let _ = self.frames.get_mut().stop(code);
    }
}

/// Returns a packet whose sentence for people can be shown to them, whatever the peer made of it.
fn shown(mut packet: Packet) -> Packet {
    let failure = match &mut packet {
        Packet::Failed(failure) => failure,
        Packet::Refused(refused) => &mut refused.failure,
        _ => return packet,
    };
    failure.detail = printable(&failure.detail, MAX_REASON);
    packet
}

/// The sending half of a QUIC stream: packets are gathered in a buffer and written together.
///
/// Reset when it is dropped before [`PacketWriter::finish`] or [`PacketWriter::close`].
#[derive(Debug)]
pub(crate) struct PacketWriter {
    send: SendStream,
    /// Encoded packets that no write has taken yet.
    buffer: BytesMut,
    /// What is left of the buffer that is being written.
    writing: Bytes,
    finished: bool,
}

impl PacketWriter {
    /// Writes to `send`, with an empty buffer.
    #[must_use]
    pub(crate) fn new(send: SendStream) -> Self {
        Self {
            send,
            buffer: BytesMut::new(),
            writing: Bytes::new(),
            finished: false,
        }
    }

    /// Appends a packet to the buffer.
    ///
    /// The length of a frame is not limited here: each kind of packet has a limit of its own, and the batch of a
    /// `Produce` is kept within the broker's limit by the producer.
    ///
    /// # Errors
    /// [`EncodeError`] where a field is too long or empty. The buffer is as before then.
    pub(crate) fn put(&mut self, packet: &Packet) -> Result<(), EncodeError> {
        match PacketCodec::new(usize::MAX).encode(packet, &mut self.buffer) {
            Err(CodecError::Encode(error)) => Err(error),
            Err(_) => unreachable!("an encoder reads nothing"),
            Ok(()) => Ok(()),
        }
    }

    /// Returns how many bytes wait in the buffer.
    #[must_use]
    pub(crate) fn buffered(&self) -> usize {
        self.buffer.len() + self.writing.len()
    }

    /// Waits until QUIC has taken all that is in the buffer.
    ///
    /// # Errors
    /// [`WriteError`] where the peer stopped the stream or the connection was lost.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: the next call goes on where this one stopped.
    pub(crate) async fn flush(&mut self) -> Result<(), WriteError> {
        loop {
            if self.writing.is_empty() {
                if self.buffer.is_empty() {
                    return Ok(());
                }
                self.writing = self.buffer.split().freeze();
            }
            let unwritten = slice::from_mut(&mut self.writing);
            self.send.write_chunks(unwritten).await?;
        }
    }

    /// Writes the buffer and then `parts`, which together are whole frames, without copying them.
    ///
    /// # Errors
    /// As [`PacketWriter::flush`].
    ///
    /// # Cancel safety
    /// Not cancel safe: a frame may be half written. Drop the writer then, which resets the stream.
    pub(crate) async fn write_parts(&mut self, parts: &mut [Bytes]) -> Result<(), WriteError> {
        self.flush().await?;
        self.send.write_all_chunks(parts).await
    }

    /// Writes the buffer and finishes the stream.
    ///
    /// # Errors
    /// As [`PacketWriter::flush`].
    ///
    /// # Cancel safety
    /// Dropping the future before its end resets the stream.
    pub(crate) async fn finish(mut self) -> Result<(), WriteError> {
        self.flush().await?;
        self.set_finished();
        Ok(())
    }

    /// Writes the buffer, finishes the stream, and waits until the peer's QUIC has received all of it.
    ///
    /// # Errors
    /// As [`PacketWriter::flush`].
    ///
    /// # Cancel safety
    /// Dropping the future before everything is written resets the stream.
    pub(crate) async fn close(mut self) -> Result<(), WriteError> {
        self.flush().await?;
        self.set_finished();
        // An error means that the connection is lost, and with it the reason to wait.
        let _ = self.send.stopped().await;
        Ok(())
    }

    fn set_finished(&mut self) {
        self.finished = true;
        // An error means that the peer has stopped the stream and wants nothing more of it.
        let _ = self.send.finish();
    }
}

impl Drop for PacketWriter {
    fn drop(&mut self) {
        if !self.finished {
            // An error means that the stream has ended already.
            let _ = self.send.reset(ABANDONED);
        }
    }
}

/// A bidirectional QUIC stream that carries packets both ways.
#[derive(Debug)]
pub(crate) struct PacketStream {
    reader: PacketReader,
    writer: PacketWriter,
}

impl PacketStream {
    /// Makes packets of a stream. `max_frame` limits what is read.
    #[must_use]
    pub(crate) fn new((send, recv): (SendStream, RecvStream), max_frame: MaxFrame) -> Self {
        Self {
            reader: PacketReader::new(recv, max_frame),
            writer: PacketWriter::new(send),
        }
    }

    /// Returns the next packet; see [`PacketReader::next`].
    ///
    /// # Errors
    /// As [`PacketReader::next`].
    pub(crate) async fn next(&mut self) -> Result<Option<Packet>, ReadError> {
        self.reader.next().await
    }

    /// Appends a packet to the buffer; see [`PacketWriter::put`].
    ///
    /// # Errors
    /// As [`PacketWriter::put`].
    pub(crate) fn put(&mut self, packet: &Packet) -> Result<(), EncodeError> {
        self.writer.put(packet)
    }

    /// Waits until QUIC has taken the buffer; see [`PacketWriter::flush`].
    ///
    /// # Errors
    /// As [`PacketWriter::flush`].
    pub(crate) async fn flush(&mut self) -> Result<(), WriteError> {
        self.writer.flush().await
    }

    /// Writes the buffer and finishes the sending half; see [`PacketWriter::finish`].
    ///
    /// # Errors
    /// As [`PacketWriter::finish`].
    pub(crate) async fn finish(self) -> Result<(), WriteError> {
        self.writer.finish().await
    }

    /// Borrows both halves, so that one can be read while the other is written.
    pub(crate) const fn halves(&mut self) -> (&mut PacketReader, &mut PacketWriter) {
        (&mut self.reader, &mut self.writer)
    }

    /// Takes the halves apart.
    #[must_use]
    pub(crate) fn split(self) -> (PacketReader, PacketWriter) {
        (self.reader, self.writer)
    }
}

#[cfg(test)]
mod tests;
