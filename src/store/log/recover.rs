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
    disk::Disk,
    format::{
        self, Directory, EndMark, Entry, Frame, IndexKey, Manifest, SEGMENT_HEADER, Seal,
        SegmentEntry, SegmentHeader, SnapshotKey,
    },
    frames::{Found, Frames},
    load::{self, Problem, damaged, directory, end_mark, header, messages, snapshot},
    replay::Replay,
};

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

/// Scans the frames of a segment up to the first that is not whole. The first one is expected to have the number and to name
/// the link given.
pub(super) fn scan(
    frames: &mut Frames,
    (number, link): (u64, u64),
    mut each: impl FnMut(Frame) -> Result<(), String>,
) -> io::Result<Scan> {
    let mut seal = Seal {
        first: number,
        next: number,
        link,
        end: SEGMENT_HEADER as u64,
        messages: 0,
    };
    let stop = loop {
        let at = frames.at();
        let found = match at < frames.limit() {
            true => frames.look()?,
            false => break Stop::End,
        };
        let (why, torn, messages) = match found {
            Found::Nothing => break Stop::End,
            Found::Frame(frame) => {
                let header = frame.header;
                let count = frame.messages();
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
                    let messages = None;
                    break Stop::Damaged { why, messages };
                }
                seal.next += 1;
                seal.link = header.link();
                seal.end = frames.at();
                seal.messages += count;
                continue;
            }
            Found::Torn(_) => (format!("frame {} is not complete", seal.next), true, None),
            Found::Damaged(damaged) => {
                let why = format!("frame {} does not match its checksums", seal.next);
                let messages = damaged.frame.map(|frame| frame.messages());
                (why, false, messages)
            }
        };
        break match frames.next_header(at)? {
            Some((_, behind)) if behind.number >= seal.next => Stop::Damaged {
                why: format!("{why}, and frame {} follows", behind.number),
                messages,
            },
            _ if torn => Stop::Torn,
            _ => Stop::Damaged { why, messages },
        };
    };
    Ok(Scan { seal, stop })
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
    /// The end mark, if there is one.
    pub(super) mark: Option<EndMark>,
    /// Files that belong to no state of the log any more.
    pub(super) leftovers: Vec<String>,
    /// What was cut or is missing and does no harm, in sentences.
    pub(super) notes: Vec<String>,
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
            let (file, ..) = load::header(disk, log, entry)?;
            let mut frames = Frames::new(Arc::clone(&file), header.salt, len)?;
            let unused = frames.is_zero_from(SEGMENT_HEADER as u64)?;
            if let (Some(why), false) = (&ended, unused) {
                if !any_loss {
                    return damaged(format!("{why}, and segment {number} follows it"));
                }
                notes.push(format!("segment {number} is left out, for {why}"));
            }
            if ended.is_some() {
                frames = Frames::new(file, header.salt, SEGMENT_HEADER as u64)?;
            }
            let mut entries = Vec::new();
            let scan = scan(&mut frames, end_of_last, |frame| {
                if frame.header.number >= start {
                    replay.frame(&frame)?;
                }
                entries.extend(entries_of(&frame, number));
                Ok(())
            })?;
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
    let mark = match any_loss {
        true => None,
        false => end_mark(disk, log, names, &mut notes)?,
    };
    if let Some(mark) = mark.filter(|mark| mark.next > next) {
        return damaged(missing_end(&mark, next, &open));
    }
    Ok(Recovered {
        manifest,
        replay,
        next,
        link,
        sealed,
        open,
        mark,
        leftovers,
        notes,
    })
}

/// Says what is missing at the end of a log that was longer once.
fn missing_end(mark: &EndMark, next: u64, open: &[OpenSegment]) -> String {
    let (number, last) = (mark.segment, mark.next.wrapping_sub(1));
    let segment = open.iter().find(|segment| segment.entry.number == number);
    let (end, lost) = match segment {
        Some(segment) => (
            segment.seal.end,
            messages(mark.messages.saturating_sub(segment.seal.messages)),
        ),
        None => (
            SEGMENT_HEADER as u64,
            "an unknown number of messages".to_owned(),
        ),
    };
    let frames = match last == next {
        true => format!("frame {next} was on disk and is missing"),
        false => format!("frames {next} to {last} were on disk and are missing"),
    };
    format!("segment {number} is damaged at byte {end}: {frames} ({lost} at least)")
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
    let (file, header, _) = header(disk, log, entry)?;
    let mut frames = Frames::new(file, header.salt, seal.end)?;
    // The first frame is checked against the link of the segment before it where that is known.
    let first = match entry.compacted {
        true => (0, 0),
        false if seal.first == seal.next => (seal.first, seal.link),
        false => (seal.first, frames.first_link()?),
    };
    let scan = scan(&mut frames, first, each)?;
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
            let mut front = vec![0; SEGMENT_HEADER.min(usize::try_from(file.len()?).unwrap_or(0))];
            file.read_at(&mut front, 0)?;
            let found = SegmentHeader::decode(&front);
            let is_ours = found.is_some_and(|header| {
                let place = (header.number, header.generation) == (number, generation);
                header.log == manifest.log && place
            });
            let mut frames = Frames::new(file, 0, u64::MAX)?;
            if number > newest && !frames.is_zero_from(SEGMENT_HEADER as u64)? {
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
