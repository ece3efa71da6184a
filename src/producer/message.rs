//! Pure: what an application hands over.

use bytes::Bytes;

use crate::{
    Timestamp, TopicName,
    wire::{Header, Record},
};

/// A message on its way to a topic: a payload, and where wanted a key, headers, an event time and a topic
/// other than the producer's own.
///
/// Anything that becomes [`Bytes`] becomes a message:
///
/// ```
/// use anabranch::Message;
///
/// let plain: Message = "hello".into();
/// let full = Message::new(vec![1, 2, 3])
///     .key("customer-7")
///     .header("content-type", "application/octet-stream");
/// assert_eq!(plain.payload(), "hello");
/// assert_eq!(full.get_key().unwrap(), "customer-7");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    pub(crate) record: Record,
    pub(crate) topic: Option<TopicName>,
}

impl Message {
    /// A message with this payload and nothing else.
    pub fn new(payload: impl Into<Bytes>) -> Self {
        Self {
            record: Record {
                payload: payload.into(),
                ..Record::default()
            },
            topic: None,
        }
    }

    /// Messages of one producer and topic with the same key are stored in the order of their calls.
    #[must_use]
    pub fn key(mut self, key: impl Into<Bytes>) -> Self {
        self.record.key = Some(key.into());
        self
    }

    /// Adds a header. Names may repeat; order is kept.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.record.headers.push(Header {
            name: name.into(),
            value: value.into(),
        });
        self
    }

    /// When the event happened. Without this: the time of the call that sends it.
    #[must_use]
    pub const fn event_time(mut self, time: Timestamp) -> Self {
        self.record.time = time;
        self
    }

    /// Sends this one to another topic than the producer's own.
    #[must_use]
    pub fn topic(mut self, topic: TopicName) -> Self {
        self.topic = Some(topic);
        self
    }

    /// The payload.
    #[must_use]
    pub const fn payload(&self) -> &Bytes {
        &self.record.payload
    }

    /// The key, if there is one.
    #[must_use]
    pub const fn get_key(&self) -> Option<&Bytes> {
        self.record.key.as_ref()
    }

    /// The headers in their order.
    #[must_use]
    pub fn headers(&self) -> &[Header] {
        &self.record.headers
    }

    /// The bytes of key, headers and payload: what `max_message_bytes` limits.
    #[must_use]
    pub fn content_len(&self) -> usize {
        self.record.content_len()
    }
}

impl From<Bytes> for Message {
    fn from(payload: Bytes) -> Self {
        Self::new(payload)
    }
}

impl From<Vec<u8>> for Message {
    fn from(payload: Vec<u8>) -> Self {
        Self::new(payload)
    }
}

impl From<String> for Message {
    fn from(payload: String) -> Self {
        Self::new(payload)
    }
}

impl From<&'static str> for Message {
    fn from(payload: &'static str) -> Self {
        Self::new(payload)
    }
}

impl From<&'static [u8]> for Message {
    fn from(payload: &'static [u8]) -> Self {
        Self::new(payload)
    }
}
