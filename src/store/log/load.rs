//! Reading the files of a log, each by itself, and whether each is what was written. Only reads.

use std::{io, sync::Arc};

use super::{
    disk::{Disk, DiskFile, read_all},
    format::{
        self, Directory, EndMark, IndexKey, Item, Manifest, PIECE_HEADER, SEGMENT_HEADER,
        SNAPSHOT_HEADER, Seal, SegmentEntry, SegmentHeader, SnapshotEntry, SnapshotKey,
    },
};

/// Why a folder cannot be opened.
#[derive(Debug)]
pub(super) enum Problem {
    Io(io::Error),
    /// A place, what is wrong there, and the messages concerned.
    Damaged(String),
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

pub(super) fn damaged<T>(why: impl Into<String>) -> Result<T, Problem> {
    Err(Problem::Damaged(why.into()))
}

pub(super) fn messages(count: u64) -> String {
    match count {
        1 => "1 message".to_owned(),
        count => format!("{count} messages"),
    }
}

fn described(seal: &Seal) -> String {
    let frames = match seal.next.saturating_sub(seal.first) {
        1 => format!("frame {}", seal.first),
        _ => format!("frames {} to {}", seal.first, seal.next.saturating_sub(1)),
    };
    format!("{frames} with {}", messages(seal.messages))
}

/// Reads the manifest; `None` if the folder has no log yet.
pub(super) fn manifest(disk: &dyn Disk, names: &[String]) -> Result<Option<Manifest>, Problem> {
    if !names.iter().any(|name| name == "manifest") {
        return Ok(None);
    }
    let bytes = read_all(&*disk.open("manifest")?)?;
    match Manifest::decode(&bytes) {
        Some(manifest) => Ok(Some(manifest)),
        None => damaged(
            "its manifest does not match its checksum; without it there is no telling which segments and how many messages \
             belong to the log",
        ),
    }
}

/// Whether the folder is one whose creation was cut short: no frame was ever written.
pub(super) fn is_unfinished(disk: &dyn Disk, names: &[String]) -> Result<bool, Problem> {
    for name in names {
        if format::parse_snapshot_name(name).is_some() {
            return Ok(false);
        }
        if format::parse_name(name, "seg").is_some() {
            let file = disk.open(name)?;
            let len = file.len()?.saturating_sub(SEGMENT_HEADER as u64);
            let mut start = vec![0; usize::try_from(len.min(4096)).unwrap_or(0)];
            file.read_at(&mut start, SEGMENT_HEADER as u64)?;
            if !format::is_zero(&start) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Reads the header of a segment and checks that it is the one that `entry` means.
pub(super) fn header(
    disk: &dyn Disk,
    log: u64,
    entry: &SegmentEntry,
) -> Result<(Arc<dyn DiskFile>, SegmentHeader, u64), Problem> {
    let number = entry.number;
    let holds = match &entry.sealed {
        Some(seal) => described(seal),
        None => "frames that were written last, with an unknown number of messages".to_owned(),
    };
    let file = match disk.open(&format::segment_name(number, entry.generation)) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return damaged(format!("segment {number} is missing: {holds}"));
        }
        Err(e) => return Err(e.into()),
    };
    let len = file.len()?;
    let end = entry
        .sealed
        .map_or(entry.len, |seal| seal.end)
        .max(SEGMENT_HEADER as u64);
    if len < end {
        return damaged(format!(
            "segment {number} has {len} bytes and should have at least {end}: {holds}"
        ));
    }
    let mut bytes = [0; SEGMENT_HEADER];
    file.read_at(&mut bytes, 0)?;
    let Some(header) = SegmentHeader::decode(&bytes) else {
        return damaged(format!(
            "the header of segment {number} does not match its checksum: {holds}"
        ));
    };
    if header.log != log {
        return damaged(format!("segment {number} is of another log: {holds}"));
    }
    if (header.number, header.generation) != (number, entry.generation) {
        let found = header.number;
        return damaged(format!(
            "segment {found} is in the place of segment {number}: {holds}"
        ));
    }
    Ok((file, header, len))
}

/// Reads the directory of an index; `None` if it is missing or does not match its checksum.
pub(super) fn directory(disk: &dyn Disk, key: IndexKey) -> io::Result<Option<Directory>> {
    let file = match disk.open(&format::index_name(key.number, key.generation)) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let len = file.len()?;
    if len < SEGMENT_HEADER as u64 {
        return Ok(None);
    }
    let mut head = vec![0; SEGMENT_HEADER];
    file.read_at(&mut head, 0)?;
    let Some(need) = format::decode_index_header(&head, key) else {
        return Ok(None);
    };
    if len < need as u64 {
        return Ok(None);
    }
    let mut bytes = vec![0; need];
    file.read_at(&mut bytes, 0)?;
    let Some(directory) = format::decode_directory(&bytes, key.number) else {
        return Ok(None);
    };
    // Every row is checked when it is read; here, that they are there.
    let rows: u64 = directory
        .topics
        .iter()
        .map(|(_, run)| u64::from(run.rows))
        .sum();
    let blocks = rows.div_ceil(format::ROWS_A_BLOCK.into());
    let whole = len >= directory.rows_at + blocks * format::INDEX_BLOCK as u64;
    Ok(whole.then_some(directory))
}

/// Reads a snapshot into `replay`. `false` if it is missing or damaged: then `replay` is of no use any more.
pub(super) fn snapshot(
    disk: &dyn Disk,
    key: SnapshotKey,
    entry: &SnapshotEntry,
    mut each: impl FnMut(Item),
) -> io::Result<bool> {
    let file = match disk.open(&format::snapshot_name(key.start)) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e),
    };
    if file.len()? != entry.len || entry.len < SNAPSHOT_HEADER as u64 {
        return Ok(false);
    }
    let mut header = [0; SNAPSHOT_HEADER];
    file.read_at(&mut header, 0)?;
    if !key.is_header(&header) {
        return Ok(false);
    }
    let mut at = SNAPSHOT_HEADER as u64;
    for index in 0.. {
        let mut head = [0; PIECE_HEADER];
        if at + PIECE_HEADER as u64 > entry.len {
            return Ok(false);
        }
        file.read_at(&mut head, at)?;
        let (len, sum) = SnapshotKey::piece_header(head);
        at += PIECE_HEADER as u64;
        if at + u64::from(len) > entry.len {
            return Ok(false);
        }
        let mut items = vec![0; len as usize];
        file.read_at(&mut items, at)?;
        at += u64::from(len);
        let Some(decoded) = key.decode_piece(index, sum, &items) else {
            return Ok(false);
        };
        if decoded.is_empty() {
            break;
        }
        decoded.into_iter().for_each(&mut each);
    }
    Ok(at == entry.len)
}

/// Reads the end mark. One that is missing or damaged leaves nothing out of the log, and a witness of its end less.
pub(super) fn end_mark(
    disk: &dyn Disk,
    log: u64,
    names: &[String],
    notes: &mut Vec<String>,
) -> io::Result<Option<EndMark>> {
    if !names.iter().any(|name| name == "end") {
        return Ok(None);
    }
    let file = disk.open("end")?;
    let mut bytes = vec![0; EndMark::FILE.min(usize::try_from(file.len()?).unwrap_or(0))];
    file.read_at(&mut bytes, 0)?;
    let mark = EndMark::decode(&bytes).filter(|mark| mark.log == log);
    if mark.is_none() && !format::is_zero(&bytes) {
        notes.push("the end mark is damaged or of another log".to_owned());
    }
    Ok(mark)
}
