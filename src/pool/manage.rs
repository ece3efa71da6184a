//! What the pool must be told about a kind of stream: how to open one, test one and throw one away.

use std::future::Future;

use super::status::EvictReason;

/// Opens, tests and discards the streams of one pool.
///
/// The pool calls the asynchronous methods in tasks of its own, each under a time limit, and **drops their
/// futures** when the limit passes or the pool closes. So neither has to be quick, and both must stand being
/// dropped at any await.
pub trait ManageStream: Send + Sync + 'static {
    /// What the pool holds: a bidirectional QUIC stream with its codec, say.
    type Stream: Send + 'static;

    /// Why a stream could not be opened, or failed its probe.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Opens one stream.
    ///
    /// The pool probes what comes back before anybody sees it, so there is no need to test it here.
    ///
    /// # Cancel safety
    ///
    /// Dropped after [`Config::open_timeout`](super::Config::open_timeout). A stream that was half open by then
    /// has to be reset by the future's own drop; the pool never saw it.
    fn open(&self) -> impl Future<Output = Result<Self::Stream, Self::Error>> + Send;

    /// Asks the peer's task on this stream for an answer, and returns once it came.
    ///
    /// An unwritten QUIC stream does not exist for the peer, so an open that succeeded proves nothing; an
    /// answered probe proves that the stream and its far end work.
    ///
    /// # Cancel safety
    ///
    /// Dropped after [`Config::probe_timeout`](super::Config::probe_timeout). The stream may be in the middle of
    /// a frame then, and the pool discards it.
    fn probe(
        &self,
        stream: &mut Self::Stream,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Whether the stream is known to be useless, from what is known here and now. Called at every checkout
    /// and return; must be cheap and must not block or panic.
    fn is_broken(&self, stream: &Self::Stream) -> bool;

    /// Throws the stream away: resets both directions, never finishes them, because a finished stream looks
    /// to the peer like one that said everything. Must not block or panic; it is called from `Drop`.
    fn discard(&self, stream: Self::Stream, why: EvictReason);

    /// Whether `error`, which [`open`](Self::open) returned, says that the peer permits no further stream at
    /// present. The pool then treats the number it has as its limit for a while: callers wait for a stream to
    /// come back instead of being told the error. By default no error means that.
    fn at_limit(&self, error: &Self::Error) -> bool {
        let _ = error;
        false
    }
}
