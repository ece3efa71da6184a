//! Sans-I/O: a snapshot of the catalog, in pieces with a checksum each.

use super::fields::{Fields, crc, len32, put, put_name, put_topic_name};
use crate::{
    Offset, ProducerId, RequestId, Timestamp, TopicName,
    store::{catalog::TopicId, dedup_window::RequestContent},
    wire::TopicRetention,
};

pub(crate) const SNAPSHOT_HEADER: usize = 32;
pub(crate) const PIECE_HEADER: usize = 8;
const MAGIC: &[u8; 8] = b"ANABSNP2";

/// An item of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    NextProducer(u64),
    NextTopic(u32),
    Topic {
        id: TopicId,
        first: Offset,
        next: Offset,
        retention: TopicRetention,
        name: TopicName,
    },
    Producer {
        id: ProducerId,
        instance: u64,
        seen: Timestamp,
        low: RequestId,
        name: String,
        entries: Vec<(RequestId, Offset, Timestamp, RequestContent)>,
    },
    Position {
        topic: TopicId,
        name: String,
        next: Offset,
    },
}

impl Item {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::NextProducer(next) => {
                out.push(1);
                put!(out, next);
            }
            Self::NextTopic(next) => {
                out.push(5);
                put!(out, next);
            }
            Self::Topic {
                id,
                first,
                next,
                retention,
                name,
            } => {
                let (max_age, max_bytes) = retention.to_numbers();
                out.push(2);
                put!(out, id.0, first.0, next.0, max_age, max_bytes);
                put_topic_name(out, name);
            }
            Self::Producer {
                id,
                instance,
                seen,
                low,
                name,
                entries,
            } => {
                out.push(3);
                put!(out, id.0, instance, seen.0, low.0);
                put_name(out, name);
                put!(out, len32(entries));
                for (request, base, time, content) in entries {
                    put!(out, request.0, base.0, time.0);
                    put!(out, content.topic, content.checksum);
                }
            }
            Self::Position { topic, name, next } => {
                out.push(4);
                put!(out, topic.0, next.0);
                put_name(out, name);
            }
        }
    }

    pub(crate) fn decode(fields: &mut Fields<'_>) -> Option<Self> {
        Some(match fields.u8()? {
            1 => Self::NextProducer(fields.u64()?),
            2 => Self::Topic {
                id: TopicId(fields.u32()?),
                first: Offset(fields.u64()?),
                next: Offset(fields.u64()?),
                retention: fields.retention()?,
                name: fields.topic_name()?,
            },
            3 => {
                let (id, instance) = (ProducerId(fields.u64()?), fields.u64()?);
                let (seen, low) = (Timestamp(fields.u64()?), RequestId(fields.u64()?));
                let name = fields.name()?;
                let mut entries = Vec::new();
                for _ in 0..fields.u32()? {
                    let request = RequestId(fields.u64()?);
                    let (base, time) = (Offset(fields.u64()?), Timestamp(fields.u64()?));
                    let content = RequestContent {
                        topic: fields.u32()?,
                        checksum: fields.u32()?,
                    };
                    entries.push((request, base, time, content));
                }
                Self::Producer {
                    id,
                    instance,
                    seen,
                    low,
                    name,
                    entries,
                }
            }
            4 => {
                let (topic, next) = (TopicId(fields.u32()?), Offset(fields.u64()?));
                let name = fields.name()?;
                Self::Position { topic, name, next }
            }
            5 => Self::NextTopic(fields.u32()?),
            _ => return None,
        })
    }
}

/// Which snapshot a piece belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SnapshotKey {
    pub(crate) log: u64,
    pub(crate) start: u64,
}

impl SnapshotKey {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        put!(out, self.log, self.start);
        let sum = crc32fast::hash(&out);
        put!(out, sum, 0u32);
        out
    }

    pub(crate) fn is_header(self, bytes: &[u8]) -> bool {
        bytes == self.encode()
    }

    fn piece_crc(self, index: u64, items: &[u8]) -> u32 {
        let key = [
            self.log.to_le_bytes(),
            self.start.to_le_bytes(),
            index.to_le_bytes(),
        ];
        crc(&[&key[0], &key[1], &key[2], items])
    }

    /// Encodes a piece. One without items ends the snapshot.
    pub(crate) fn encode_piece(self, index: u64, items: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(PIECE_HEADER + items.len());
        put!(out, len32(items), self.piece_crc(index, items));
        out.extend_from_slice(items);
        out
    }

    /// Returns the length of a piece and its checksum, from its header.
    pub(crate) fn piece_header(header: [u8; PIECE_HEADER]) -> (u32, u32) {
        let [a, b, c, d, e, f, g, h] = header;
        (
            u32::from_le_bytes([a, b, c, d]),
            u32::from_le_bytes([e, f, g, h]),
        )
    }

    /// Decodes the items of a piece; `None` if they do not match the checksum.
    pub(crate) fn decode_piece(self, index: u64, sum: u32, items: &[u8]) -> Option<Vec<Item>> {
        if self.piece_crc(index, items) != sum {
            return None;
        }
        let mut fields = Fields(items);
        let mut decoded = Vec::new();
        while !fields.is_empty() {
            decoded.push(Item::decode(&mut fields)?);
        }
        Some(decoded)
    }
}
