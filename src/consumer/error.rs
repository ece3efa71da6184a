//! Sans-I/O: why a consumer ends, and whether a retry makes sense.

use std::{sync::Arc, time::Duration};

use crate::{
    Offset,
    config::ConfigError,
    conn::{ConnectError, ConnectErrorKind, StartError},
    wire::{DecodeError, Failure, FailureCode},
};

/// Why a consumer did not start, or ended. Cheap to clone.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ConsumeError {
    /// Some options are missing or out of range.
    #[error("the consumer's options are wrong: {0}")]
    Config(Arc<ConfigError>),
    /// The connection could not be set up, for example because a file cannot be read.
    #[error("the connection cannot begin")]
    Start(#[source] Arc<StartError>),
    /// No connection could be opened, or it was lost for good.
    #[error("there is no connection to the broker")]
    Connection(#[source] Arc<ConnectError>),
    /// The connection was lost while waiting for an answer.
    #[error("the connection was lost before the answer came")]
    Lost,
    /// The broker did not answer within this time.
    #[error("the broker did not answer within {0:?}")]
    TimedOut(Duration),
    /// The broker refused.
    #[error("the broker refuses: {}", .0.detail)]
    Refused(Failure),
    /// A stored batch does not match its checksum. To read on, start another consumer after it.
    #[error("the batch at offset {base} is damaged")]
    Corrupt {
        /// The offset of the first message of the batch.
        base: Offset,
        /// What is wrong with the batch.
        source: DecodeError,
    },
    /// The broker sent what the protocol does not allow.
    #[error("the broker breaks the protocol: {0}")]
    Protocol(&'static str),
    /// The consumer was closed by the application.
    #[error("the consumer is closed")]
    Closed,
}

/// The kind of a [`ConsumeError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConsumeErrorKind {
    /// Options, or files that they name, cannot be used.
    Config,
    /// No connection could be opened, or it was lost for good, for this reason.
    Connection(ConnectErrorKind),
    /// The connection was lost before the answer came.
    Lost,
    /// The broker did not answer in time.
    TimedOut,
    /// The broker refused, for this reason.
    Refused(FailureCode),
    /// A stored batch is damaged.
    Corrupt,
    /// The broker broke the protocol.
    Protocol,
    /// The consumer was closed by the application.
    Closed,
}

impl ConsumeError {
    /// Returns the kind of this error.
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

    /// Returns whether another consumer with the same options may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.kind().is_retryable()
    }
}

impl ConsumeErrorKind {
    /// Returns whether another consumer with the same options may succeed.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        match self {
            Self::Connection(kind) => kind.is_retryable(),
            Self::Lost | Self::TimedOut => true,
            Self::Refused(code) => is_temporary(code),
            Self::Config | Self::Corrupt | Self::Protocol | Self::Closed => false,
        }
    }
}

/// Returns whether a broker that refuses for this reason may accept a little later.
fn is_temporary(code: FailureCode) -> bool {
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
        | FailureCode::RequestReused
        | FailureCode::TopicReplaced
        | FailureCode::TopicExists
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
