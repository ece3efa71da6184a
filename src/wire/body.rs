//! Sans-I/O: the fields of each packet, as in the table of the [module page](super).

use bytes::{BufMut, Bytes, BytesMut};

use super::{
    Connect, Connected, DecodeError, Delivery, EncodeError, Packet, PositionInfo, Produce,
    ProducerIdentity, Refused, RegisteredProducer, ResumePoint, Start, Stored, StoredEarlier,
    Subscribe, Subscribed, TopicChange, TopicInfo, TopicRetention,
    fields::{Fields, put_failure, put_name, put_topic},
    kind::Kind,
};
use crate::{Offset, ProducerId, RequestId, Timestamp, TopicIdentity};

/// Decodes a whole body.
pub(super) fn take(kind: Kind, body: Bytes) -> Result<Packet, DecodeError> {
    let mut fields = Fields::new(body);
    let packet = take_fields(kind, &mut fields)?;
    fields.finish(kind.name())?;
    Ok(packet)
}

fn take_fields(kind: Kind, f: &mut Fields) -> Result<Packet, DecodeError> {
    Ok(match kind {
        Kind::Connect => Packet::Connect(connect(f)?),
        Kind::Ping => Packet::Ping {
            nonce: f.u64("nonce")?,
        },
        Kind::Probe => Packet::Probe {
            nonce: f.u64("nonce")?,
        },
        Kind::Produce => Packet::Produce(Produce {
            request: RequestId(f.u64("request")?),
            answered_below: RequestId(f.u64("answered_below")?),
            topic: f.topic()?,
            batch: f.rest(),
        }),
        Kind::Subscribe => Packet::Subscribe(Subscribe {
            topic: f.topic()?,
            name: f.name("reader name")?,
            from: start(f)?,
            credit: f.u64("credit")?,
            reader: f.u64("reader")?,
        }),
        Kind::Credit => Packet::Credit {
            bytes: f.u64("credit")?,
        },
        Kind::Acknowledge => Packet::Acknowledge {
            next: Offset(f.u64("next")?),
        },
        Kind::ListTopics => Packet::ListTopics {
            after: f.topic_or_none()?,
        },
        Kind::QueryStored => Packet::QueryStored {
            from: RequestId(f.u64("from")?),
        },
        Kind::ChangeTopic => Packet::ChangeTopic {
            topic: f.topic()?,
            change: change(f)?,
        },
        Kind::ListPositions => Packet::ListPositions {
            topic: f.topic()?,
            after: f.name("reader name")?,
        },

        Kind::Connected => Packet::Connected(Connected {
            producer: registered_producer(f)?,
            max_frame: f.u32("max_frame")?,
            max_message: f.u32("max_message")?,
            stream_window: f.u64("stream_window")?,
        }),
        Kind::Pong => Packet::Pong {
            nonce: f.u64("nonce")?,
        },
        Kind::Probed => Packet::Probed {
            nonce: f.u64("nonce")?,
        },
        Kind::Stored => Packet::Stored(Stored {
            request: RequestId(f.u64("request")?),
            base: Offset(f.u64("base")?),
            time: Timestamp(f.u64("time")?),
            processing_us: f.u32("processing_us")?,
        }),
        Kind::Subscribed => Packet::Subscribed(Subscribed {
            next: Offset(f.u64("next")?),
            end: Offset(f.u64("end")?),
            topic: identity(f)?,
            reader: f.u64("reader")?,
        }),
        Kind::Delivery => Packet::Delivery(Delivery {
            base: Offset(f.u64("base")?),
            time: Timestamp(f.u64("time")?),
            batch: f.rest(),
        }),
        Kind::Acknowledged => Packet::Acknowledged {
            next: Offset(f.u64("next")?),
        },
        Kind::Topics => Packet::Topics(topics(f)?),
        Kind::StoredList => Packet::StoredList(stored_list(f)?),
        Kind::TopicChanged => Packet::TopicChanged {
            dropped: f.u64("dropped")?,
        },
        Kind::Positions => Packet::Positions(positions(f)?),
        Kind::Refused => Packet::Refused(Refused {
            request: RequestId(f.u64("request")?),
            failure: f.failure()?,
        }),
        Kind::GoAway => Packet::GoAway,
        Kind::Failed => Packet::Failed(f.failure()?),
    })
}

fn connect(f: &mut Fields) -> Result<Connect, DecodeError> {
    let token_len = usize::from(f.u16("token")?);
    if token_len > Connect::MAX_TOKEN {
        return Err(DecodeError::TooLong {
            what: "token",
            value: token_len,
            limit: Connect::MAX_TOKEN,
        });
    }
    let token = f.bytes(token_len, "token")?;
    let producer = match f.name("producer name")? {
        Some(name) => Some(ProducerIdentity {
            name,
            instance: f.u64("instance")?,
            id: match f.u8("producer")? {
                0 => None,
                1 => Some(ProducerId(f.u64("producer")?)),
                other => return Err(unknown("producer", other)),
            },
        }),
        None => None,
    };
    Ok(Connect { token, producer })
}

fn unknown(what: &'static str, value: u8) -> DecodeError {
    let value = value.into();
    DecodeError::UnknownValue { what, value }
}

fn registered_producer(f: &mut Fields) -> Result<Option<RegisteredProducer>, DecodeError> {
    let forgotten = match f.u8("producer")? {
        0 => return Ok(None),
        1 => false,
        2 => true,
        other => return Err(unknown("producer", other)),
    };
    let id = ProducerId(f.u64("producer")?);
    Ok(Some(RegisteredProducer { id, forgotten }))
}

fn start(f: &mut Fields) -> Result<Start, DecodeError> {
    match f.u8("start")? {
        0 => Ok(Start::Earliest),
        1 => Ok(Start::Latest),
        2 => Ok(Start::Offset(Offset(f.u64("start")?))),
        3 => Ok(Start::Resume(ResumePoint {
            offset: Offset(f.u64("start")?),
            topic: identity(f)?,
            checksum: match f.u8("checksum")? {
                0 => None,
                1 => Some(f.u32("checksum")?),
                other => return Err(unknown("checksum", other)),
            },
        })),
        other => Err(unknown("start", other)),
    }
}

fn identity(f: &mut Fields) -> Result<TopicIdentity, DecodeError> {
    Ok(TopicIdentity {
        log: f.u64("log")?,
        number: f.u32("topic number")?,
    })
}

fn retention(f: &mut Fields) -> Result<TopicRetention, DecodeError> {
    let numbers = (f.u64("max_age")?, f.u64("max_bytes")?);
    Ok(TopicRetention::from_numbers(numbers))
}

fn change(f: &mut Fields) -> Result<TopicChange, DecodeError> {
    match f.u8("change")? {
        0 => Ok(TopicChange::Create(retention(f)?)),
        1 => Ok(TopicChange::Retain(retention(f)?)),
        2 => Ok(TopicChange::Purge),
        3 => Ok(TopicChange::Delete),
        other => Err(unknown("change", other)),
    }
}

/// Reads the length of a list, and checks it.
fn count(f: &mut Fields, what: &'static str, limit: usize) -> Result<usize, DecodeError> {
    match usize::from(f.u16(what)?) {
        value if value > limit => Err(DecodeError::TooLong { what, value, limit }),
        count => Ok(count),
    }
}

fn stored_list(f: &mut Fields) -> Result<Vec<StoredEarlier>, DecodeError> {
    let count = count(f, "requests", Packet::MAX_STORED_LIST)?;
    let stored = |_| {
        Ok(StoredEarlier {
            request: RequestId(f.u64("request")?),
            base: Offset(f.u64("base")?),
            time: Timestamp(f.u64("time")?),
        })
    };
    (0..count).map(stored).collect()
}

fn topics(f: &mut Fields) -> Result<Vec<TopicInfo>, DecodeError> {
    let count = count(f, "topics", Packet::MAX_TOPICS)?;
    let topic = |_| {
        Ok(TopicInfo {
            name: f.topic()?,
            first: Offset(f.u64("first")?),
            next: Offset(f.u64("next")?),
            bytes: f.u64("bytes")?,
            identity: identity(f)?,
            retention: retention(f)?,
        })
    };
    (0..count).map(topic).collect()
}

fn positions(f: &mut Fields) -> Result<Vec<PositionInfo>, DecodeError> {
    let count = count(f, "positions", Packet::MAX_POSITIONS)?;
    let what = "reader name";
    let position = |_| {
        Ok(PositionInfo {
            name: f.name(what)?.ok_or(DecodeError::Empty { what })?,
            next: Offset(f.u64("next")?),
        })
    };
    (0..count).map(position).collect()
}

/// Appends the body of a packet, without the batch at the end of a `Produce` or `Delivery`.
pub(super) fn put(packet: &Packet, out: &mut BytesMut) -> Result<(), EncodeError> {
    match packet {
        Packet::Connect(connect) => put_connect(out, connect)?,
        Packet::Ping { nonce }
        | Packet::Pong { nonce }
        | Packet::Probe { nonce }
        | Packet::Probed { nonce } => out.put_u64_le(*nonce),
        Packet::Produce(p) => put_produce(out, p.request, p.answered_below, &p.topic),
        Packet::Subscribe(s) => {
            put_topic(out, &s.topic);
            put_name(out, s.name.as_deref(), "reader name")?;
            put_start(out, s.from);
            out.put_u64_le(s.credit);
            out.put_u64_le(s.reader);
        }
        Packet::Credit { bytes } => out.put_u64_le(*bytes),
        Packet::Acknowledge { next } | Packet::Acknowledged { next } => out.put_u64_le(next.0),
        Packet::ListTopics { after } => match after {
            Some(topic) => put_topic(out, topic),
            None => out.put_u8(0),
        },
        Packet::QueryStored { from } => out.put_u64_le(from.0),
        Packet::ChangeTopic { topic, change } => {
            put_topic(out, topic);
            put_change(out, *change);
        }
        Packet::ListPositions { topic, after } => {
            put_topic(out, topic);
            put_name(out, after.as_deref(), "reader name")?;
        }

        Packet::Connected(connected) => put_connected(out, connected),
        Packet::Stored(s) => {
            out.put_u64_le(s.request.0);
            out.put_u64_le(s.base.0);
            out.put_u64_le(s.time.0);
            out.put_u32_le(s.processing_us);
        }
        Packet::Subscribed(s) => {
            out.put_u64_le(s.next.0);
            out.put_u64_le(s.end.0);
            put_identity(out, s.topic);
            out.put_u64_le(s.reader);
        }
        Packet::Delivery(d) => put_delivery(out, d.base, d.time),
        Packet::Topics(topics) => put_topics(out, topics)?,
        Packet::StoredList(stored) => put_stored_list(out, stored)?,
        Packet::TopicChanged { dropped } => out.put_u64_le(*dropped),
        Packet::Positions(positions) => put_positions(out, positions)?,
        Packet::Refused(refused) => {
            out.put_u64_le(refused.request.0);
            put_failure(out, &refused.failure);
        }
        Packet::GoAway => {}
        Packet::Failed(failure) => put_failure(out, failure),
    }
    Ok(())
}

/// Appends the body of a `Produce` up to its batch.
pub(super) fn put_produce(
    out: &mut BytesMut,
    request: RequestId,
    answered_below: RequestId,
    topic: &crate::TopicName,
) {
    out.put_u64_le(request.0);
    out.put_u64_le(answered_below.0);
    put_topic(out, topic);
}

/// Appends the body of a `Delivery` up to its batch.
pub(super) fn put_delivery(out: &mut BytesMut, base: Offset, time: Timestamp) {
    out.put_u64_le(base.0);
    out.put_u64_le(time.0);
}

fn put_connect(out: &mut BytesMut, connect: &Connect) -> Result<(), EncodeError> {
    let len = connect.token.len();
    let limit = Connect::MAX_TOKEN;
    let short = u16::try_from(len).ok().filter(|_| len <= limit);
    out.put_u16_le(short.ok_or(EncodeError::TooLong {
        what: "token",
        value: len,
        limit,
    })?);
    out.put_slice(&connect.token);
    put_name(
        out,
        connect.producer.as_ref().map(|p| p.name.as_str()),
        "producer name",
    )?;
    if let Some(producer) = &connect.producer {
        out.put_u64_le(producer.instance);
        match producer.id {
            Some(id) => {
                out.put_u8(1);
                out.put_u64_le(id.0);
            }
            None => out.put_u8(0),
        }
    }
    Ok(())
}

fn put_connected(out: &mut BytesMut, connected: &Connected) {
    match connected.producer {
        Some(RegisteredProducer { id, forgotten }) => {
            out.put_u8(if forgotten { 2 } else { 1 });
            out.put_u64_le(id.0);
        }
        None => out.put_u8(0),
    }
    out.put_u32_le(connected.max_frame);
    out.put_u32_le(connected.max_message);
    out.put_u64_le(connected.stream_window);
}

fn put_start(out: &mut BytesMut, start: Start) {
    match start {
        Start::Earliest => out.put_u8(0),
        Start::Latest => out.put_u8(1),
        Start::Offset(offset) => {
            out.put_u8(2);
            out.put_u64_le(offset.0);
        }
        Start::Resume(point) => {
            out.put_u8(3);
            out.put_u64_le(point.offset.0);
            put_identity(out, point.topic);
            match point.checksum {
                Some(checksum) => {
                    out.put_u8(1);
                    out.put_u32_le(checksum);
                }
                None => out.put_u8(0),
            }
        }
    }
}

fn put_identity(out: &mut BytesMut, topic: TopicIdentity) {
    out.put_u64_le(topic.log);
    out.put_u32_le(topic.number);
}

fn put_retention(out: &mut BytesMut, retention: TopicRetention) {
    let (max_age, max_bytes) = retention.to_numbers();
    out.put_u64_le(max_age);
    out.put_u64_le(max_bytes);
}

fn put_change(out: &mut BytesMut, change: TopicChange) {
    match change {
        TopicChange::Create(retention) => {
            out.put_u8(0);
            put_retention(out, retention);
        }
        TopicChange::Retain(retention) => {
            out.put_u8(1);
            put_retention(out, retention);
        }
        TopicChange::Purge => out.put_u8(2),
        TopicChange::Delete => out.put_u8(3),
    }
}

fn put_count(
    out: &mut BytesMut,
    what: &'static str,
    value: usize,
    limit: usize,
) -> Result<(), EncodeError> {
    match u16::try_from(value) {
        Ok(count) if value <= limit => {
            out.put_u16_le(count);
            Ok(())
        }
        _ => Err(EncodeError::TooLong { what, value, limit }),
    }
}

fn put_stored_list(out: &mut BytesMut, stored: &[StoredEarlier]) -> Result<(), EncodeError> {
    put_count(out, "requests", stored.len(), Packet::MAX_STORED_LIST)?;
    for one in stored {
        out.put_u64_le(one.request.0);
        out.put_u64_le(one.base.0);
        out.put_u64_le(one.time.0);
    }
    Ok(())
}

fn put_topics(out: &mut BytesMut, topics: &[TopicInfo]) -> Result<(), EncodeError> {
    put_count(out, "topics", topics.len(), Packet::MAX_TOPICS)?;
    for topic in topics {
        put_topic(out, &topic.name);
        out.put_u64_le(topic.first.0);
        out.put_u64_le(topic.next.0);
        out.put_u64_le(topic.bytes);
        put_identity(out, topic.identity);
        put_retention(out, topic.retention);
    }
    Ok(())
}

fn put_positions(out: &mut BytesMut, positions: &[PositionInfo]) -> Result<(), EncodeError> {
    put_count(out, "positions", positions.len(), Packet::MAX_POSITIONS)?;
    for position in positions {
        put_name(out, Some(&position.name), "reader name")?;
        out.put_u64_le(position.next.0);
    }
    Ok(())
}
