//! Sans-I/O: what an application hands over.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

use crate::{
    Timestamp, TopicName,
    wire::{BatchBuilder, Header, Record, encoded_len},
};

/// A message on its way to a topic: a payload and, optionally, a key, headers, a timestamp and a topic.
///
/// A method `with_x` sets, the method `x` of the same name returns. Text and bytes become messages without a copy where
/// they are owned or static:
///
/// ```
/// use std::time::SystemTime;
/// use anabranch::{Message, TopicName};
///
/// # fn f() -> Result<(), Box<dyn std::error::Error>> {
/// let plain: Message = "hello".into();
/// assert_eq!(plain.payload(), "hello");
///
/// let full = Message::new(vec![1, 2, 3])
///     .with_key("customer-7")
///     .with_header("content-type", "application/octet-stream")
///     .with_timestamp(SystemTime::now())
///     .with_topic(TopicName::new("orders")?);
/// assert_eq!(full.key().unwrap(), "customer-7");
/// assert_eq!(full.headers().len(), 1);
/// # Ok(()) }
/// # f().unwrap();
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    payload: Bytes,
    key: Option<Bytes>,
    headers: Vec<Header>,
    timestamp: Option<Timestamp>,
    topic: Option<TopicName>,
}

/// What a message has beside its payload.
#[derive(Debug)]
pub(crate) struct Rest {
    pub(crate) key: Option<Bytes>,
    pub(crate) headers: Vec<Header>,
    timestamp: Option<Timestamp>,
    pub(crate) topic: Option<TopicName>,
}

impl Rest {
    /// Returns the bytes of key and headers.
    pub(crate) fn content_len(&self) -> usize {
        content_len(self.key.as_deref(), &self.headers)
    }
}

fn content_len(key: Option<&[u8]>, headers: &[Header]) -> usize {
    let headers = headers
        .iter()
        .map(|h| h.name.len() + h.value.len() + Record::HEADER);
    key.map_or(0, <[u8]>::len) + headers.sum::<usize>()
}

impl Message {
    /// Makes a message with this payload and nothing else.
    pub fn new(payload: impl Into<Bytes>) -> Self {
        Self {
            payload: payload.into(),
            ..Self::default()
        }
    }

    /// Makes a message whose payload is `value` as JSON.
    ///
    /// ```
    /// # #[derive(serde::Serialize)]
    /// # struct Order { id: u32 }
    /// let message = anabranch::Message::json(&Order { id: 7 })?;
    /// assert_eq!(message.payload(), r#"{"id":7}"#);
    /// # Ok::<_, serde_json::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`serde_json::to_vec`]: the value fails to serialise, or has a map whose keys are not strings.
    #[cfg(feature = "serde")]
    pub fn json(value: &impl serde::Serialize) -> Result<Self, serde_json::Error> {
        serde_json::to_vec(value).map(Self::new)
    }

    /// Sets the key. Messages of one producer and topic with the same key are stored in the order of their calls.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Adds a header. Names may repeat; their order is kept.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.headers.push(Header {
            name: name.into(),
            value: value.into(),
        });
        self
    }

    /// Sets when the event happened, a [`Timestamp`] or a [`SystemTime`](std::time::SystemTime). Default: the time of
    /// the call that sends the message.
    #[must_use]
    pub fn with_timestamp(mut self, timestamp: impl Into<Timestamp>) -> Self {
        self.timestamp = Some(timestamp.into());
        self
    }

    /// Sends this message to another topic than the producer's own.
    #[must_use]
    pub fn with_topic(mut self, topic: TopicName) -> Self {
        self.topic = Some(topic);
        self
    }

    /// Returns the payload.
    #[must_use]
    pub const fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// Returns the payload without a copy.
    #[must_use]
    pub fn into_payload(self) -> Bytes {
        self.payload
    }

    /// Returns the key, if there is one.
    #[must_use]
    pub const fn key(&self) -> Option<&Bytes> {
        self.key.as_ref()
    }

    /// Returns the headers in their order.
    #[must_use]
    pub fn headers(&self) -> &[Header] {
        &self.headers
    }

    /// Returns when the event happened; `None` for the time of the call that sends it.
    #[must_use]
    pub const fn timestamp(&self) -> Option<Timestamp> {
        self.timestamp
    }

    /// Returns the topic; `None` for the producer's own.
    #[must_use]
    pub const fn topic(&self) -> Option<&TopicName> {
        self.topic.as_ref()
    }

    /// Returns the bytes of key, headers and payload together, and two for each header: what `max_message_bytes` limits.
    #[must_use]
    pub fn content_len(&self) -> usize {
        content_len(self.key.as_deref(), &self.headers) + self.payload.len()
    }

    /// Returns the payload, and what else there is; `None` for nothing.
    pub(crate) fn into_parts(self) -> (Bytes, Option<Box<Rest>>) {
        let Self {
            payload,
            key,
            headers,
            timestamp,
            topic,
        } = self;
        let is_plain =
            key.is_none() && headers.is_empty() && timestamp.is_none() && topic.is_none();
        let rest = (!is_plain).then(|| {
            Box::new(Rest {
                key,
                headers,
                timestamp,
                topic,
            })
        });
        (payload, rest)
    }

    /// Makes a message of what [`into_parts`](Self::into_parts) returned.
    pub(crate) fn from_parts(payload: Bytes, rest: Option<Box<Rest>>) -> Self {
        let Some(rest) = rest else {
            return Self::new(payload);
        };
        let Rest {
            key,
            headers,
            timestamp,
            topic,
        } = *rest;
        Self {
            payload,
            key,
            headers,
            timestamp,
            topic,
        }
    }

    /// Returns the most bytes it takes in a batch.
    pub(crate) fn encoded_len(&self) -> usize {
        encoded_len(self.key.as_deref(), &self.headers, &self.payload)
    }

    /// Appends it to a batch; without a timestamp of its own it gets `now`.
    #[inline]
    pub(crate) fn encode(&self, batch: &mut BatchBuilder, now: impl FnOnce() -> Timestamp) {
        let time = self.timestamp.unwrap_or_else(now);
        batch.push_parts(time, self.key.as_deref(), &self.headers, &self.payload);
    }

    /// Makes the message that a batch has as this record.
    pub(crate) fn from_record(record: Record, topic: TopicName) -> Self {
        Self {
            payload: record.payload,
            key: record.key,
            headers: record.headers,
            timestamp: Some(record.time),
            topic: Some(topic),
        }
    }
}

macro_rules! from_payload {
    ($($payload:ty),+ $(,)?) => {$(
        impl From<$payload> for Message {
            fn from(payload: $payload) -> Self {
                Self::new(payload)
            }
        }
    )+};
}

from_payload!(
    Bytes,
    BytesMut,
    Vec<u8>,
    Box<[u8]>,
    String,
    &'static str,
    &'static [u8],
);

impl<const N: usize> From<&'static [u8; N]> for Message {
    fn from(payload: &'static [u8; N]) -> Self {
        Self::new(payload.as_slice())
    }
}

impl From<Cow<'static, str>> for Message {
    fn from(payload: Cow<'static, str>) -> Self {
        match payload {
            Cow::Borrowed(text) => text.into(),
            Cow::Owned(text) => text.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn owned_and_static_payloads_become_messages_without_a_copy() {
        let owned = vec![7; 100];
        let at = owned.as_ptr();
        assert_eq!(Message::from(owned).payload().as_ptr(), at);
        let text = "x".repeat(100);
        let at = text.as_ptr();
        assert_eq!(Message::from(Cow::Owned(text)).payload().as_ptr(), at);
        let fixed = "static";
        assert_eq!(Message::from(fixed).payload().as_ptr(), fixed.as_ptr());
        assert_eq!(Message::from(b"raw").into_payload(), "raw");
    }

    #[test]
    fn what_is_set_is_returned_by_the_getter_of_the_same_name() {
        let topic = TopicName::new("t").unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(5);
        let message = Message::new("payload")
            .with_key("k")
            .with_header("name", "value")
            .with_timestamp(time)
            .with_topic(topic.clone());
        assert_eq!(message.key().unwrap(), "k");
        assert_eq!(message.headers()[0].name, "name");
        assert_eq!(message.timestamp(), Some(Timestamp(5)));
        assert_eq!(message.topic(), Some(&topic));
        assert_eq!(message.content_len(), "payloadknamevalue".len() + 2);
        let (payload, rest) = message.clone().into_parts();
        assert_eq!(Message::from_parts(payload, rest), message);
        assert!(Message::new("plain").into_parts().1.is_none());
        assert_eq!(Message::new("").timestamp(), None);
    }
}
