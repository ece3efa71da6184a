//! Sans-I/O: what a client is told when something fails. Every failure made here is counted.

use std::fmt;

use super::topic::OpenError;
use crate::{
    metrics::broker as metrics,
    store::StoreError,
    wire::{DecodeError, Failure, FailureCode},
};

/// Makes a failure whose detail is the first line of an error, without its sources.
pub(super) fn failure(code: FailureCode, detail: impl fmt::Display) -> Failure {
    metrics::rejected(code.as_str());
    Failure {
        code,
        detail: detail.to_string(),
    }
}

/// The client sent a packet that is not allowed there.
pub(super) fn protocol(rule: &str) -> Failure {
    failure(FailureCode::Protocol, rule)
}

/// The broker is shutting down.
pub(super) fn closing() -> Failure {
    failure(FailureCode::Closing, "the broker is closing")
}

/// The client sent bytes that cannot be decoded: too long, or wrong in the way that `code` says.
pub(super) fn undecodable(error: &DecodeError, code: FailureCode) -> Failure {
    match error {
        DecodeError::TooLong { .. } => failure(FailureCode::TooLarge, error),
        _ => failure(code, error),
    }
}

/// The store returned an error.
pub(super) fn store(error: &StoreError) -> Failure {
    let code = match error {
        StoreError::Fenced => FailureCode::Fenced,
        StoreError::OutOfWindow => FailureCode::OutOfWindow,
        StoreError::Refuses(_) => FailureCode::StoreRefuses,
        StoreError::Failed(_) | StoreError::Corrupt(_) => FailureCode::StoreFailed,
        StoreError::Limit(_) => FailureCode::Limit,
        StoreError::UnknownTopic => FailureCode::UnknownTopic,
        StoreError::RequestReused => FailureCode::RequestReused,
        StoreError::AfterRejected => FailureCode::AfterRejected,
    };
    failure(code, error)
}

/// A topic cannot be opened.
pub(super) fn topic(error: &OpenError) -> Failure {
    match error {
        OpenError::Unknown | OpenError::Missing => failure(FailureCode::UnknownTopic, error),
        OpenError::Exists => failure(FailureCode::TopicExists, error),
        OpenError::Closing => closing(),
        OpenError::Limit(_) => failure(FailureCode::Limit, error),
        OpenError::Store(error) => store(error),
    }
}
