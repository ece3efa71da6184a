//! Sans-I/O: encodes batches. The format is on the [module page](super).

use bytes::{BufMut, Bytes, BytesMut};

use super::{Batch, Header, Record, batch::FORMAT, varint};
use crate::Timestamp;

/// The bytes of the checksum, which covers everything after it.
const CHECKSUM: usize = 4;

/// Encodes records into a batch, one batch after another.
///
/// Records are written where they are sent from, so a record needs no allocation. Several small batches are cut from one
/// allocation, which is freed when the last of them is dropped.
#[derive(Debug)]
pub struct BatchBuilder {
    /// The batch so far. Empty, or begins with space for the head.
    buf: BytesMut,
    /// The bytes of one allocation.
    capacity: usize,
    count: u32,
    base_time: Timestamp,
    /// The base time of every batch, if it does not follow from the first record.
    fixed_base: Option<Timestamp>,
}

impl BatchBuilder {
    /// Creates a builder for batches of usually at most `capacity` bytes. A larger batch is possible and costs a copy.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            buf: BytesMut::new(),
            capacity: capacity.max(Batch::HEADER_LEN),
            count: 0,
            base_time: Timestamp(0),
            fixed_base: None,
        }
    }

    /// Creates a builder whose batches have the base time `base`. Batches of one base time can be
    /// [joined](BatchBuilder::append).
    #[must_use]
    pub fn with_base_time(capacity: usize, base: Timestamp) -> Self {
        Self {
            base_time: base,
            fixed_base: Some(base),
            ..Self::new(capacity)
        }
    }

    /// Returns the time that the times of the records are relative to. Not meaningful before the first record.
    #[must_use]
    pub const fn base_time(&self) -> Timestamp {
        self.base_time
    }

    /// Appends the encoded records of another builder.
    ///
    /// # Panics
    /// If the two have different [base times](BatchBuilder::base_time), unless this one is empty.
    pub fn append(&mut self, other: &Self) {
        let Some(records) = other.buf.get(Batch::HEADER_LEN..) else {
            return;
        };
        if self.count == 0 {
            self.base_time = other.base_time;
            self.make_room(other.buf.len());
            self.buf.put_slice(&[0; Batch::HEADER_LEN]);
        } else {
            assert_eq!(self.base_time, other.base_time, "times would move");
            self.make_room(records.len());
        }
        self.buf.put_slice(records);
        self.count = self.count.saturating_add(other.count);
    }

    /// Appends a record.
    #[inline]
    pub fn push(&mut self, record: &Record) {
        self.push_parts(
            record.time,
            record.key.as_deref(),
            &record.headers,
            &record.payload,
        );
    }

    /// Appends a record, given as its parts.
    #[inline]
    pub fn push_parts(
        &mut self,
        time: Timestamp,
        key: Option<&[u8]>,
        headers: &[Header],
        payload: &[u8],
    ) {
        if self.count == 0 {
            self.base_time = self.fixed_base.unwrap_or(time);
            self.make_room(Batch::HEADER_LEN + encoded_len(key, headers, payload));
            self.buf.put_slice(&[0; Batch::HEADER_LEN]);
        } else {
            self.make_room(encoded_len(key, headers, payload));
        }
        self.count = self.count.saturating_add(1);

        let mut short = Varints::new();
        let delta = time.0.wrapping_sub(self.base_time.0).cast_signed();
        short.put(varint::zigzag(delta));
        match key {
            Some(key) => {
                short.put(wide(key.len()).saturating_add(1));
                short.flush(&mut self.buf);
                self.buf.put_slice(key);
            }
            None => short.put(0),
        }
        short.put(wide(headers.len()));
        for header in headers {
            short.put(wide(header.name.len()));
            short.flush(&mut self.buf);
            self.buf.put_slice(header.name.as_bytes());
            short.put(wide(header.value.len()));
            short.flush(&mut self.buf);
            self.buf.put_slice(&header.value);
        }
        short.put(wide(payload.len()));
        short.flush(&mut self.buf);
        self.buf.put_slice(payload);
    }

    #[inline]
    fn make_room(&mut self, room: usize) {
        if self.buf.capacity() - self.buf.len() < room {
            self.buf.reserve(room.max(self.capacity));
        }
    }

    /// Returns the bytes of the batch so far, or 0 if it has no record.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buf.len()
    }

    /// Returns the number of records so far.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Returns whether the batch has no record yet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Finishes the batch and begins the next one. Returns no bytes if the batch has no record.
    pub fn finish(&mut self) -> Bytes {
        if self.count == 0 {
            return Bytes::new();
        }
        let mut batch = self.buf.split();
        batch[CHECKSUM] = FORMAT;
        batch[6..10].copy_from_slice(&self.count.to_le_bytes());
        batch[10..18].copy_from_slice(&self.base_time.0.to_le_bytes());
        let checksum = crc32fast::hash(&batch[CHECKSUM..]);
        batch[..CHECKSUM].copy_from_slice(&checksum.to_le_bytes());

        self.count = 0;
        // Do not keep the allocation of an unusually large batch.
        if batch.len().max(self.buf.capacity()) / 2 > self.capacity {
            self.buf = BytesMut::new();
        }
        batch.freeze()
    }
}

/// Returns the most bytes that a record of these parts takes in a batch, without the batch's [head](Batch::HEADER_LEN).
/// It takes up to 9 bytes less if its time is close to the base time.
#[inline]
#[must_use]
pub(crate) fn encoded_len(key: Option<&[u8]>, headers: &[Header], payload: &[u8]) -> usize {
    let key = key.map_or(1, |key| {
        varint::len(wide(key.len()).saturating_add(1)) + key.len()
    });
    let headers_len = headers
        .iter()
        .map(|h| sized_len(h.name.len()) + sized_len(h.value.len()));
    varint::MAX_LEN
        + key
        + varint::len(wide(headers.len()))
        + headers_len.sum::<usize>()
        + sized_len(payload.len())
}

#[inline]
fn sized_len(len: usize) -> usize {
    varint::len(wide(len)) + len
}

/// Converts a length to the type that is encoded.
#[inline]
fn wide(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// Adjacent varints, which are copied at once.
struct Varints {
    bytes: [u8; Self::CAPACITY],
    len: usize,
}

impl Varints {
    /// The most adjacent varints: time, key, number of headers, payload.
    const CAPACITY: usize = 4 * varint::MAX_LEN;

    #[inline]
    const fn new() -> Self {
        Self {
            bytes: [0; Self::CAPACITY],
            len: 0,
        }
    }

    #[inline]
    fn put(&mut self, value: u64) {
        self.len += varint::write(&mut self.bytes[self.len..], value);
    }

    #[inline]
    fn flush(&mut self, out: &mut BytesMut) {
        out.put_slice(&self.bytes[..self.len]);
        self.len = 0;
    }
}

#[cfg(test)]
mod tests;
