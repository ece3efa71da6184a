//! Reading the catalog back from an opened database.

use fjall::{Guard, Keyspace};

use super::{
    super::{
        Limits,
        catalog::{Catalog, Producer, TopicId, first_producer},
        dedup_window::DedupWindow,
    },
    engine::{CommitError, Durable, Engine, sentence},
    rows::{self, BatchKey, Malformed, tag},
};
use crate::{Offset, time};

/// Why the catalog could not be read.
#[derive(Debug)]
pub(super) enum LoadError {
    /// The database could not be read, or not be written.
    Failed(String),
    /// What stands there makes no sense.
    Malformed(Malformed),
}

impl LoadError {
    /// Why, in a sentence.
    pub(super) fn into_why(self) -> String {
        match self {
            Self::Failed(why) => why,
            Self::Malformed(row) => row.to_string(),
        }
    }
}

impl From<fjall::Error> for LoadError {
    fn from(error: fjall::Error) -> Self {
        Self::Failed(sentence(&error))
    }
}

impl From<Malformed> for LoadError {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl From<CommitError> for LoadError {
    fn from(error: CommitError) -> Self {
        Self::Failed(error.into_why())
    }
}

/// Entries of producers that are no more, or below their low-water mark, are deleted this many at a time.
const SWEEP: usize = 4096;

/// The catalog as the rows tell them.
pub(super) fn load(engine: &Engine, limits: &Limits) -> Result<Catalog, LoadError> {
    let mut catalog = Catalog::new(limits.clone(), first_producer(time::unix_time()));
    if let Some(numbers) = engine.rows.get(rows::meta_key())? {
        catalog.restore_producer_numbers(rows::decode_meta(&numbers)?);
    }
    each(&engine.rows, tag::TOPIC, |key, value| {
        let (name, mut topic) = rows::decode_topic(key, value)?;
        // Rows and batches are written in one piece, so this changes nothing; but an offset given twice
        // would be the worst that can happen here.
        topic.next = topic.next.max(end_of_batches(engine, topic.id)?);
        catalog.set_topic(&name, topic);
        Ok(())
    })?;
    each(&engine.rows, tag::PRODUCER, |key, value| {
        let (id, identity, low, seen) = rows::decode_producer(key, value)?;
        let window = DedupWindow::new(low);
        let producer = Producer {
            identity,
            seen,
            window,
        };
        catalog.register_producer(id, producer);
        Ok(())
    })?;
    load_windows(engine, &mut catalog)?;
    each(&engine.rows, tag::POSITION, |key, value| {
        let (topic, name, next) = rows::decode_position(key, value)?;
        catalog.set_position(topic, name, next);
        Ok(())
    })?;
    Ok(catalog)
}

fn load_windows(engine: &Engine, catalog: &mut Catalog) -> Result<(), LoadError> {
    let mut stale = Vec::new();
    each(&engine.rows, tag::DEDUPE, |key, value| {
        let (id, request, stored) = rows::decode_dedupe(key, value)?;
        let mut kept = false;
        catalog.window(id, |window| kept = window.insert(request, stored));
        if !kept {
            stale.push(key.to_vec());
        }
        if stale.len() >= SWEEP {
            sweep(engine, &mut stale)?;
        }
        Ok(())
    })?;
    sweep(engine, &mut stale)
}

fn sweep(engine: &Engine, stale: &mut Vec<Vec<u8>>) -> Result<(), LoadError> {
    if stale.is_empty() {
        return Ok(());
    }
    let mut group = engine.group(stale.len());
    for key in stale.drain(..) {
        group.delete(key);
    }
    Ok(group.commit(Durable::Later)?)
}

/// The offset behind the last batch of a topic.
fn end_of_batches(engine: &Engine, topic: TopicId) -> Result<Offset, LoadError> {
    let all = BatchKey::at(topic, Offset(0)).to_vec()
        ..=[&topic.0.to_be_bytes()[..], &[0xff; 24]].concat();
    match engine.batches.range(all).next_back().map(Guard::key) {
        Some(key) => Ok(BatchKey::decode(&key?)?.end()),
        None => Ok(Offset(0)),
    }
}

fn each(
    rows: &Keyspace,
    tag: u8,
    mut row: impl FnMut(&[u8], &[u8]) -> Result<(), LoadError>,
) -> Result<(), LoadError> {
    for found in rows.prefix([tag]) {
        let (key, value) = found.into_inner()?;
        row(&key, &value)?;
    }
    Ok(())
}
