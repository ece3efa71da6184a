//! The segments and indexes that are open for reading: a bounded number, the least recently used is closed first.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    disk::{Disk, DiskFile},
    format::{self, Entry, INDEX_BLOCK, ROWS_A_BLOCK},
};

/// Names a file that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Name {
    Segment(u32, u32),
    Index(u32, u32),
}

/// Files open for reading.
#[derive(Debug)]
pub(super) struct OpenFiles {
    disk: Arc<dyn Disk>,
    most: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    files: HashMap<Name, (Arc<dyn DiskFile>, u64)>,
    uses: u64,
}

impl OpenFiles {
    pub(super) fn new(disk: Arc<dyn Disk>, most: usize) -> Self {
        Self {
            disk,
            most: most.max(4),
            open: Mutex::default(),
        }
    }

    /// Returns a file, opening it if it is not open.
    pub(super) fn get(&self, name: Name) -> io::Result<Arc<dyn DiskFile>> {
        {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.uses += 1;
            let now = open.uses;
            if let Some((file, used)) = open.files.get_mut(&name) {
                *used = now;
                return Ok(Arc::clone(file));
            }
        }
        let file = self.disk.open(&match name {
            Name::Segment(number, generation) => format::segment_name(number, generation),
            Name::Index(number, generation) => format::index_name(number, generation),
        })?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.files.len() >= self.most {
            let oldest = open.files.iter().min_by_key(|(_, (_, used))| *used);
            if let Some(oldest) = oldest.map(|(name, _)| *name) {
                open.files.remove(&oldest);
            }
        }
        let now = open.uses;
        open.files.insert(name, (Arc::clone(&file), now));
        Ok(file)
    }

    /// Closes a file. Whoever is reading from it reads on.
    pub(super) fn close(&self, name: Name) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.files.remove(&name);
    }

    /// Closes all files.
    pub(super) fn close_all(&self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.files.clear();
    }
}

/// Reads the block of an index that holds `row`, and returns it with the number of its first row. `None` if it does not match
/// its checksum.
pub(super) fn read_block(
    index: &dyn DiskFile,
    (segment, rows_at): (u32, u64),
    row: u32,
) -> io::Result<Option<(u32, Vec<Entry>)>> {
    let block = row / ROWS_A_BLOCK;
    let mut bytes = vec![0; INDEX_BLOCK];
    index.read_at(&mut bytes, rows_at + u64::from(block) * INDEX_BLOCK as u64)?;
    let rows = format::decode_rows(&bytes, segment);
    Ok(rows.map(|rows| (block * ROWS_A_BLOCK, rows)))
}
