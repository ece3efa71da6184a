//! Sans-I/O: the index of a segment: where the batches of each topic are in it.

use super::{
    fields::{Fields, checked, len32, put},
    record::BatchRecord,
};
use crate::store::catalog::TopicId;

pub(crate) const INDEX_BLOCK: usize = 4096;
pub(crate) const INDEX_ROW: usize = 32;
pub(crate) const ROWS_A_BLOCK: u32 = 127;
const MAGIC: &[u8; 8] = b"ANABIDX2";

/// A batch in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) base: u64,
    pub(crate) time: u64,
    pub(crate) count: u32,
    pub(crate) len: u32,
    /// The offset in the segment.
    pub(crate) at: u32,
    /// The number of the segment.
    pub(crate) segment: u32,
}

impl Entry {
    pub(crate) fn end(&self) -> u64 {
        self.base.saturating_add(self.count.into())
    }

    pub(crate) fn of(batch: &BatchRecord, segment: u32, at: u32) -> Self {
        Self {
            base: batch.base.0,
            time: batch.time.0,
            count: batch.count,
            len: batch.len,
            at,
            segment,
        }
    }
}

/// The batches of one topic in a segment: consecutive rows of its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) segment: u32,
    pub(crate) first_row: u32,
    pub(crate) rows: u32,
    /// The first offset.
    pub(crate) base: u64,
    /// The offset after the last one.
    pub(crate) end: u64,
    /// The size of its batches.
    pub(crate) bytes: u64,
    /// The greatest time of a batch.
    pub(crate) newest: u64,
}

impl Run {
    pub(crate) fn of(segment: u32, first_row: u32, entries: &[Entry]) -> Self {
        Self {
            segment,
            first_row,
            rows: len32(entries),
            base: entries.first().map_or(0, |entry| entry.base),
            end: entries.last().map_or(0, Entry::end),
            bytes: entries.iter().map(|entry| u64::from(entry.len)).sum(),
            newest: entries.iter().map(|entry| entry.time).max().unwrap_or(0),
        }
    }
}

/// Which segment an index belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IndexKey {
    pub(crate) log: u64,
    pub(crate) number: u32,
    pub(crate) generation: u32,
}

/// The part of an index before its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Directory {
    pub(crate) topics: Vec<(TopicId, Run)>,
    /// The offset in the file at which the rows begin.
    pub(crate) rows_at: u64,
}

const INDEX_HEADER: usize = 64;
const INDEX_TOPIC: usize = 48;

fn directory_len(topics: usize) -> usize {
    (INDEX_HEADER + topics * INDEX_TOPIC + 4).next_multiple_of(INDEX_BLOCK)
}

/// Encodes an index. `entries` are sorted by topic and offset.
pub(crate) fn encode_index(key: IndexKey, entries: &[(TopicId, Entry)]) -> (Vec<u8>, Directory) {
    let mut topics = Vec::new();
    let mut first_row = 0;
    for of_topic in entries.chunk_by(|a, b| a.0 == b.0) {
        let list: Vec<Entry> = of_topic.iter().map(|(_, entry)| *entry).collect();
        topics.push((of_topic[0].0, Run::of(key.number, first_row, &list)));
        first_row += len32(of_topic);
    }
    let mut out = MAGIC.to_vec();
    put!(
        out,
        key.log,
        key.number,
        key.generation,
        len32(entries),
        len32(&topics)
    );
    let sum = crc32fast::hash(&out);
    put!(out, sum);
    out.resize(INDEX_HEADER, 0);
    let mut list = Vec::with_capacity(topics.len() * INDEX_TOPIC);
    for (topic, run) in &topics {
        put!(
            list,
            topic.0,
            run.first_row,
            run.rows,
            0u32,
            run.base,
            run.end,
            run.bytes,
            run.newest
        );
    }
    out.extend_from_slice(&list);
    put!(out, crc32fast::hash(&list));
    let rows_at = directory_len(topics.len());
    out.resize(rows_at, 0);
    for block in entries.chunks(ROWS_A_BLOCK as usize) {
        let mut rows = Vec::with_capacity(INDEX_BLOCK);
        for (_, entry) in block {
            put!(
                rows,
                entry.base,
                entry.time,
                entry.count,
                entry.len,
                entry.at,
                0u32
            );
        }
        rows.resize(ROWS_A_BLOCK as usize * INDEX_ROW, 0);
        let sum = crc32fast::hash(&rows);
        put!(rows, sum);
        rows.resize(INDEX_BLOCK, 0);
        out.extend_from_slice(&rows);
    }
    let rows_at = rows_at as u64;
    (out, Directory { topics, rows_at })
}

/// Decodes the header of an index: the number of bytes that [`decode_directory`] needs.
pub(crate) fn decode_index_header(bytes: &[u8], key: IndexKey) -> Option<usize> {
    let mut fields = Fields(checked(bytes.get(..36)?)?);
    let is_index = fields.bytes(8)? == MAGIC;
    let found = IndexKey {
        log: fields.u64()?,
        number: fields.u32()?,
        generation: fields.u32()?,
    };
    fields.u32()?;
    let topics = usize::try_from(fields.u32()?).ok()?;
    (is_index && found == key).then(|| INDEX_HEADER + topics * INDEX_TOPIC + 4)
}

pub(crate) fn decode_directory(bytes: &[u8], number: u32) -> Option<Directory> {
    let mut fields = Fields(checked(bytes.get(INDEX_HEADER..)?)?);
    let mut topics = Vec::new();
    while !fields.is_empty() {
        let topic = TopicId(fields.u32()?);
        let (first_row, rows) = (fields.u32()?, fields.u32()?);
        fields.u32()?;
        let run = Run {
            segment: number,
            first_row,
            rows,
            base: fields.u64()?,
            end: fields.u64()?,
            bytes: fields.u64()?,
            newest: fields.u64()?,
        };
        topics.push((topic, run));
    }
    let rows_at = directory_len(topics.len()) as u64;
    Some(Directory { topics, rows_at })
}

/// Decodes a block of rows; `None` if it does not match its checksum.
pub(crate) fn decode_rows(block: &[u8], segment: u32) -> Option<Vec<Entry>> {
    let end = ROWS_A_BLOCK as usize * INDEX_ROW;
    let mut fields = Fields(checked(block.get(..end + 4)?)?);
    let mut rows = Vec::with_capacity(ROWS_A_BLOCK as usize);
    while !fields.is_empty() {
        let (base, time, count) = (fields.u64()?, fields.u64()?, fields.u32()?);
        let (len, at) = (fields.u32()?, fields.u32()?);
        fields.u32()?;
        rows.push(Entry {
            base,
            time,
            count,
            len,
            at,
            segment,
        });
    }
    Some(rows)
}
