//! The trait that a user of the pool implements: how streams are opened, tested and discarded.

use std::future::Future;

use super::status::EvictReason;

/// Opens, tests and discards the streams of one pool.
///
/// The pool calls the async methods in tasks of its own, each with a time limit. It **drops their futures** when the limit
/// passes or the pool closes, so both must be cancel safe at every await.
pub trait ManageStream: Send + Sync + 'static {
    /// What the pool holds, for instance a bidirectional QUIC stream with its codec.
    type Stream: Send + 'static;

    /// Why a stream could not be opened, or failed its probe.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Opens one stream.
    ///
    /// The pool probes the stream before any caller gets it, so there is no need to test it here.
    ///
    /// # Cancel safety
    ///
    /// The pool drops the future after [`Config::open_timeout`](super::Config::open_timeout). A stream that is half open then
    /// must be reset by the drop of the future, because the pool does not have it.
    fn open(&self) -> impl Future<Output = Result<Self::Stream, Self::Error>> + Send;

    /// Asks the peer's task on this stream for an answer, and returns once it has come.
    ///
    /// The peer learns of a QUIC stream only when something is written on it. So a successful open proves nothing, and an
    /// answered probe proves that the stream works at both ends.
    ///
    /// # Cancel safety
    ///
    /// The pool drops the future after [`Config::probe_timeout`](super::Config::probe_timeout), and discards the stream, which
    /// may be in the middle of a frame.
    fn probe(
        &self,
        stream: &mut Self::Stream,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Whether the stream is known to be unusable, without asking the peer. The pool calls this at every checkout and return. It
    /// must be cheap, and must not block or panic.
    fn is_broken(&self, stream: &Self::Stream) -> bool;

    /// Resets both directions of the stream. It must not finish them, because a finished stream looks complete to the peer. It
    /// is called from `Drop`, and must not block or panic.
    fn discard(&self, stream: Self::Stream, reason: EvictReason);

    /// Whether `error`, returned by [`open`](Self::open), means that the peer permits no further stream now. The pool then takes
    /// its number of streams for the limit, and callers wait for a stream to come back instead of receiving the error. The
    /// default returns false.
    fn at_limit(&self, error: &Self::Error) -> bool {
        let _ = error;
        false
    }
}
