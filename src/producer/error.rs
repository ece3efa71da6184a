//! Why a message was not acknowledged, and what became of it.

use std::{fmt, sync::Arc};

use super::Message;
use crate::wire::FailureCode;

/// What is known of a message that was not acknowledged. It tells what sending it again would risk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It is not in the topic and will not be: sending it again cannot duplicate it.
    NotStored,
    /// It may be in the topic: sending it again may duplicate it.
    Unknown,
    /// It is on disk, in the producer's spool, and will be delivered: sending it again would duplicate it.
    Spooled,
}

/// The kind of a [`SendError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SendErrorKind {
    /// The message has more bytes than `max_message_bytes`. It was refused before anything was queued.
    TooLarge,
    /// There was no room in the buffer within `when_full`. The message was not accepted.
    Full,
    /// The producer is closed, or closed before this message had an outcome.
    Closed,
    /// `delivery_timeout` passed before there was an outcome.
    Expired,
    /// The broker refused the message.
    Refused(FailureCode),
    /// The producer will not connect again, for example because it was fenced. The text tells the reason.
    Disconnected,
    /// The message was in the producer's spool, and cannot be read from disk.
    Damaged,
}

impl SendErrorKind {
    /// Returns the label in metrics, in snake case. All refusals share one.
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

/// Why a message was not acknowledged, what is known of it, and the message itself.
///
/// `Display` prints one line, such as `no outcome within delivery_timeout; it may be stored`.
///
/// ```no_run
/// # async fn f(producer: anabranch::Producer) {
/// use anabranch::producer::Fate;
///
/// if let Err(error) = producer.send("hello").await {
///     eprintln!("{error}");
///     match error.fate() {
///         // Sending it again cannot duplicate it.
///         Fate::NotStored if error.is_retryable() => {
///             let again = error.into_message();
///         }
///         Fate::NotStored => {}
///         // Sending it again may duplicate it.
///         Fate::Unknown => {}
///         // The spool will deliver it.
///         Fate::Spooled => {}
///     }
/// }
/// # }
/// ```
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

    /// Returns what went wrong.
    #[must_use]
    pub const fn kind(&self) -> SendErrorKind {
        self.0.kind
    }

    /// Returns what is known of the message.
    #[must_use]
    pub const fn fate(&self) -> Fate {
        self.0.fate
    }

    /// Returns the message, to send it again or to keep it elsewhere. `None` if it is on disk in the spool.
    #[must_use]
    pub fn into_message(self) -> Option<Message> {
        self.0.message
    }

    /// Returns whether sending the same message again later could succeed. See [`SendError::fate`] before doing so.
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
                | FailureCode::RequestReused
                | FailureCode::TopicReplaced
                | FailureCode::TopicExists
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
        if let Some(detail) = self.detail.as_ref().filter(|detail| !detail.is_empty()) {
            // One line, whatever a broker says.
            write!(f, ": {}", detail.lines().collect::<Vec<_>>().join(" "))?;
        }
        f.write_str(match self.fate {
            Fate::NotStored => "; it is not stored",
            Fate::Unknown => "; it may be stored",
            Fate::Spooled => "; it is in the spool on disk and will be delivered",
        })
    }
}

/// The deadline of a flush passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{open} messages have no outcome yet")]
pub struct FlushError {
    /// Messages that had no outcome at that moment.
    pub open: u64,
}

/// The deadline of a close passed before every message had its outcome.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{} messages were not acknowledged in time{}", undelivered.len(), in_spool(*spooled))]
pub struct CloseError {
    /// The messages without an outcome, in no particular order.
    pub undelivered: Vec<Undelivered>,
    /// The number of messages in the spool on disk. The next producer with the same folder delivers them.
    pub spooled: u64,
}

fn in_spool(messages: u64) -> String {
    match messages {
        0 => String::new(),
        n => format!(", and {n} are in the spool on disk"),
    }
}

/// A message that a closing producer returns.
#[derive(Debug, Clone)]
pub struct Undelivered {
    /// The message.
    pub message: Message,
    /// What is known of it.
    pub fate: Fate,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_prints_one_line_with_or_without_a_detail() {
        let refused = SendError::new(SendErrorKind::Refused(FailureCode::Limit), Fate::NotStored);
        assert_eq!(
            refused.clone().detail("").to_string(),
            "the broker refused the message (Limit); it is not stored"
        );
        assert_eq!(
            refused.detail("too\nmany").to_string(),
            "the broker refused the message (Limit): too many; it is not stored"
        );
        let messages = CloseError {
            undelivered: Vec::new(),
            spooled: 2,
        };
        assert_eq!(
            messages.to_string(),
            "0 messages were not acknowledged in time, and 2 are in the spool on disk"
        );
    }
}
