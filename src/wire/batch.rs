//! Sans-I/O: decodes batches. The format is on the [module page](super).

use std::{iter::FusedIterator, ops::Range};

use bytes::Bytes;

use super::{DecodeError, Header, Record, varint};
use crate::Timestamp;

/// The format number of a batch.
pub(super) const FORMAT: u8 = 1;

/// An encoded batch whose checksum, format and lengths were checked.
///
/// Cheap to clone. Its records share its memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    bytes: Bytes,
    summary: BatchSummary,
}

/// What is known of a batch after a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSummary {
    /// The number of messages, at least one.
    pub count: u32,
    /// The time that the times of the messages are relative to, usually that of the first message.
    pub base_time: Timestamp,
    /// The [content length](Record::content_len) of the largest message, in bytes.
    pub largest_message: usize,
}

impl Batch {
    /// The number of bytes before the first record.
    pub const HEADER_LEN: usize = 18;

    /// Checks `bytes` and keeps them.
    ///
    /// # Errors
    /// As [`Batch::check`].
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let summary = Self::check(&bytes)?;
        Ok(Self { bytes, summary })
    }

    /// Returns the checksum that a batch begins with, or 0 for bytes that are too short for one.
    #[must_use]
    pub fn stated_checksum(bytes: &[u8]) -> u32 {
        bytes
            .first_chunk()
            .map_or(0, |sum| u32::from_le_bytes(*sum))
    }

    /// Returns the time that a batch states for its first message, before anything of it is checked.
    #[must_use]
    pub fn stated_base_time(bytes: &[u8]) -> Timestamp {
        let time = bytes.get(10..).and_then(|rest| rest.first_chunk());
        Timestamp(time.map_or(0, |time| u64::from_le_bytes(*time)))
    }

    /// Returns the number of messages that a batch states, before anything of it is checked.
    #[must_use]
    pub fn stated_count(bytes: &[u8]) -> u32 {
        let count = bytes.get(6..).and_then(|rest| rest.first_chunk());
        count.map_or(0, |count| u32::from_le_bytes(*count))
    }

    /// Checks that `bytes` are exactly one batch.
    ///
    /// # Errors
    /// [`DecodeError`] if the checksum, the format, the count or a length is wrong.
    pub fn check(bytes: &[u8]) -> Result<BatchSummary, DecodeError> {
        let head = Head::read(bytes)?;
        let (mut at, mut largest_message) = (Self::HEADER_LEN, 0);
        for _ in 0..head.count {
            let record = Layout::read(bytes, at)?;
            largest_message = largest_message.max(record.content_len);
            at = record.payload.end;
        }
        if at != bytes.len() {
            return Err(DecodeError::Trailing {
                what: "batch",
                bytes: bytes.len() - at,
            });
        }
        Ok(BatchSummary {
            count: head.count,
            base_time: head.base_time,
            largest_message,
        })
    }

    /// Returns the number of messages, at least one.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.summary.count
    }

    /// Returns the time that the times of the messages are relative to.
    #[must_use]
    pub const fn base_time(&self) -> Timestamp {
        self.summary.base_time
    }

    /// Returns what the check found.
    #[must_use]
    pub const fn summary(&self) -> BatchSummary {
        self.summary
    }

    /// Returns the batch as its producer encoded it.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Returns the batch as its producer encoded it.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// Checks that the [content](Record::content_len) of each message has at most `max_message` bytes. Costs nothing,
    /// because decoding has measured them.
    ///
    /// # Errors
    /// [`DecodeError::TooLong`] with the length of the largest message.
    pub const fn check_messages(&self, max_message: usize) -> Result<(), DecodeError> {
        let value = self.summary.largest_message;
        if value > max_message {
            return Err(DecodeError::TooLong {
                what: "message",
                value,
                limit: max_message,
            });
        }
        Ok(())
    }

    /// Returns the messages in order. Keys, header values and payloads are slices of the batch's memory, which is freed
    /// when the last of them is dropped.
    #[must_use]
    pub fn records(&self) -> Records {
        Records {
            bytes: self.bytes.clone(),
            at: Self::HEADER_LEN,
            left: self.summary.count,
            base_time: self.summary.base_time,
        }
    }
}

impl IntoIterator for &Batch {
    type Item = Record;
    type IntoIter = Records;

    fn into_iter(self) -> Records {
        self.records()
    }
}

/// The messages of a [`Batch`].
#[derive(Debug, Clone)]
pub struct Records {
    bytes: Bytes,
    at: usize,
    left: u32,
    base_time: Timestamp,
}

impl Records {
    /// Skips the next record. The bytes were checked, so this cannot fail while records are left.
    fn step(&mut self) -> Option<Layout> {
        self.left = self.left.checked_sub(1)?;
        let layout = Layout::read(&self.bytes, self.at).ok()?;
        self.at = layout.payload.end;
        Some(layout)
    }
}

impl Iterator for Records {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        let layout = self.step()?;
        Some(Record {
            time: layout.time(self.base_time),
            headers: layout.headers(&self.bytes).ok()?,
            key: layout.key.map(|key| self.bytes.slice(key)),
            payload: self.bytes.slice(layout.payload),
        })
    }

    /// Skips `n` records without creating them, so that a consumer can begin within a batch at little cost.
    fn nth(&mut self, n: usize) -> Option<Record> {
        for _ in 0..n {
            self.step()?;
        }
        self.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Records {}
impl FusedIterator for Records {}

/// The fields before the records.
struct Head {
    count: u32,
    base_time: Timestamp,
}

impl Head {
    fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        let short = DecodeError::Short { what: "batch" };
        let (&crc, summed) = bytes
            .split_first_chunk::<4>()
            .ok_or_else(|| short.clone())?;
        let (&[format, flags], rest) = summed
            .split_first_chunk::<2>()
            .ok_or_else(|| short.clone())?;
        let (&count, rest) = rest.split_first_chunk::<4>().ok_or_else(|| short.clone())?;
        let (&base_time, _) = rest.split_first_chunk::<8>().ok_or(short)?;

        let (stated, found) = (u32::from_le_bytes(crc), crc32fast::hash(summed));
        if stated != found {
            return Err(DecodeError::Checksum { stated, found });
        }
        if format != FORMAT {
            return Err(DecodeError::UnknownValue {
                what: "batch format",
                value: format.into(),
            });
        }
        if flags != 0 {
            return Err(DecodeError::UnknownValue {
                what: "batch flags",
                value: flags.into(),
            });
        }
        let count = u32::from_le_bytes(count);
        if count == 0 {
            return Err(DecodeError::Empty { what: "batch" });
        }
        Ok(Self {
            count,
            base_time: Timestamp(u64::from_le_bytes(base_time)),
        })
    }
}

/// The ranges of the parts of one record in its batch. All of them are within the batch.
struct Layout {
    time_delta: u64,
    key: Option<Range<usize>>,
    header_count: u64,
    headers_at: usize,
    payload: Range<usize>,
    content_len: usize,
}

impl Layout {
    #[inline]
    fn read(bytes: &[u8], at: usize) -> Result<Self, DecodeError> {
        let (time_delta, at) = varint_at(bytes, at, "record time")?;
        let (key_len, mut at) = varint_at(bytes, at, "key")?;
        let key = match key_len.checked_sub(1) {
            Some(len) => {
                let key = range_at(bytes, at, len, "key")?;
                at = key.end;
                Some(key)
            }
            None => None,
        };
        let mut content_len = key.as_ref().map_or(0, ExactSizeIterator::len);
        let (header_count, headers_at) = varint_at(bytes, at, "headers")?;
        let limit = Record::MAX_HEADERS;
        let value = usize::try_from(header_count).unwrap_or(usize::MAX);
        if value > limit {
            return Err(DecodeError::TooLong {
                what: "headers",
                value,
                limit,
            });
        }
        at = headers_at;
        for _ in 0..header_count {
            let (name, value) = header_at(bytes, at)?;
            text(bytes, &name)?;
            content_len += name.len() + value.len() + Record::HEADER;
            at = value.end;
        }
        let payload = sized_at(bytes, at, "payload")?;
        content_len += payload.len();
        Ok(Self {
            time_delta,
            key,
            header_count,
            headers_at,
            payload,
            content_len,
        })
    }

    const fn time(&self, base: Timestamp) -> Timestamp {
        Timestamp(
            base.0
                .wrapping_add_signed(varint::unzigzag(self.time_delta)),
        )
    }

    fn headers(&self, bytes: &Bytes) -> Result<Vec<Header>, DecodeError> {
        let mut at = self.headers_at;
        let header = |_| {
            let (name, value) = header_at(bytes, at)?;
            at = value.end;
            Ok(Header {
                name: text(bytes, &name)?.to_owned(),
                value: bytes.slice(value),
            })
        };
        (0..self.header_count).map(header).collect()
    }
}

fn header_at(bytes: &[u8], at: usize) -> Result<(Range<usize>, Range<usize>), DecodeError> {
    let name = sized_at(bytes, at, "header name")?;
    let value = sized_at(bytes, name.end, "header value")?;
    Ok((name, value))
}

fn text<'a>(bytes: &'a [u8], at: &Range<usize>) -> Result<&'a str, DecodeError> {
    std::str::from_utf8(&bytes[at.clone()]).map_err(|_| DecodeError::NotUtf8 {
        what: "header name",
    })
}

/// Reads a length. Returns the range of the bytes after it.
#[inline]
fn sized_at(bytes: &[u8], at: usize, what: &'static str) -> Result<Range<usize>, DecodeError> {
    let (len, at) = varint_at(bytes, at, what)?;
    range_at(bytes, at, len, what)
}

#[inline]
fn range_at(
    bytes: &[u8],
    at: usize,
    len: u64,
    what: &'static str,
) -> Result<Range<usize>, DecodeError> {
    match usize::try_from(len) {
        Ok(len) if len <= bytes.len() - at => Ok(at..at + len),
        _ => Err(DecodeError::Short { what }),
    }
}

/// Reads a varint. Returns its value and the index after it, which is within `bytes`.
#[inline]
fn varint_at(bytes: &[u8], at: usize, what: &'static str) -> Result<(u64, usize), DecodeError> {
    varint::read(bytes, at).map_err(|error| match error {
        varint::VarintError::Short => DecodeError::Short { what },
        varint::VarintError::Malformed => DecodeError::Varint { what },
    })
}

#[cfg(test)]
mod tests;
