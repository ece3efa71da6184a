//! The streams of lanes, as the pool manages them: opened on the present connection, probed with a question that only the
//! broker's task on that stream can answer, and reset when discarded.

use std::sync::Arc;

use tokio_util::codec::Encoder;

use crate::{
    conn::{CloseCode, ConnectionState, OpenError, Session},
    metrics::producer as metrics,
    ordered_watch,
    pool::{EvictReason, ManageStream},
    wire::{MaxFrame, Packet, PacketCodec, PacketReader},
};

/// Returns the established connection, if there is one.
pub(crate) fn current_session(
    state: &ordered_watch::Receiver<ConnectionState>,
) -> Option<Arc<Session>> {
    match &*state.borrow() {
        ConnectionState::Connected(session) => Some(Arc::clone(session)),
        ConnectionState::Connecting { .. }
        | ConnectionState::Reconnecting { .. }
        | ConnectionState::Closed(_) => None,
    }
}

/// One bidirectional stream, and the connection that it is on.
#[derive(Debug)]
pub(crate) struct LaneStream {
    writer: quinn::SendStream,
    responses: PacketReader,
    session: Arc<Session>,
}

impl LaneStream {
    /// Returns the number of its connection.
    pub(crate) fn session_number(&self) -> u64 {
        self.session.number()
    }

    /// Returns both halves.
    pub(crate) const fn halves(&mut self) -> (&mut quinn::SendStream, &mut PacketReader) {
        (&mut self.writer, &mut self.responses)
    }

    fn reset(mut self) {
        let code = CloseCode::Done.into();
        // Either half may have ended already; then there is nothing to reset.
        let _ = self.writer.reset(code);
        self.responses.stop(code);
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

/// Opens streams on the connection that is established at the time.
#[derive(Debug)]
pub(crate) struct Streams {
    state: ordered_watch::Receiver<ConnectionState>,
}

impl Streams {
    pub(crate) const fn new(state: ordered_watch::Receiver<ConnectionState>) -> Self {
        Self { state }
    }
}

impl ManageStream for Streams {
    type Stream = LaneStream;
    type Error = StreamError;

    async fn open(&self) -> Result<LaneStream, StreamError> {
        let session = current_session(&self.state).ok_or(StreamError::NoConnection)?;
        let (writer, reader) = session.try_open_bi()?;
        Ok(LaneStream {
            writer,
            responses: PacketReader::new(reader, MaxFrame::ANSWER),
            session,
        })
    }

    async fn probe(&self, stream: &mut LaneStream) -> Result<(), StreamError> {
        let nonce = fastrand::u64(..);
        let mut frame = bytes::BytesMut::new();
        PacketCodec::new(MaxFrame::ANSWER.bytes()).encode(Packet::Probe { nonce }, &mut frame)?;
        stream.writer.write_all(&frame).await?;
        match stream.responses.next().await {
            Ok(Some(Packet::Probed { nonce: answer })) if answer == nonce => Ok(()),
            _ => Err(StreamError::NoAnswer),
        }
    }

    fn is_broken(&self, stream: &LaneStream) -> bool {
        stream.session.connection().close_reason().is_some()
            || current_session(&self.state)
                .is_none_or(|session| session.number() != stream.session.number())
    }

    fn discard(&self, stream: LaneStream, reason: EvictReason) {
        metrics::stream_evicted(reason.as_str());
        stream.reset();
    }

    fn at_limit(&self, error: &StreamError) -> bool {
        matches!(error, StreamError::Open(OpenError::PeerLimit))
    }
}
