//! Pure: what ends a consumer, and whether another one may fare better.

use std::{sync::Arc, time::Duration};

use crate::{
    Offset,
    config::ConfigError,
    conn::{ConnectError, ConnectErrorKind, StartError},
    wire::{DecodeError, Failure, FailureCode},
};

/// Why there is no consumer, or no longer one. Cheap to clone.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ConsumeError {
    /// Some options cannot be used.
    #[error("the consumer's options are wrong: {0}")]
    Config(Arc<ConfigError>),
    /// The connection cannot begin.
    #[error("the connection cannot begin")]
    Start(#[source] Arc<StartError>),
    /// There is no connection, and there will be none.
    #[error("there is no connection to the broker")]
    Connection(#[source] Arc<ConnectError>),
    /// The connection was lost before the answer came.
    #[error("the connection was lost before the answer came")]
    Lost,
    /// The broker did not answer in this time.
    #[error("the broker did not answer within {0:?}")]
    TimedOut(Duration),
    /// The broker refuses.
    #[error("the broker refuses: {}", .0.detail)]
    Refused(Failure),
    /// A batch is not what its producer made. A consumer that begins behind it reads on.
    #[error("the batch at offset {base} is damaged")]
    Corrupt {
        /// The offset of the batch's first message.
        base: Offset,
        /// What is wrong.
        source: DecodeError,
    },
    /// The broker sent what the protocol does not allow.
    #[error("the broker breaks the protocol: {0}")]
    Protocol(&'static str),
    /// This end was closed.
    #[error("the consumer is closed")]
    Closed,
}

/// What kind of failure a [`ConsumeError`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConsumeErrorKind {
    /// Options, or files they name, cannot be used.
    Config,
    /// There is no connection, for this reason.
    Connection(ConnectErrorKind),
    /// The connection was lost before the answer came.
    Lost,
    /// The broker did not answer in time.
    TimedOut,
    /// The broker refuses, for this reason.
    Refused(FailureCode),
    /// A stored batch is damaged.
    Corrupt,
    /// The broker breaks the protocol.
    Protocol,
    /// This end was closed.
    Closed,
}

impl ConsumeError {
    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ConsumeErrorKind {
        match self {
            Self::Config(_) | Self::Start(_) => ConsumeErrorKind::Config,
            Self::Connection(error) => ConsumeErrorKind::Connection(error.kind()),
            Self::Lost => ConsumeErrorKind::Lost,
            Self::TimedOut(_) => ConsumeErrorKind::TimedOut,
            Self::Refused(failure) => ConsumeErrorKind::Refused(failure.code),
            Self::Corrupt { .. } => ConsumeErrorKind::Corrupt,
            Self::Protocol(_) => ConsumeErrorKind::Protocol,
            Self::Closed => ConsumeErrorKind::Closed,
        }
    }

    /// Whether another consumer with the same options may fare better.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.kind().is_retryable()
    }
}

impl ConsumeErrorKind {
    /// Whether another consumer with the same options may fare better.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        match self {
            Self::Connection(kind) => kind.is_retryable(),
            Self::Lost | Self::TimedOut => true,
            Self::Refused(code) => passes(code),
            Self::Config | Self::Corrupt | Self::Protocol | Self::Closed => false,
        }
    }
}

/// Whether what a broker refuses for this reason may be granted a little later.
fn passes(code: FailureCode) -> bool {
    match code {
        FailureCode::StoreRefuses | FailureCode::Closing | FailureCode::Limit => true,
        FailureCode::Unauthorised
        | FailureCode::Forbidden
        | FailureCode::Fenced
        | FailureCode::UnknownTopic
        | FailureCode::Corrupt
        | FailureCode::TooLarge
        | FailureCode::StoreFailed
        | FailureCode::OutOfWindow
        | FailureCode::Protocol
        | FailureCode::OffsetOutOfRange
        | FailureCode::AfterRejected
        | FailureCode::Unrecognised(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_tried_again_is_a_table() {
        use ConsumeErrorKind as K;
        let table = [
            (K::Config, false),
            (K::Connection(ConnectErrorKind::NoAnswer), true),
            (K::Connection(ConnectErrorKind::Unauthorised), false),
            (K::Lost, true),
            (K::TimedOut, true),
            (K::Corrupt, false),
            (K::Protocol, false),
            (K::Closed, false),
        ];
        for (kind, again) in table {
            assert_eq!(kind.is_retryable(), again, "{kind:?}");
        }
        let passing: Vec<_> = FailureCode::ALL
            .iter()
            .filter(|code| K::Refused(**code).is_retryable())
            .collect();
        assert_eq!(
            passing,
            [
                &FailureCode::StoreRefuses,
                &FailureCode::Closing,
                &FailureCode::Limit
            ]
        );
    }
}
