//! Pure: what one message carries.

use bytes::Bytes;

use crate::Timestamp;

/// One message as it travels and is stored: everything but its topic and its place there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// When the event happened, by the producer's clock.
    pub time: Timestamp,
    /// Messages with the same key keep the order in which they were sent.
    pub key: Option<Bytes>,
    /// Names and values that travel beside the payload; the library gives them no meaning.
    pub headers: Vec<Header>,
    /// The content.
    pub payload: Bytes,
}

impl Record {
    /// The bytes of key, headers and payload, without any framing.
    #[inline]
    #[must_use]
    pub fn content_len(&self) -> usize {
        let headers = self.headers.iter().map(|h| h.name.len() + h.value.len());
        self.payload.len() + self.key.as_ref().map_or(0, Bytes::len) + headers.sum::<usize>()
    }
}

/// A name and a value that travel beside a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The name, UTF-8.
    pub name: String,
    /// The value: any bytes.
    pub value: Bytes,
}
