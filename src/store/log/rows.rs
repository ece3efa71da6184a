//! Pure: the rows of the log store, and their bytes.
//!
//! Two keyspaces. In `batches` the key says everything about a batch but its content, so that trimming and
//! finding one's place read keys alone, and the value is the batch as it came. In `rows` stands what the
//! [catalog](super::super::catalog) hold. Numbers are big-endian, so that keys sort as what they mean.
//!
//! ```text
//! batches   topic u32 │ base u64 │ time u64 │ count u32 │ length u32      -> the encoded batch
//! rows  M                                                                 -> next producer id u64 │ first u64
//!       ~                                                                 -> nothing
//!       T │ topic u32                                 -> first u64 │ next u64 │ bytes u64 │ name
//!       P │ producer u64                              -> instance u64 │ low u64 │ seen u64 │ name
//!       D │ producer u64 │ request u64                -> base u64 │ time u64
//!       O │ topic u32 │ name                          -> offset u64
//! ```

use super::super::{
    Appended,
    catalog::{Topic, TopicId},
};
use crate::{Offset, ProducerId, RequestId, Timestamp, TopicName, wire::ProducerIdentity};

/// The tags that begin the keys in `rows`.
pub(super) mod tag {
    pub(in super::super) const META: u8 = b'M';
    pub(in super::super) const MARK: u8 = b'~';
    pub(in super::super) const TOPIC: u8 = b'T';
    pub(in super::super) const PRODUCER: u8 = b'P';
    pub(in super::super) const DEDUPE: u8 = b'D';
    pub(in super::super) const POSITION: u8 = b'O';
}

/// A row that is not what its place says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a row of {0} is not well formed")]
pub(super) struct Malformed(pub(super) &'static str);

/// What the key of a batch says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BatchKey {
    pub(super) topic: TopicId,
    pub(super) base: Offset,
    pub(super) time: Timestamp,
    pub(super) count: u32,
    pub(super) len: u32,
}

impl BatchKey {
    /// Its bytes.
    pub(super) fn encode(self) -> [u8; 28] {
        let mut key = [0; 28];
        key[..12].copy_from_slice(&Self::at(self.topic, self.base));
        key[12..20].copy_from_slice(&self.time.0.to_be_bytes());
        key[20..24].copy_from_slice(&self.count.to_be_bytes());
        key[24..].copy_from_slice(&self.len.to_be_bytes());
        key
    }

    pub(super) fn decode(key: &[u8]) -> Result<Self, Malformed> {
        let mut key = Fields(key, "batches");
        let decoded = Self {
            topic: TopicId(key.u32()?),
            base: Offset(key.u64()?),
            time: Timestamp(key.u64()?),
            count: key.u32()?,
            len: key.u32()?,
        };
        key.end()?;
        Ok(decoded)
    }

    /// What sorts before every batch at `base` and behind every one before it.
    pub(super) fn at(topic: TopicId, base: Offset) -> [u8; 12] {
        let mut key = [0; 12];
        key[..4].copy_from_slice(&topic.0.to_be_bytes());
        key[4..].copy_from_slice(&base.0.to_be_bytes());
        key
    }

    /// The offset behind the batch's last message.
    pub(super) fn end(&self) -> Offset {
        Offset(self.base.0.saturating_add(u64::from(self.count)))
    }
}

/// A key and what it leads to, for `rows`.
pub(super) type Row = (Vec<u8>, Vec<u8>);

pub(super) fn meta_key() -> Vec<u8> {
    vec![tag::META]
}

pub(super) fn meta_row(first_producer: u64, next_producer: u64) -> Row {
    let value = join(&[&next_producer.to_be_bytes(), &first_producer.to_be_bytes()]);
    (meta_key(), value)
}

/// The first producer id of this folder, and the next.
pub(super) fn decode_meta(value: &[u8]) -> Result<(u64, u64), Malformed> {
    let mut value = Fields(value, "ids");
    let next = value.u64()?;
    let first = value.u64()?;
    value.end()?;
    Ok((first, next))
}

/// A row that says nothing: written where the database needs a write to move on.
pub(super) fn mark_row() -> Row {
    (vec![tag::MARK], Vec::new())
}

pub(super) fn topic_row(name: &TopicName, topic: &Topic) -> Row {
    let key = join(&[&[tag::TOPIC], &topic.id.0.to_be_bytes()]);
    let value = join(&[
        &topic.first.0.to_be_bytes(),
        &topic.next.0.to_be_bytes(),
        &topic.bytes.to_be_bytes(),
        name.as_str().as_bytes(),
    ]);
    (key, value)
}

pub(super) fn decode_topic(key: &[u8], value: &[u8]) -> Result<(TopicName, Topic), Malformed> {
    let (mut key, mut value) = (Fields(key, "topics"), Fields(value, "topics"));
    key.tag(tag::TOPIC)?;
    let topic = Topic {
        id: TopicId(key.u32()?),
        first: Offset(value.u64()?),
        next: Offset(value.u64()?),
        bytes: value.u64()?,
    };
    key.end()?;
    let name = TopicName::new(value.text()?).map_err(|_| Malformed("topics"))?;
    Ok((name, topic))
}

pub(super) fn producer_key(id: ProducerId) -> Vec<u8> {
    join(&[&[tag::PRODUCER], &id.0.to_be_bytes()])
}

pub(super) fn producer_row(
    id: ProducerId,
    identity: &ProducerIdentity,
    low: RequestId,
    seen: Timestamp,
) -> Row {
    let value = join(&[
        &identity.instance.to_be_bytes(),
        &low.0.to_be_bytes(),
        &seen.0.to_be_bytes(),
        identity.name.as_bytes(),
    ]);
    (producer_key(id), value)
}

/// A producer as it stands in its row: who, low-water mark, last heard of.
pub(super) type ProducerRow = (ProducerId, ProducerIdentity, RequestId, Timestamp);

pub(super) fn decode_producer(key: &[u8], value: &[u8]) -> Result<ProducerRow, Malformed> {
    let (mut key, mut value) = (Fields(key, "producers"), Fields(value, "producers"));
    key.tag(tag::PRODUCER)?;
    let id = ProducerId(key.u64()?);
    key.end()?;
    let instance = value.u64()?;
    let (low, seen) = (RequestId(value.u64()?), Timestamp(value.u64()?));
    let name = value.text()?.to_owned();
    let identity = ProducerIdentity {
        name,
        instance,
        id: Some(id),
    };
    Ok((id, identity, low, seen))
}

pub(super) fn dedupe_key(id: ProducerId, request: RequestId) -> Vec<u8> {
    join(&[
        &[tag::DEDUPE],
        &id.0.to_be_bytes(),
        &request.0.to_be_bytes(),
    ])
}

pub(super) fn dedupe_row(id: ProducerId, request: RequestId, stored: &Appended) -> Row {
    let value = join(&[&stored.base.0.to_be_bytes(), &stored.time.0.to_be_bytes()]);
    (dedupe_key(id, request), value)
}

pub(super) fn decode_dedupe(
    key: &[u8],
    value: &[u8],
) -> Result<(ProducerId, RequestId, Appended), Malformed> {
    let (mut key, mut value) = (Fields(key, "requests"), Fields(value, "requests"));
    key.tag(tag::DEDUPE)?;
    let (id, request) = (ProducerId(key.u64()?), RequestId(key.u64()?));
    key.end()?;
    let stored = Appended {
        base: Offset(value.u64()?),
        time: Timestamp(value.u64()?),
        repeat: true,
    };
    value.end()?;
    Ok((id, request, stored))
}

pub(super) fn position_row(topic: TopicId, name: &str, next: Offset) -> Row {
    let key = join(&[&[tag::POSITION], &topic.0.to_be_bytes(), name.as_bytes()]);
    (key, next.0.to_be_bytes().to_vec())
}

pub(super) fn decode_position(
    key: &[u8],
    value: &[u8],
) -> Result<(TopicId, String, Offset), Malformed> {
    let (mut key, mut value) = (Fields(key, "positions"), Fields(value, "positions"));
    key.tag(tag::POSITION)?;
    let topic = TopicId(key.u32()?);
    let name = key.text()?.to_owned();
    let next = Offset(value.u64()?);
    value.end()?;
    Ok((topic, name, next))
}

fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// What is left of a key or value, and what it belongs to.
struct Fields<'a>(&'a [u8], &'static str);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.0.split_first_chunk().ok_or(Malformed(self.1))?;
        self.0 = rest;
        Ok(*head)
    }

    fn tag(&mut self, tag: u8) -> Result<(), Malformed> {
        match self.take()? {
            [found] if found == tag => Ok(()),
            _ => Err(Malformed(self.1)),
        }
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.take().map(u64::from_be_bytes)
    }

    /// The rest, as text.
    fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(std::mem::take(&mut self.0)).map_err(|_| Malformed(self.1))
    }

    fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Malformed(self.1))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(topic: u32, base: u64, rest: u64) -> BatchKey {
        BatchKey {
            topic: TopicId(topic),
            base: Offset(base),
            time: Timestamp(rest),
            count: 1,
            len: 9,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_row_reads_back_as_what_was_written(
            a: u64, b: u64, c: u64, d: u64, topic: u32, len: u32, name in "[a-z0-9._]{1,200}", any in ".{0,60}",
        ) {
            let batch = BatchKey { len, ..key(topic, a, b) };
            prop_assert_eq!(BatchKey::decode(&batch.encode()), Ok(batch));

            prop_assert_eq!(decode_meta(&meta_row(a, b).1), Ok((a, b)));

            prop_assume!(!name.starts_with('.'));
            let name = TopicName::new(&name).unwrap();
            let row = Topic { id: TopicId(topic), first: Offset(a), next: Offset(b), bytes: c };
            let (k, v) = topic_row(&name, &row);
            prop_assert_eq!(decode_topic(&k, &v), Ok((name, row)));

            let identity = ProducerIdentity { name: any.clone(), instance: d, id: Some(ProducerId(a)) };
            let (k, v) = producer_row(ProducerId(a), &identity, RequestId(b), Timestamp(c));
            let producer = (ProducerId(a), identity, RequestId(b), Timestamp(c));
            prop_assert_eq!(decode_producer(&k, &v), Ok(producer));

            let stored = Appended { base: Offset(c), time: Timestamp(d), repeat: true };
            let (k, v) = dedupe_row(ProducerId(a), RequestId(b), &stored);
            prop_assert_eq!(decode_dedupe(&k, &v), Ok((ProducerId(a), RequestId(b), stored)));

            let (k, v) = position_row(TopicId(topic), &any, Offset(a));
            prop_assert_eq!(decode_position(&k, &v), Ok((TopicId(topic), any, Offset(a))));
        }

        #[test]
        fn keys_of_batches_sort_by_topic_and_offset(
            a in (0..3u32, 0..600u64, any::<u64>()), b in (0..3u32, 0..600u64, any::<u64>()),
        ) {
            let by_key = key(a.0, a.1, a.2).encode().cmp(&key(b.0, b.1, b.2).encode());
            if (a.0, a.1) != (b.0, b.1) {
                prop_assert_eq!(by_key, (a.0, a.1).cmp(&(b.0, b.1)));
            }
            let bound = BatchKey::at(TopicId(b.0), Offset(b.1));
            prop_assert_eq!(key(a.0, a.1, a.2).encode()[..] >= bound[..], (a.0, a.1) >= (b.0, b.1));
        }

        #[test]
        fn any_bytes_are_a_row_or_malformed(key: Vec<u8>, value: Vec<u8>) {
            let _ = BatchKey::decode(&key);
            let _ = (decode_meta(&value), decode_topic(&key, &value), decode_producer(&key, &value));
            let _ = (decode_dedupe(&key, &value), decode_position(&key, &value));
        }
    }
}
