//! Sans-I/O: the content of one message.

use bytes::Bytes;

use crate::Timestamp;

/// The content of a message, without its topic and offset.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// When the event happened, by the producer's clock.
    pub time: Timestamp,
    /// Messages with the same key keep the order in which they were sent.
    pub key: Option<Bytes>,
    /// Names and values beside the payload. The library does not interpret them.
    pub headers: Vec<Header>,
    /// The payload: any bytes.
    pub payload: Bytes,
}

impl Record {
    /// The most headers of a message.
    pub const MAX_HEADERS: usize = 1000;
    /// The bytes that each header takes beside its name and value, at least.
    pub(crate) const HEADER: usize = 2;

    /// Returns the bytes of key, headers and payload together. Each header counts two bytes more than its name and value,
    /// which is the least that it takes beside them.
    #[inline]
    #[must_use]
    pub fn content_len(&self) -> usize {
        let headers = self
            .headers
            .iter()
            .map(|h| h.name.len() + h.value.len() + Self::HEADER);
        self.payload.len() + self.key.as_ref().map_or(0, Bytes::len) + headers.sum::<usize>()
    }
}

/// A name and a value beside the payload of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The name of the header.
    pub name: String,
    /// The value of the header: any bytes.
    pub value: Bytes,
}
