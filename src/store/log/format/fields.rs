//! Sans-I/O: integers, names and checksums, of which everything in the log consists.

use crate::{TopicName, wire::TopicRetention};

/// Reads fields from the front of a slice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (first, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(first)
    }

    pub(crate) fn topic_name(&mut self) -> Option<TopicName> {
        let len = self.u8()?.into();
        TopicName::new(std::str::from_utf8(self.bytes(len)?).ok()?).ok()
    }

    pub(crate) fn name(&mut self) -> Option<String> {
        let len = self.u16()?.into();
        Some(std::str::from_utf8(self.bytes(len)?).ok()?.to_owned())
    }

    pub(crate) fn retention(&mut self) -> Option<TopicRetention> {
        Some(TopicRetention::from_numbers((self.u64()?, self.u64()?)))
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

pub(crate) fn put_topic_name(out: &mut Vec<u8>, name: &TopicName) {
    let name = name.as_str().as_bytes();
    // The name of a topic has at most 200 bytes.
    out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(name);
}

pub(crate) fn put_name(out: &mut Vec<u8>, name: &str) {
    // Names of consumers and producers have at most 200 bytes on the wire. A longer one, from code, is cut.
    let mut len = name.len().min(usize::from(u16::MAX));
    while !name.is_char_boundary(len) {
        len -= 1;
    }
    out.extend_from_slice(&u16::try_from(len).unwrap_or(u16::MAX).to_le_bytes());
    out.extend_from_slice(&name.as_bytes()[..len]);
}

/// Appends integers, little-endian.
macro_rules! put {
    ($out:expr, $($value:expr),* $(,)?) => {
        $($out.extend_from_slice(&$value.to_le_bytes());)*
    };
}
pub(crate) use put;

pub(crate) fn crc(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

/// Whether `sealed`, which ends with a checksum, matches it; the bytes before the checksum if so.
pub(crate) fn checked(sealed: &[u8]) -> Option<&[u8]> {
    let (content, sum) = sealed.split_last_chunk()?;
    (crc32fast::hash(content) == u32::from_le_bytes(*sum)).then_some(content)
}

pub(crate) fn len32<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).unwrap_or(u32::MAX)
}

/// Whether a batch matches the checksum it begins with.
pub(crate) fn is_intact(batch: &[u8]) -> bool {
    batch
        .split_first_chunk()
        .is_some_and(|(sum, rest)| u32::from_le_bytes(*sum) == crc32fast::hash(rest))
}
