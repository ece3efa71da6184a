//! What a folder holds, and whether that is what was written. Only reads.
//!
//! ```text
//! manifest ─▶ every segment is there, has its own header and is long enough
//!          ─▶ newest snapshot that is whole ─▶ frames from its start on, in order ─▶ catalog, end of the log
//! ```
//!
//! The log ends in a segment that is not sealed. What is there after the last whole frame decides:
//!
//! | found | meaning |
//! |---|---|
//! | zeros | the end of the log |
//! | a frame with a missing sector, and nothing after it | a torn frame: it was being written when the power was cut, and nothing of it was answered. The log ends before it |
//! | a frame that was written whole and does not match its checksums | damage: the log is not opened |
//! | a frame that does not match, and whole frames after it, here or in a later segment | damage: a frame is written only after the one before it is on disk |

use std::{io, sync::Arc};

use super::{
    super::catalog::TopicId,
    disk::{Disk, DiskFile, read_all},
    format::{
        self, Directory, Entry, Found, Frame, IndexKey, Manifest, PIECE_HEADER, SEGMENT_HEADER,
        SNAPSHOT_HEADER, Seal, SegmentEntry, SegmentHeader, SnapshotEntry, SnapshotKey,
    },
    replay::Replay,
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

/// Why a scan of a segment ended.
#[derive(Debug)]
pub(super) enum Stop {
    /// At its end, or before zeros.
    End,
    /// Before a torn frame that nothing follows.
    Torn,
    /// Before damage.
    Damaged {
        why: String,
        /// The number of messages that are damaged, where it can be told.
        messages: Option<u64>,
    },
}

/// The whole frames from the beginning of a segment on.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) seal: Seal,
    pub(super) stop: Stop,
}

/// Scans the frames of a segment up to `limit`. The first frame is expected to have the number and to name the link given.
pub(super) fn scan(
    bytes: &[u8],
    salt: u64,
    (number, link): (u64, u64),
    limit: usize,
    mut each: impl FnMut(Frame) -> Result<(), String>,
) -> Scan {
    let bytes = &bytes[..limit.min(bytes.len())];
    let mut seal = Seal {
        first: number,
        next: number,
        link,
        end: SEGMENT_HEADER as u64,
        messages: 0,
    };
    let mut at = SEGMENT_HEADER;
    let stop = loop {
        let found = match at < bytes.len() {
            true => format::look(bytes, at, salt),
            false => break Stop::End,
        };
        let (why, messages) = match found {
            Found::Nothing => break Stop::End,
            Found::Frame(frame) => {
                let header = frame.header;
                let (end, count) = (frame.end(), frame.messages());
                let follows = (header.number, header.previous) == (seal.next, seal.link);
                let problem = match follows {
                    true => each(*frame).err(),
                    false => Some(format!(
                        "frame {} follows frame {}",
                        header.number,
                        seal.next.wrapping_sub(1)
                    )),
                };
                if let Some(why) = problem {
                    break Stop::Damaged {
                        why,
                        messages: None,
                    };
                }
                seal.next += 1;
                seal.link = header.link();
                seal.end = end as u64;
                seal.messages += count;
                at = end;
                continue;
            }
            Found::Torn => (format!("frame {} is not complete", seal.next), None),
            Found::Damaged { messages } => {
                let why = format!("frame {} does not match its checksums", seal.next);
                (why, messages)
            }
        };
        break match format::next_header(bytes, at, salt) {
            Some((_, behind)) if behind.number >= seal.next => Stop::Damaged {
                why: format!("{why}, and frame {} follows", behind.number),
                messages,
            },
            _ if why.ends_with("complete") => Stop::Torn,
            _ => Stop::Damaged { why, messages },
        };
    };
    Scan { seal, stop }
}

/// A segment that is not sealed, as it was found.
#[derive(Debug)]
pub(super) struct OpenSegment {
    pub(super) entry: SegmentEntry,
    /// The frames in it.
    pub(super) seal: Seal,
    /// Nothing was ever written to it.
    pub(super) unused: bool,
    pub(super) salt: u64,
    /// The length of the file.
    pub(super) len: u64,
    /// Its batches, in order.
    pub(super) entries: Vec<(TopicId, Entry)>,
}

/// A sealed segment, as it was found.
#[derive(Debug)]
pub(super) struct SealedSegment {
    pub(super) entry: SegmentEntry,
    pub(super) seal: Seal,
    /// Its index, if there is one that is whole.
    pub(super) directory: Option<Directory>,
}

/// A log that can be opened.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) manifest: Manifest,
    pub(super) replay: Replay,
    /// The number of the next frame.
    pub(super) next: u64,
    /// The link of the last one.
    pub(super) link: u64,
    pub(super) sealed: Vec<SealedSegment>,
    pub(super) open: Vec<OpenSegment>,
    /// Files that belong to no state of the log any more.
    pub(super) leftovers: Vec<String>,
    /// What was cut or is missing and does no harm, in sentences.
    pub(super) notes: Vec<String>,
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
    mut each: impl FnMut(format::Item),
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

/// Reads the log. `new` makes the state to begin with, and `any_loss` accepts that frames which were never synced are missing
/// anywhere among those that were written last.
///
/// # Errors
/// [`Problem::Damaged`] if something that was answered may be missing.
pub(super) fn recover(
    disk: &dyn Disk,
    manifest: Manifest,
    names: &[String],
    any_loss: bool,
    new: impl Fn() -> Replay,
) -> Result<Recovered, Problem> {
    let log = manifest.log;
    let mut notes = Vec::new();
    let leftovers = leftovers(disk, &manifest, names)?;

    let mut headers = Vec::with_capacity(manifest.segments.len());
    for entry in &manifest.segments {
        let (_, header, len) = header(disk, log, entry)?;
        headers.push((header, len));
    }

    let (mut replay, start) = newest_snapshot(disk, &manifest, &mut notes, &new)?;
    let mut sealed = Vec::new();
    let mut expected = (0, 0);
    let mut open: Vec<OpenSegment> = Vec::new();
    let mut ended = None::<String>;
    for (entry, (header, len)) in manifest.segments.iter().zip(headers) {
        let number = entry.number;
        let Some(seal) = entry.sealed else {
            let end_of_last = match entry.compacted {
                true => return damaged(format!("segment {number} is compacted and not sealed")),
                false => expected,
            };
            let (file, ..) = self::header(disk, log, entry)?;
            let bytes = read_all(&*file)?;
            let unused = format::is_zero(&bytes[SEGMENT_HEADER..]);
            if let (Some(why), false) = (&ended, unused) {
                if !any_loss {
                    return damaged(format!("{why}, and segment {number} follows it"));
                }
                notes.push(format!("segment {number} is left out, for {why}"));
            }
            let limit = if ended.is_some() {
                SEGMENT_HEADER
            } else {
                bytes.len()
            };
            let mut entries = Vec::new();
            let scan = scan(&bytes, header.salt, end_of_last, limit, |frame| {
                if frame.header.number >= start {
                    replay.frame(&frame)?;
                }
                entries.extend(entries_of(&frame, number));
                Ok(())
            });
            expected = (scan.seal.next, scan.seal.link);
            match scan.stop {
                Stop::End => {}
                Stop::Torn => {
                    let at = scan.seal.end;
                    let why = format!("a torn frame at byte {at} of segment {number}");
                    notes.push(format!(
                        "the log ends before {why}, which was never answered"
                    ));
                    ended = Some(why);
                }
                Stop::Damaged {
                    why,
                    messages: lost,
                } => {
                    let at = scan.seal.end;
                    let lost = lost.map_or("an unknown number of messages".to_owned(), messages);
                    let why = format!("segment {number} is damaged at byte {at}: {why} ({lost})");
                    if !any_loss {
                        return damaged(why);
                    }
                    notes.push(format!("the log is cut where {why}"));
                    ended = Some(why);
                }
            }
            open.push(OpenSegment {
                entry: *entry,
                seal: scan.seal,
                unused,
                salt: header.salt,
                len,
                entries,
            });
            continue;
        };
        let key = IndexKey {
            log,
            number,
            generation: entry.generation,
        };
        let directory = directory(disk, key)?.filter(|directory| {
            let offsets = directory
                .topics
                .iter()
                .map(|(_, run)| run.end.saturating_sub(run.base));
            entry.compacted || offsets.sum::<u64>() == seal.messages
        });
        if seal.next > start && entry.compacted {
            return damaged(format!(
                "segment {number} was compacted, and no snapshot is left that covers it"
            ));
        }
        if seal.next > start || directory.is_none() {
            if directory.is_none() {
                notes.push(format!("the index of segment {number} is rebuilt"));
            }
            let replaying = seal.next > start;
            check_sealed(disk, log, entry, &seal, |frame| {
                if replaying && frame.header.number >= start {
                    replay.frame(&frame)?;
                }
                Ok(())
            })?;
        }
        expected = (seal.next, seal.link);
        sealed.push(SealedSegment {
            entry: *entry,
            seal,
            directory,
        });
    }
    let (next, link) = expected;
    if next < start {
        return damaged(format!(
            "its log ends with frame {}, and its snapshot is of frame {start}: the frames between them are missing, with an \
             unknown number of messages",
            next.wrapping_sub(1)
        ));
    }
    replay.check_topics().map_err(Problem::Damaged)?;
    Ok(Recovered {
        manifest,
        replay,
        next,
        link,
        sealed,
        open,
        leftovers,
        notes,
    })
}

/// Returns the batches of a frame of segment `number`.
pub(super) fn entries_of(
    frame: &Frame,
    number: u32,
) -> impl Iterator<Item = (TopicId, Entry)> + '_ {
    frame.batches().map(move |(batch, at)| {
        let at = u32::try_from(at).unwrap_or(u32::MAX);
        (batch.topic, Entry::of(batch, number, at))
    })
}

fn newest_snapshot(
    disk: &dyn Disk,
    manifest: &Manifest,
    notes: &mut Vec<String>,
    new: &impl Fn() -> Replay,
) -> Result<(Replay, u64), Problem> {
    let log = manifest.log;
    for entry in manifest.snapshots.iter().rev() {
        let key = SnapshotKey {
            log,
            start: entry.start,
        };
        let mut replay = new();
        if snapshot(disk, key, entry, |item| replay.item(item))? {
            return Ok((replay, entry.start));
        }
        notes.push(format!(
            "the snapshot at frame {} is missing or damaged",
            entry.start
        ));
    }
    let oldest = manifest.segments.first();
    let from_start = oldest.is_none_or(|entry| match entry.sealed {
        Some(seal) => seal.first == 0,
        None => true,
    });
    let removed = manifest.segments.windows(2).any(|pair| match pair {
        [a, b] => a.number + 1 != b.number,
        _ => false,
    });
    if from_start && !removed {
        return Ok((new(), 0));
    }
    damaged(
        "its snapshots are missing or damaged, and the oldest segments have been removed: topics and offsets of all messages \
         cannot be told",
    )
}

/// Scans a sealed segment, which must be whole.
pub(super) fn check_sealed(
    disk: &dyn Disk,
    log: u64,
    entry: &SegmentEntry,
    seal: &Seal,
    each: impl FnMut(Frame) -> Result<(), String>,
) -> Result<(), Problem> {
    let number = entry.number;
    let (file, header, len) = header(disk, log, entry)?;
    let end =
        usize::try_from(seal.end).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    let mut bytes = vec![0; end.min(usize::try_from(len).unwrap_or(usize::MAX))];
    file.read_at(&mut bytes, 0)?;
    // The first frame is checked against the link of the segment before it where that is known.
    let first = match entry.compacted {
        true => (0, 0),
        false if seal.first == seal.next => (seal.first, seal.link),
        false => (seal.first, first_link(&bytes, header.salt)),
    };
    let scan = scan(&bytes, header.salt, first, end, each);
    let found = scan.seal;
    let whole = entry.compacted || (found.next, found.link) == (seal.next, seal.link);
    match scan.stop {
        Stop::End if found.end == seal.end && whole => Ok(()),
        Stop::Damaged {
            why,
            messages: lost,
        } => {
            let lost = lost.unwrap_or(seal.messages.saturating_sub(found.messages));
            damaged(format!(
                "segment {number} is damaged at byte {}: {why} ({} at least)",
                found.end,
                messages(lost)
            ))
        }
        _ => damaged(format!(
            "segment {number} is damaged at byte {}: it ends before frame {} ({})",
            found.end,
            found.next,
            messages(seal.messages.saturating_sub(found.messages))
        )),
    }
}

fn first_link(bytes: &[u8], salt: u64) -> u64 {
    let first = bytes.get(SEGMENT_HEADER..).unwrap_or_default();
    format::FrameHeader::decode(first, salt).map_or(0, |header| header.previous)
}

/// Returns the files that are left of segments, indexes and snapshots that were replaced or removed, or of ones that were
/// being made.
fn leftovers(
    disk: &dyn Disk,
    manifest: &Manifest,
    names: &[String],
) -> Result<Vec<String>, Problem> {
    let segment = |number, generation| {
        let is = |e: &&SegmentEntry| e.number == number && e.generation == generation;
        manifest.segments.iter().find(is)
    };
    let newest = manifest.segments.last().map_or(0, |entry| entry.number);
    let mut left = Vec::new();
    for name in names {
        if let Some((number, generation)) = format::parse_name(name, "seg") {
            if segment(number, generation).is_some() {
                continue;
            }
            let file = disk.open(name)?;
            let bytes = read_all(&*file)?;
            let found = SegmentHeader::decode(&bytes);
            let is_ours = found.is_some_and(|header| {
                let place = (header.number, header.generation) == (number, generation);
                header.log == manifest.log && place
            });
            let unused = format::is_zero(bytes.get(SEGMENT_HEADER..).unwrap_or_default());
            if number > newest && !unused {
                return damaged(format!(
                    "segment {number} holds messages, and its manifest does not know it: the manifest is older than the log, or \
                     the file was put there"
                ));
            }
            if !is_ours {
                return damaged(format!(
                    "{name} is no segment of this log: it was put there, or renamed"
                ));
            }
            left.push(name.clone());
        } else if let Some((number, generation)) = format::parse_name(name, "idx") {
            if segment(number, generation).is_none() {
                left.push(name.clone());
            }
        } else if let Some(start) = format::parse_snapshot_name(name) {
            if manifest.snapshots.iter().all(|known| known.start != start) {
                left.push(name.clone());
            }
        } else if name.ends_with(".new") {
            left.push(name.clone());
        }
    }
    Ok(left)
}
