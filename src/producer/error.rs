//! Why a message was not acknowledged, and what became of it.

use std::{fmt, sync::Arc};

use super::Message;
use crate::wire::FailureCode;

/// What is known of a message that was not acknowledged. It tells what sending it again would risk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It is not in the topic and will not get there: sending it again cannot duplicate it.
    NotStored,
    /// It may be in the topic: sending it again may duplicate it.
    Unknown,
    /// It is on disk, in the producer's spool, and will be delivered: sending it again would duplicate it.
    Spooled,
}

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SendErrorKind {
    /// The message has more bytes than `max_message_bytes`. It was refused before anything was queued.
    TooLarge,
    /// There was no room within `when_full`. It was not accepted.
    Full,
    /// The producer is closed, or closed before this message had an outcome.
    Closed,
    /// `delivery_timeout` passed before there was an outcome.
    Expired,
    /// The broker refused it.
    Refused(FailureCode),
    /// The connection is gone for good: the reason is in the text.
    Disconnected,
    /// It was in the producer's spool, and cannot be read there any more.
    Damaged,
}

impl SendErrorKind {
    /// The label in metrics, in snake case. Refusals share one.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Full => "full",
            Self::Closed => "closed",
            Self::Expired => "expired",
            Self::Refused(_) => "refused",
            Self::Disconnected => "disconnected",
            Self::Damaged => "damaged",
        }
    }
}

/// A message without an acknowledgement: why, what became of it, and the message itself.
///
/// `Display` prints one line. The message comes back by [`SendError::into_message`].
#[derive(Clone, thiserror::Error)]
#[error("{}", self.0)]
pub struct SendError(Box<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    kind: SendErrorKind,
    fate: Fate,
    detail: Option<Arc<str>>,
    message: Option<Message>,
}

impl SendError {
    pub(crate) fn new(kind: SendErrorKind, fate: Fate) -> Self {
        Self(Box::new(Inner {
            kind,
            fate,
            detail: None,
            message: None,
        }))
    }

    pub(crate) fn detail(mut self, detail: impl Into<Arc<str>>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    pub(crate) fn message(mut self, message: Message) -> Self {
        self.0.message = Some(message);
        self
    }

    pub(crate) fn with_fate(mut self, fate: Fate) -> Self {
        self.0.fate = fate;
        self
    }

    /// What went wrong.
    #[must_use]
    pub const fn kind(&self) -> SendErrorKind {
        self.0.kind
    }

    /// What is known of the message.
    #[must_use]
    pub const fn fate(&self) -> Fate {
        self.0.fate
    }

    /// The message, to send again or to put elsewhere.
    #[must_use]
    pub fn into_message(self) -> Option<Message> {
        self.0.message
    }

    /// Whether sending the same message again, later, could succeed. Look at [`SendError::fate`] before doing so.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self.0.kind {
            SendErrorKind::Full | SendErrorKind::Expired => true,
            SendErrorKind::TooLarge
            | SendErrorKind::Closed
            | SendErrorKind::Disconnected
            | SendErrorKind::Damaged => false,
            SendErrorKind::Refused(code) => match code {
                FailureCode::StoreRefuses
                | FailureCode::StoreFailed
                | FailureCode::OutOfWindow
                | FailureCode::Closing
                | FailureCode::Limit
                | FailureCode::AfterRejected => true,
                FailureCode::Unauthorised
                | FailureCode::Forbidden
                | FailureCode::Fenced
                | FailureCode::UnknownTopic
                | FailureCode::Corrupt
                | FailureCode::TooLarge
                | FailureCode::Protocol
                | FailureCode::OffsetOutOfRange
                | FailureCode::Unrecognised(_) => false,
            },
        }
    }
}

impl fmt::Debug for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendError")
            .field("kind", &self.0.kind)
            .field("fate", &self.0.fate)
            .field("detail", &self.0.detail)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            SendErrorKind::TooLarge => {
                f.write_str("the message is larger than max_message_bytes")?
            }
            SendErrorKind::Full => f.write_str("the producer's buffer is full")?,
            SendErrorKind::Closed => f.write_str("the producer is closed")?,
            SendErrorKind::Expired => f.write_str("no outcome within delivery_timeout")?,
            SendErrorKind::Refused(code) => write!(f, "the broker refused the message ({code:?})")?,
            SendErrorKind::Disconnected => f.write_str("the connection is gone for good")?,
            SendErrorKind::Damaged => f.write_str("the spool's entry is damaged")?,
        }
        if let Some(detail) = &self.detail {
            write!(f, ": {detail}")?;
        }
        f.write_str(match self.fate {
            Fate::NotStored => "; it is not stored",
            Fate::Unknown => "; it may be stored",
            Fate::Spooled => "; it is in the spool on disk and will be delivered",
        })
    }
}

/// A flush whose deadline passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{open} messages have no outcome yet")]
pub struct FlushError {
    /// Messages without an outcome at that moment.
    pub open: u64,
}

/// A close whose deadline passed before everything had its outcome.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{} messages were not acknowledged in time{}", undelivered.len(), in_spool(*spooled))]
pub struct CloseError {
    /// These, in no particular order.
    pub undelivered: Vec<Undelivered>,
    /// Beside them, so many messages are in the spool on disk. The next producer that is given its folder delivers them.
    pub spooled: u64,
}

fn in_spool(messages: u64) -> String {
    match messages {
        0 => String::new(),
        n => format!(", and {n} are in the spool on disk"),
    }
}

/// A message that a closing producer hands back.
#[derive(Debug, Clone)]
pub struct Undelivered {
    /// The message.
    pub message: Message,
    /// What is known of it.
    pub fate: Fate,
}
