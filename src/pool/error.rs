//! Sans-I/O: the error of a checkout.

use std::{error::Error, time::Duration};

use thiserror::Error;

/// Why [`StreamPool::get`](super::StreamPool::get) returned no stream. `E` is the manager's error.
///
/// Nothing was written for the caller in any of these cases, so calling again risks nothing.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PoolError<E: Error + 'static> {
    /// The pool is closed, or was closed while the caller waited.
    #[error("the stream pool is closed")]
    Closed,

    /// No stream came free within [`Config::checkout_timeout`](super::Config::checkout_timeout).
    #[error("no stream came free within {waited:?}{}", if *at_limit { ", and the peer permits no further one" } else { "" })]
    TimedOut {
        /// How long the caller waited.
        waited: Duration,
        /// Whether the peer's limit on streams kept the pool from opening another.
        at_limit: bool,
    },

    /// A stream could not be opened.
    #[error("the stream could not be opened")]
    Open(#[source] E),

    /// An open did not end within [`Config::open_timeout`](super::Config::open_timeout). Usually the peer permits no further
    /// stream, or the connection makes no progress.
    #[error("the stream could not be opened in time")]
    OpenTimedOut,

    /// A stream was opened and its first probe failed.
    #[error("the new stream failed its first probe")]
    Probe(#[source] E),

    /// A stream was opened and its first probe was not answered within
    /// [`Config::probe_timeout`](super::Config::probe_timeout).
    #[error("the new stream's first probe was not answered in time")]
    ProbeTimedOut,

    /// The task that opened the stream ended without a result, because the manager panicked.
    #[error("the task that opened the stream ended without a result")]
    Aborted,
}

/// The kind of a [`PoolError`], without its data.
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
    /// Returns the kind of the error, to be matched or counted.
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
    /// Whether the same call may succeed later. It may unless the pool is closed.
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
