//! One error per operation of the pool.

use std::{error::Error, time::Duration};

use thiserror::Error;

/// Why [`StreamPool::get`](super::StreamPool::get) returned no stream. `E` is the manager's own error.
///
/// Nothing was sent for the caller in any of these cases, so asking again risks nothing.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PoolError<E: Error + 'static> {
    /// The pool is closed, or was while the caller waited.
    #[error("the stream pool is closed")]
    Closed,

    /// None came free in time.
    #[error("no stream came free within {waited:?}{}", if *at_limit { ", and the peer permits no further one" } else { "" })]
    TimedOut {
        /// How long the caller waited.
        waited: Duration,
        /// Whether the peer's own limit on streams was what kept the pool from opening another.
        at_limit: bool,
    },

    /// A stream could not be opened.
    #[error("the stream could not be opened")]
    Open(#[source] E),

    /// An open did not end within [`Config::open_timeout`](super::Config::open_timeout). The usual reason is a
    /// peer that permits no further stream, the other a connection that stands still.
    #[error("the stream could not be opened in time")]
    OpenTimedOut,

    /// A stream was opened and the peer failed its first probe.
    #[error("the new stream failed its first probe")]
    Probe(#[source] E),

    /// A stream was opened and the peer did not answer its first probe within
    /// [`Config::probe_timeout`](super::Config::probe_timeout).
    #[error("the new stream's first probe was not answered in time")]
    ProbeTimedOut,

    /// The task that opened the stream ended without a result, which it does only if the manager panicked.
    #[error("the task that opened the stream ended without a result")]
    Aborted,
}

/// What happened, without what it carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PoolErrorKind {
    /// See [`PoolError::Closed`].
    Closed,
    /// See [`PoolError::TimedOut`].
    TimedOut,
    /// See [`PoolError::Open`].
    Open,
    /// See [`PoolError::OpenTimedOut`].
    OpenTimedOut,
    /// See [`PoolError::Probe`].
    Probe,
    /// See [`PoolError::ProbeTimedOut`].
    ProbeTimedOut,
    /// See [`PoolError::Aborted`].
    Aborted,
}

impl<E: Error + 'static> PoolError<E> {
    /// What happened, to be matched or counted.
    #[must_use]
    pub const fn kind(&self) -> PoolErrorKind {
        match self {
            Self::Closed => PoolErrorKind::Closed,
            Self::TimedOut { .. } => PoolErrorKind::TimedOut,
            Self::Open(_) => PoolErrorKind::Open,
            Self::OpenTimedOut => PoolErrorKind::OpenTimedOut,
            Self::Probe(_) => PoolErrorKind::Probe,
            Self::ProbeTimedOut => PoolErrorKind::ProbeTimedOut,
            Self::Aborted => PoolErrorKind::Aborted,
        }
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        self.kind().is_retryable()
    }
}

impl PoolErrorKind {
    /// Whether the same call may succeed later: always, but on a closed pool.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        match self {
            Self::TimedOut
            | Self::Open
            | Self::OpenTimedOut
            | Self::Probe
            | Self::ProbeTimedOut
            | Self::Aborted => true,
            Self::Closed => false,
        }
    }
}

/// Why [`StreamPool::try_get`](super::StreamPool::try_get) returned no stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TryGetError {
    /// No stream is ready that nobody waits for already.
    #[error("no stream is ready")]
    Empty,
    /// The pool is closed.
    #[error("the stream pool is closed")]
    Closed,
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    #[test]
    fn every_error_but_closed_may_be_tried_again_and_prints_only_its_own_line() {
        let inner = || fmt::Error;
        let table = [
            (PoolError::Closed, false),
            (
                PoolError::TimedOut {
                    waited: Duration::from_secs(1),
                    at_limit: true,
                },
                true,
            ),
            (PoolError::Open(inner()), true),
            (PoolError::OpenTimedOut, true),
            (PoolError::Probe(inner()), true),
            (PoolError::ProbeTimedOut, true),
            (PoolError::Aborted, true),
        ];
        for (error, retryable) in table {
            assert_eq!(error.is_retryable(), retryable, "{error}");
            assert!(!error.to_string().contains(&inner().to_string()));
            let has_source = matches!(error.kind(), PoolErrorKind::Open | PoolErrorKind::Probe);
            assert_eq!(error.source().is_some(), has_source, "{error}");
        }
    }
}
