//! Sans-I/O: why a question to a broker failed.

use std::{sync::Arc, time::Duration};

use crate::{
    conn::{ConnectError, StartError},
    wire::{Failure, FailureCode},
};

/// Why a question to a broker failed. A change that got no answer may have been made.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The connection could not be set up: options are wrong, or a file cannot be read.
    #[error("the connection cannot begin")]
    Start(#[source] Arc<StartError>),
    /// No connection could be opened.
    #[error("there is no connection to the broker")]
    Connection(#[source] Arc<ConnectError>),
    /// The connection was lost before the answer came.
    #[error("the connection was lost before the answer came")]
    Lost,
    /// The broker did not answer within this time.
    #[error("the broker did not answer within {0:?}")]
    TimedOut(Duration),
    /// The broker refused.
    #[error("the broker refuses: {}", .0.detail)]
    Refused(Failure),
    /// The broker sent what the protocol does not allow.
    #[error("the broker breaks the protocol: {0}")]
    Protocol(&'static str),
}

impl AdminError {
    /// Returns the code with which the broker refused, if it did.
    #[must_use]
    pub const fn code(&self) -> Option<FailureCode> {
        match self {
            Self::Refused(failure) => Some(failure.code),
            _ => None,
        }
    }
}
