//! A stream of packets, from the client's end.

use bytes::BytesMut;
use futures_util::StreamExt;
use quinn::{RecvStream, SendStream};
use tokio_util::codec::{Encoder, FramedRead};

use crate::{
    conn::CloseCode,
    wire::{CodecError, Packet, PacketCodec},
};

/// What a frame has beside the longest batch.
const BESIDE_BATCH: usize = 1024;

/// Why nothing more comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    /// The stream or its connection has ended.
    Stream,
    /// What came is no packet.
    Sense,
}

/// A stream of packets. Reset when it is dropped: a packet that was cut off must not look like the end of what
/// there was to say.
#[derive(Debug)]
pub(super) struct Packets {
    send: SendStream,
    frames: FramedRead<RecvStream, PacketCodec>,
    buffer: BytesMut,
}

impl Packets {
    pub(super) fn new((send, recv): (SendStream, RecvStream), max_batch: usize) -> Self {
        let codec = PacketCodec::new(max_batch.saturating_add(BESIDE_BATCH));
        Self {
            send,
            frames: FramedRead::new(recv, codec),
            buffer: BytesMut::new(),
        }
    }

    /// Puts a packet in the buffer. Only packets of which every part has been checked go out here.
    pub(super) fn put(&mut self, packet: &Packet) {
        let put = self.frames.decoder_mut().encode(packet, &mut self.buffer);
        put.expect("names and topics were checked with the options");
    }

    /// Writes what is in the buffer.
    pub(super) async fn flush(&mut self) -> Result<(), Lost> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let written = self.send.write_chunk(self.buffer.split().freeze()).await;
        written.map_err(|_| Lost::Stream)
    }

    /// The next packet. Loses nothing when it is dropped.
    pub(super) async fn next(&mut self) -> Result<Packet, Lost> {
        match self.frames.next().await {
            Some(Ok(packet)) => Ok(packet),
            Some(Err(CodecError::Io(_))) | None => Err(Lost::Stream),
            Some(Err(_)) => Err(Lost::Sense),
        }
    }
}

impl Drop for Packets {
    fn drop(&mut self) {
        // An error means that the stream is over already.
        let _ = self.send.reset(CloseCode::Dropped.into());
    }
}
