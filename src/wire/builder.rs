//! Pure: records in, the bytes of a batch out. The format stands in the [module's page](super).

use bytes::{BufMut, Bytes, BytesMut};

use super::{Batch, Header, Record, batch::FORMAT, varint};
use crate::Timestamp;

/// The bytes of the checksum, which covers everything behind it.
const CHECKSUM: usize = 4;

/// Encodes records into a batch, one batch after another.
///
/// Records are written where they will be sent from; a record costs no allocation. Batches that are small
/// beside the capacity are cut one after another from one allocation, which lives until the last of them is dropped.
#[derive(Debug)]
pub struct BatchBuilder {
    /// The batch so far: empty, or beginning with room for its head.
    buf: BytesMut,
    /// What one allocation should hold.
    capacity: usize,
    count: u32,
    base_time: Timestamp,
    /// Every batch has this base time, whatever its first record's.
    fixed_base: Option<Timestamp>,
}

impl BatchBuilder {
    /// A builder for batches of usually at most `capacity` bytes. A larger batch is possible and costs a copy.
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

    /// As [`BatchBuilder::new`], for batches whose times are relative to `base` and not to their first record's: so
    /// that batches can be [joined](BatchBuilder::append).
    #[must_use]
    pub fn with_base_time(capacity: usize, base: Timestamp) -> Self {
        Self {
            base_time: base,
            fixed_base: Some(base),
            ..Self::new(capacity)
        }
    }

    /// The time that the records' times are relative to; of no meaning before the first one.
    #[must_use]
    pub const fn base_time(&self) -> Timestamp {
        self.base_time
    }

    /// Appends the records that another builder holds, as they are.
    ///
    /// # Panics
    /// Where the two have different [base times](BatchBuilder::base_time), unless this one is empty.
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

    /// Appends a record whose parts are borrowed from wherever they are.
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

    /// The bytes of the batch so far; 0 where it holds no record.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buf.len()
    }

    /// How many records the batch holds so far.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Whether the batch holds no record yet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The batch, ready to be sent; no bytes where it holds no record. The builder is ready for the next one.
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
        // An unusually large batch must not leave its allocation behind.
        if batch.len().max(self.buf.capacity()) / 2 > self.capacity {
            self.buf = BytesMut::new();
        }
        batch.freeze()
    }
}

/// Returns the most bytes that a record of these parts takes in a batch, without the batch's [head](Batch::HEADER_LEN).
/// The nearer its time is to the batch's first, the fewer it takes, by up to 9.
#[inline]
#[must_use]
pub fn encoded_len(key: Option<&[u8]>, headers: &[Header], payload: &[u8]) -> usize {
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

/// A length as it is encoded.
#[inline]
fn wide(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// Varints that stand next to each other, to be copied at once.
struct Varints {
    bytes: [u8; Self::CAPACITY],
    len: usize,
}

impl Varints {
    /// The most that come together: time, key, number of headers, payload.
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
