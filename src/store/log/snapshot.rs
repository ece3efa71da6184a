//! Snapshots of the catalog, written in pieces while appends go on.

use std::io;

use super::{
    super::catalog::{Catalog, Producer, TopicId},
    disk::{Disk, write_synced},
    format::{self, Item, SnapshotEntry, SnapshotKey},
    shared::Shared,
};
use crate::{ProducerId, RequestId, TopicName};

/// Bytes of a snapshot that are encoded at a time, while the state is locked.
const PIECE: usize = 256 << 10;

impl Shared {
    pub(super) fn is_snapshot_due(&self) -> bool {
        let last = self
            .lock_manifest()
            .snapshots
            .last()
            .map_or(0, |snapshot| snapshot.len);
        self.state().unsnapshotted >= self.config.segment_bytes().max(4 * last)
    }

    /// Writes a snapshot of the catalog. Appends go on meanwhile.
    pub(super) fn snapshot(&self) -> io::Result<()> {
        let mut manifest = self.lock_manifest();
        let (start, counted) = {
            let state = self.state();
            (state.end.next, state.unsnapshotted)
        };
        if manifest
            .snapshots
            .last()
            .is_some_and(|last| last.start == start)
        {
            return Ok(());
        }
        let key = SnapshotKey {
            log: self.log,
            start,
        };
        let len = write_snapshot(&*self.disk, key, |cursor, items| {
            encode_some(&self.state().catalog, cursor, items)
        })?;
        let mut new = manifest.clone();
        new.snapshots.push(SnapshotEntry { start, len });
        let old = new.snapshots.len().saturating_sub(2);
        let old: Vec<_> = new.snapshots.drain(..old).collect();
        self.write_manifest(&mut manifest, new)?;
        {
            let mut state = self.state();
            state.unsnapshotted = state.unsnapshotted.saturating_sub(counted);
        }
        for snapshot in old {
            let name = format::snapshot_name(snapshot.start);
            let file = self.disk.open(&name)?;
            self.shrink(&*file, 0)?;
            self.disk.remove(&name)?;
        }
        Ok(())
    }
}

/// Writes a snapshot, of which `some` encodes some items from a cursor on and returns the next one. Returns its length.
pub(super) fn write_snapshot(
    disk: &dyn Disk,
    key: SnapshotKey,
    mut some: impl FnMut(Cursor, &mut Vec<u8>) -> Cursor,
) -> io::Result<u64> {
    let name = format::snapshot_name(key.start);
    let new = format!("{name}.new");
    let file = disk.create(&new)?;
    let mut at = 0;
    let mut write = |bytes: &[u8]| -> io::Result<()> {
        write_synced(&*file, bytes, at)?;
        at += bytes.len() as u64;
        Ok(())
    };
    write(&key.encode())?;
    let (mut pieces, mut cursor) = (0, Cursor::Topics(None));
    while !matches!(cursor, Cursor::End) {
        let mut items = Vec::new();
        while items.len() < PIECE && !matches!(cursor, Cursor::End) {
            cursor = some(cursor, &mut items);
        }
        if !items.is_empty() {
            write(&key.encode_piece(pieces, &items))?;
            pieces += 1;
        }
    }
    write(&key.encode_piece(pieces, &[]))?;
    disk.rename(&new, &name)?;
    disk.sync_folder()?;
    Ok(at)
}

/// Encodes some items of the catalog from `cursor` on.
pub(super) fn encode_some(catalog: &Catalog, cursor: Cursor, out: &mut Vec<u8>) -> Cursor {
    match cursor {
        Cursor::Topics(after) => {
            let mut last = None;
            for (name, topic) in catalog.topics_after(after.as_ref()) {
                let item = Item::Topic {
                    id: topic.id,
                    first: topic.first,
                    next: topic.next,
                    retention: topic.retention,
                    name: name.clone(),
                };
                item.encode(out);
                last = Some(name.clone());
                if out.len() >= PIECE {
                    break;
                }
            }
            match last {
                Some(last) if out.len() >= PIECE => Cursor::Topics(Some(last)),
                _ => {
                    Item::NextProducer(catalog.producer_numbers().1).encode(out);
                    Item::NextTopic(catalog.next_topic()).encode(out);
                    Cursor::Producers(catalog.producer_ids())
                }
            }
        }
        Cursor::Producers(mut ids) => {
            while let Some(id) = ids.pop() {
                if let Some(producer) = catalog.producer(id) {
                    producer_item(id, producer).encode(out);
                }
                if out.len() >= PIECE {
                    return Cursor::Producers(ids);
                }
            }
            Cursor::Positions(None)
        }
        Cursor::Positions(after) => {
            let mut last = None;
            for ((topic, name), next) in catalog.positions_after(after) {
                let item = Item::Position {
                    topic: *topic,
                    name: name.clone(),
                    next: *next,
                };
                item.encode(out);
                last = Some((*topic, name.clone()));
                if out.len() >= PIECE {
                    break;
                }
            }
            match last {
                Some(last) if out.len() >= PIECE => Cursor::Positions(Some(last)),
                _ => Cursor::End,
            }
        }
        Cursor::End => Cursor::End,
    }
}

/// How far a snapshot has come.
#[derive(Debug)]
pub(super) enum Cursor {
    Topics(Option<TopicName>),
    Producers(Vec<ProducerId>),
    Positions(Option<(TopicId, String)>),
    End,
}

fn producer_item(id: ProducerId, producer: &Producer) -> Item {
    let window = &producer.window;
    let entries = window.since(RequestId(0));
    Item::Producer {
        id,
        instance: producer.identity.instance,
        seen: producer.seen,
        low: window.low(),
        name: producer.identity.name.clone(),
        entries: entries
            .map(|(request, stored)| {
                let at = stored.appended;
                (request, at.base, at.time, stored.content)
            })
            .collect(),
    }
}
