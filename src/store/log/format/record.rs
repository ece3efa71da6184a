//! Sans-I/O: the records of a frame, one for each change of the log.

use super::fields::{Fields, put, put_name, put_topic_name};
use crate::{
    Offset, ProducerId, RequestId, Timestamp, TopicName, store::catalog::TopicId,
    wire::TopicRetention,
};

/// One change of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record {
    Batch(BatchRecord),
    Topic {
        id: TopicId,
        name: TopicName,
    },
    Trim {
        topic: TopicId,
        first: Offset,
    },
    Position {
        topic: TopicId,
        name: String,
        next: Offset,
    },
    Producer {
        id: ProducerId,
        instance: u64,
        seen: Timestamp,
        next_producer: u64,
        name: String,
    },
    Forget {
        id: ProducerId,
    },
    Retention {
        topic: TopicId,
        retention: TopicRetention,
    },
    Delete {
        topic: TopicId,
    },
}

/// A batch that is part of the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchRecord {
    pub(crate) topic: TopicId,
    pub(crate) base: Offset,
    pub(crate) time: Timestamp,
    pub(crate) count: u32,
    pub(crate) len: u32,
    pub(crate) producer: ProducerId,
    pub(crate) request: RequestId,
    /// The low-water mark of the producer's window after this frame.
    pub(crate) low: RequestId,
    /// The first bytes of the batch, read from there and not part of the record.
    pub(crate) checksum: u32,
}

impl Record {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Batch(batch) => {
                out.push(1);
                put!(
                    out,
                    batch.topic.0,
                    batch.base.0,
                    batch.time.0,
                    batch.count,
                    batch.len
                );
                put!(out, batch.producer.0, batch.request.0, batch.low.0);
            }
            Self::Topic { id, name } => {
                out.push(2);
                put!(out, id.0);
                put_topic_name(out, name);
            }
            Self::Trim { topic, first } => {
                out.push(3);
                put!(out, topic.0, first.0);
            }
            Self::Position { topic, name, next } => {
                out.push(4);
                put!(out, topic.0, next.0);
                put_name(out, name);
            }
            Self::Producer {
                id,
                instance,
                seen,
                next_producer,
                name,
            } => {
                out.push(5);
                put!(out, id.0, instance, seen.0, next_producer);
                put_name(out, name);
            }
            Self::Forget { id } => {
                out.push(6);
                put!(out, id.0);
            }
            Self::Retention { topic, retention } => {
                let (max_age, max_bytes) = retention.to_numbers();
                out.push(7);
                put!(out, topic.0, max_age, max_bytes);
            }
            Self::Delete { topic } => {
                out.push(8);
                put!(out, topic.0);
            }
        }
    }

    pub(crate) fn decode(fields: &mut Fields<'_>) -> Option<Self> {
        Some(match fields.u8()? {
            1 => Self::Batch(BatchRecord {
                topic: TopicId(fields.u32()?),
                base: Offset(fields.u64()?),
                time: Timestamp(fields.u64()?),
                count: fields.u32()?,
                len: fields.u32()?,
                producer: ProducerId(fields.u64()?),
                request: RequestId(fields.u64()?),
                low: RequestId(fields.u64()?),
                checksum: 0,
            }),
            2 => Self::Topic {
                id: TopicId(fields.u32()?),
                name: fields.topic_name()?,
            },
            3 => Self::Trim {
                topic: TopicId(fields.u32()?),
                first: Offset(fields.u64()?),
            },
            4 => {
                let (topic, next) = (TopicId(fields.u32()?), Offset(fields.u64()?));
                let name = fields.name()?;
                Self::Position { topic, name, next }
            }
            5 => Self::Producer {
                id: ProducerId(fields.u64()?),
                instance: fields.u64()?,
                seen: Timestamp(fields.u64()?),
                next_producer: fields.u64()?,
                name: fields.name()?,
            },
            6 => Self::Forget {
                id: ProducerId(fields.u64()?),
            },
            7 => Self::Retention {
                topic: TopicId(fields.u32()?),
                retention: fields.retention()?,
            },
            8 => Self::Delete {
                topic: TopicId(fields.u32()?),
            },
            _ => return None,
        })
    }
}
