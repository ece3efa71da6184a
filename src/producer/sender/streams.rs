//! The streams of lanes, as the pool wants them: opened on the present connection, probed by a question that only
//! the broker's task on that stream can answer, and reset when thrown away.

use std::sync::Arc;

use futures_util::StreamExt;
use tokio_util::codec::{Encoder, FramedRead};

use crate::producer::sender::transport::standing;
use crate::{
    conn::{CloseCode, ConnectionState, OpenError, Session},
    metrics::producer as metrics,
    ordered_watch,
    pool::{EvictReason, ManageStream},
    wire::{Packet, PacketCodec},
};

/// Reads the broker's answers on one stream.
pub(crate) type Answers = FramedRead<quinn::RecvStream, PacketCodec>;

/// Longest answer a lane reads: a refusal with its sentence.
pub(crate) const MAX_ANSWER: usize = 4096;

/// One bidirectional stream and the connection it is on.
#[derive(Debug)]
pub(crate) struct LaneStream {
    writer: quinn::SendStream,
    answers: Answers,
    link: Arc<Session>,
}

impl LaneStream {
    /// Which connection it is on.
    pub(crate) fn session_number(&self) -> u64 {
        self.link.number()
    }

    pub(crate) const fn halves(&mut self) -> (&mut quinn::SendStream, &mut Answers) {
        (&mut self.writer, &mut self.answers)
    }

    fn reset(mut self) {
        let code = CloseCode::Done.into();
        // Either half may have ended already, which is as good.
        let _ = self.writer.reset(code);
        let _ = self.answers.get_mut().stop(code);
    }
}

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    #[error("there is no connection")]
    NoConnection,
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("the stream cannot be written")]
    Write(#[from] quinn::WriteError),
    #[error("the probe cannot be encoded")]
    Encode(#[from] crate::wire::CodecError),
    #[error("the broker did not answer the probe")]
    NoAnswer,
}

/// Opens streams on whatever connection stands.
#[derive(Debug)]
pub(crate) struct Streams {
    links: ordered_watch::Receiver<ConnectionState>,
}

impl Streams {
    pub(crate) const fn new(links: ordered_watch::Receiver<ConnectionState>) -> Self {
        Self { links }
    }
}

impl ManageStream for Streams {
    type Stream = LaneStream;
    type Error = StreamError;

    async fn open(&self) -> Result<LaneStream, StreamError> {
        let link = standing(&self.links).ok_or(StreamError::NoConnection)?;
        let (writer, reader) = link.try_open_bi()?;
        Ok(LaneStream {
            writer,
            answers: FramedRead::new(reader, PacketCodec::new(MAX_ANSWER)),
            link,
        })
    }

    async fn probe(&self, stream: &mut LaneStream) -> Result<(), StreamError> {
        let nonce = fastrand::u64(..);
        let mut frame = bytes::BytesMut::new();
        PacketCodec::new(MAX_ANSWER).encode(Packet::Probe { nonce }, &mut frame)?;
        stream.writer.write_all(&frame).await?;
        match stream.answers.next().await {
            Some(Ok(Packet::Probed { nonce: answer })) if answer == nonce => Ok(()),
            _ => Err(StreamError::NoAnswer),
        }
    }

    fn is_broken(&self, stream: &LaneStream) -> bool {
        stream.link.connection().close_reason().is_some()
            || standing(&self.links).is_none_or(|link| link.number() != stream.link.number())
    }

    fn discard(&self, stream: LaneStream, reason: EvictReason) {
        metrics::stream_evicted(reason.as_str());
        stream.reset();
    }

    fn at_limit(&self, error: &StreamError) -> bool {
        matches!(error, StreamError::Open(OpenError::PeerLimit))
    }
}
