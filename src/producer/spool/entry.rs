//! Sans-I/O: the format of the entries and of the identity in a spool's log.
//!
//! ```text
//! entry     u32: crc32 (IEEE) of everything after it | u8: format = 1 | u8: length and topic | batch, as on the wire
//! identity  u32: crc32 (IEEE) of everything after it | u8: format = 1 | u64: instance | name, UTF-8
//! ```
//!
//! The checksum is where a batch has its own, so that the store checks it too. Integers are little-endian.

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    TopicName,
    wire::{Batch, ProducerIdentity},
};

const FORMAT: u8 = 1;
const CHECKSUM: usize = 4;

/// The length of an entry without its topic and batch.
pub(super) const OVERHEAD: usize = CHECKSUM + 2;

/// Fills in the checksum.
fn seal(mut bytes: BytesMut) -> Bytes {
    let sum = crc32fast::hash(&bytes[CHECKSUM..]);
    bytes[..CHECKSUM].copy_from_slice(&sum.to_le_bytes());
    bytes.freeze()
}

/// Returns what follows the checksum and the format, or `None` if they are wrong.
fn open(bytes: &Bytes) -> Option<Bytes> {
    let (sum, rest) = bytes.split_first_chunk::<CHECKSUM>()?;
    let is_valid =
        u32::from_le_bytes(*sum) == crc32fast::hash(rest) && rest.first() == Some(&FORMAT);
    is_valid.then(|| bytes.slice(CHECKSUM + 1..))
}

/// Encodes an entry: a batch and its topic.
pub(super) fn encode(topic: &TopicName, batch: &[u8]) -> Bytes {
    let name = topic.as_str().as_bytes();
    let mut bytes = BytesMut::with_capacity(OVERHEAD + name.len() + batch.len());
    bytes.put_u32_le(0);
    bytes.put_u8(FORMAT);
    // The name of a topic has at most 200 bytes.
    bytes.put_u8(u8::try_from(name.len()).unwrap_or(u8::MAX));
    bytes.put_slice(name);
    bytes.put_slice(batch);
    seal(bytes)
}

/// Decodes an entry. Returns `None` if it is damaged.
pub(super) fn decode(bytes: &Bytes) -> Option<(TopicName, Batch)> {
    let rest = open(bytes)?;
    let len = usize::from(*rest.first()?);
    let name = rest.get(1..1 + len)?;
    let topic = TopicName::new(std::str::from_utf8(name).ok()?).ok()?;
    let batch = Batch::decode(rest.slice(1 + len..)).ok()?;
    Some((topic, batch))
}

/// Encodes the identity under which a spool is replayed.
pub(super) fn encode_identity(identity: &ProducerIdentity) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u32_le(0);
    bytes.put_u8(FORMAT);
    bytes.put_u64_le(identity.instance);
    bytes.put_slice(identity.name.as_bytes());
    seal(bytes)
}

/// Decodes an identity. Returns `None` if it is damaged.
pub(super) fn decode_identity(bytes: &Bytes) -> Option<ProducerIdentity> {
    let rest = open(bytes)?;
    let (instance, name) = rest.split_first_chunk::<8>()?;
    Some(ProducerIdentity {
        name: std::str::from_utf8(name).ok()?.to_owned(),
        instance: u64::from_le_bytes(*instance),
        id: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{BatchBuilder, Record};

    fn batch() -> Bytes {
        let mut builder = BatchBuilder::new(0);
        builder.push(&Record {
            payload: "hello".into(),
            ..Record::default()
        });
        builder.finish()
    }

    #[test]
    fn what_was_encoded_is_decoded() {
        let topic = TopicName::new("a.topic").unwrap();
        let (back, inside) = decode(&encode(&topic, &batch())).unwrap();
        assert_eq!(back, topic);
        assert_eq!(inside.records().next().unwrap().payload, "hello");
        let identity = ProducerIdentity {
            name: "spool-7".to_owned(),
            instance: 1 << 60,
            id: None,
        };
        let back = decode_identity(&encode_identity(&identity)).unwrap();
        assert_eq!(back, identity);
    }

    #[test]
    fn an_entry_with_a_changed_or_missing_byte_is_damaged() {
        let entry = encode(&TopicName::new("t").unwrap(), &batch());
        for at in 0..entry.len() {
            let mut changed = entry.to_vec();
            changed[at] ^= 1;
            assert!(decode(&changed.into()).is_none(), "byte {at}");
            assert!(decode(&entry.slice(..at)).is_none(), "{at} bytes");
        }
    }
}
