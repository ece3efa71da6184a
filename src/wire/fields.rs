//! Sans-I/O: the fields of packets.
//!
//! Integers have a fixed width, lowest byte first. A text is a length and then its bytes. A name that is present has at
//! least one byte, so a length of 0 means that it is absent.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{DecodeError, EncodeError, Failure, FailureCode};
use crate::TopicName;

/// The longest name of a producer or consumer, in bytes.
pub(super) const MAX_NAME: usize = 200;

/// Reads the fields of a frame's body, one after another.
#[derive(Debug)]
pub(super) struct Fields(Bytes);

impl Fields {
    pub(super) const fn new(body: Bytes) -> Self {
        Self(body)
    }

    pub(super) fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        self.0.try_get_u8().map_err(|_| DecodeError::Short { what })
    }

    pub(super) fn u16(&mut self, what: &'static str) -> Result<u16, DecodeError> {
        self.0
            .try_get_u16_le()
            .map_err(|_| DecodeError::Short { what })
    }

    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        self.0
            .try_get_u32_le()
            .map_err(|_| DecodeError::Short { what })
    }

    pub(super) fn u64(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        self.0
            .try_get_u64_le()
            .map_err(|_| DecodeError::Short { what })
    }

    /// Reads the next `len` bytes. They share the frame's memory.
    pub(super) fn bytes(&mut self, len: usize, what: &'static str) -> Result<Bytes, DecodeError> {
        if len > self.0.len() {
            return Err(DecodeError::Short { what });
        }
        Ok(self.0.split_to(len))
    }

    fn text<T>(
        &mut self,
        len: usize,
        what: &'static str,
        make: impl FnOnce(&str) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        let bytes = self.bytes(len, what)?;
        make(std::str::from_utf8(&bytes).map_err(|_| DecodeError::NotUtf8 { what })?)
    }

    /// Reads the name of a producer or consumer, or none.
    pub(super) fn name(&mut self, what: &'static str) -> Result<Option<String>, DecodeError> {
        let len = usize::from(self.u8(what)?);
        if len > MAX_NAME {
            return Err(DecodeError::TooLong {
                what,
                value: len,
                limit: MAX_NAME,
            });
        }
        if len == 0 {
            return Ok(None);
        }
        self.text(len, what, |name| Ok(Some(name.to_owned())))
    }

    pub(super) fn topic(&mut self) -> Result<TopicName, DecodeError> {
        let len = usize::from(self.u8("topic")?);
        self.text(len, "topic", |name| Ok(TopicName::new(name)?))
    }

    pub(super) fn topic_or_none(&mut self) -> Result<Option<TopicName>, DecodeError> {
        if self.0.first() == Some(&0) {
            self.0.advance(1);
            return Ok(None);
        }
        self.topic().map(Some)
    }

    pub(super) fn failure(&mut self) -> Result<Failure, DecodeError> {
        let code = self.u16("failure code")?;
        let len = usize::from(self.u16("failure detail")?);
        if len > Failure::MAX_DETAIL {
            let limit = Failure::MAX_DETAIL;
            return Err(DecodeError::TooLong {
                what: "failure detail",
                value: len,
                limit,
            });
        }
        self.text(len, "failure detail", |detail| {
            let code = FailureCode::from_u16(code).unwrap_or(FailureCode::Unrecognised(code));
            Ok(Failure {
                code,
                detail: detail.to_owned(),
            })
        })
    }

    /// Reads all that is left. It shares the frame's memory.
    pub(super) fn rest(&mut self) -> Bytes {
        std::mem::take(&mut self.0)
    }

    pub(super) fn finish(&self, what: &'static str) -> Result<(), DecodeError> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err(DecodeError::Trailing {
            what,
            bytes: self.0.len(),
        })
    }
}

pub(super) fn put_topic(out: &mut BytesMut, topic: &TopicName) {
    let len = u8::try_from(topic.as_str().len()).expect("a topic name has at most 200 bytes");
    out.put_u8(len);
    out.put_slice(topic.as_str().as_bytes());
}

pub(super) fn put_name(
    out: &mut BytesMut,
    name: Option<&str>,
    what: &'static str,
) -> Result<(), EncodeError> {
    let Some(name) = name else {
        out.put_u8(0);
        return Ok(());
    };
    if name.is_empty() {
        return Err(EncodeError::Empty { what });
    }
    let too_long = EncodeError::TooLong {
        what,
        value: name.len(),
        limit: MAX_NAME,
    };
    let len = u8::try_from(name.len()).map_err(|_| too_long)?;
    if usize::from(len) > MAX_NAME {
        return Err(too_long);
    }
    out.put_u8(len);
    out.put_slice(name.as_bytes());
    Ok(())
}

/// Appends a failure. A detail that is too long is cut, so that every failure can be encoded.
pub(super) fn put_failure(out: &mut BytesMut, failure: &Failure) {
    let detail = &failure.detail[..failure.detail.floor_char_boundary(Failure::MAX_DETAIL)];
    out.put_u16_le(failure.code.to_u16());
    out.put_u16_le(u16::try_from(detail.len()).expect("cut to 1000 bytes"));
    out.put_slice(detail.as_bytes());
}
