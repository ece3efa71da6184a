//! Repairing a damaged log, at the request of a person.
//!
//! What can be read is kept. Offsets are never used again: where nothing tells how many messages are lost, every topic that may
//! have lost some goes on after a gap that is larger than what can have been there.

use std::{collections::BTreeMap, fs, io, path::Path, sync::Arc};

use super::{
    super::{Limits, catalog::TopicId},
    check::check_on,
    compact::copy_batches,
    data_dir::{DataDir, OpenError},
    disk::{Disk, RealDisk, replace},
    format::{
        self, Entry, Frame, IndexKey, Manifest, SEGMENT_HEADER, Seal, SegmentEntry, SegmentHeader,
        SnapshotEntry, SnapshotKey,
    },
    load::{self, Problem, messages},
    replay::Replay,
    report::Report,
    segments::write_index,
    snapshot::{encode_some, write_snapshot},
    walk::{Part, Walk, count, intact_entries},
};
use crate::{Offset, time};

/// Repairs a damaged data folder, so that it can be opened. What is whole is kept. The files that are replaced are moved into a
/// folder `damaged-…` in it, and the report says what is lost. Does nothing if nothing is damaged. Waits for the disk.
///
/// # Errors
/// [`OpenError`] if the folder is in use or cannot be read or written.
pub fn repair(folder: impl AsRef<Path>) -> Result<Report, OpenError> {
    let folder = folder.as_ref();
    let _dir = DataDir::inspect(folder)?;
    let disk = RealDisk::new(folder);
    let failed = |e| OpenError::io(folder, e);
    let mut report = Report::default();
    check_on(&disk, &mut report).map_err(failed)?;
    if report.problems.is_empty() {
        return Ok(report);
    }
    let kept = format!("damaged-{}", time::unix_time().as_millis());
    fs::create_dir(folder.join(&kept)).map_err(failed)?;
    let keep = |name: &str| fs::rename(folder.join(name), folder.join(&kept).join(name));
    let copy = |name: &str| fs::copy(folder.join(name), folder.join(&kept).join(name)).map(drop);
    if disk
        .list()
        .map_err(failed)?
        .iter()
        .any(|name| name == "manifest")
    {
        copy("manifest").map_err(failed)?;
    }
    let replaced = repair_on(&disk, &mut report).map_err(failed)?;
    for name in replaced {
        keep(&name).map_err(failed)?;
    }
    disk.sync_folder().map_err(failed)?;
    report
        .repairs
        .push(format!("the files as they were are in {kept}"));
    Ok(report)
}

/// Makes a log that can be opened, and returns the files that are no part of it.
fn repair_on(disk: &dyn Disk, report: &mut Report) -> io::Result<Vec<String>> {
    let names = disk.list()?;
    let old = match load::manifest(disk, &names) {
        Ok(Some(manifest)) => manifest,
        Err(Problem::Io(error)) => return Err(error),
        _ => rebuilt_manifest(disk, &names)?,
    };
    let log = old.log;
    let (mut replay, start) = newest_snapshot(disk, &old, report)?;
    replay.be_lenient();

    let mut new = Manifest {
        snapshots: Vec::new(),
        segments: Vec::new(),
        ..old.clone()
    };
    let (mut next, mut link) = (0, 0);
    for entry in &old.segments {
        let number = entry.number;
        let salvaged = salvage(disk, &old, entry, (next, link), report)?;
        let mut salvaged = match salvaged {
            Ok(salvaged) => salvaged,
            Err(most) => {
                let ends = entry.sealed.map_or(u64::MAX, |seal| seal.next);
                if ends > start {
                    replay.lose(most);
                }
                if let Some(seal) = entry.sealed {
                    (next, link) = (seal.next, seal.link);
                }
                continue;
            }
        };
        for found in salvaged.found.drain(..) {
            match found {
                _ if entry.compacted => {}
                // A lenient replay refuses nothing.
                Kept::Frame(frame) if frame.header.number >= start => drop(replay.frame(&frame)),
                Kept::Frame(_) => {}
                Kept::Gap { most, ends } if ends > start => replay.lose(most),
                Kept::Gap { .. } => {}
            }
        }
        for (topic, batch) in &salvaged.entries {
            replay.reach(*topic, Offset(batch.end()));
        }
        let mut repaired = SegmentEntry {
            sealed: Some(salvaged.seal),
            ..*entry
        };
        if !salvaged.whole {
            let source = disk.open(&format::segment_name(number, entry.generation))?;
            repaired.generation = entry.generation + 1;
            repaired.compacted = true;
            let file = (log, number, repaired.generation);
            let copied = copy_batches(disk, file, &*source, &salvaged.entries)?;
            disk.rename(&format!("{}.new", copied.name), &copied.name)?;
            let end = copied.end;
            let copied = copied.entries;
            let messages = copied.iter().map(|(_, entry)| u64::from(entry.count)).sum();
            repaired.sealed = Some(Seal {
                end,
                messages,
                ..salvaged.seal
            });
            salvaged.entries = copied;
        }
        let key = IndexKey {
            log,
            number,
            generation: repaired.generation,
        };
        write_index(disk, key, salvaged.entries)?;
        (next, link) = (salvaged.seal.next, salvaged.seal.link);
        new.segments.push(repaired);
    }
    let mark = load::end_mark(disk, log, &names, &mut report.notes)?;
    if let Some(mark) = mark.filter(|mark| mark.next > next) {
        report.repairs.push(format!(
            "frames {next} to {} were on disk and are missing",
            mark.next - 1
        ));
        // They were in what is left of a segment after the last frame that can be read.
        replay.lose(mark.end.max(SEGMENT_HEADER as u64));
        next = mark.next;
    }
    for (topic, from, to) in replay.leave_gaps() {
        report.repairs.push(format!(
            "topic {topic} goes on at offset {to}: messages from offset {from} on may be lost, and no offset is given twice"
        ));
    }
    next = next.max(start);
    if let Some(SegmentEntry {
        sealed: Some(seal), ..
    }) = new.segments.last_mut()
    {
        seal.next = next;
    }
    let key = SnapshotKey { log, start: next };
    let len = write_snapshot(disk, key, |cursor, items| {
        encode_some(&replay.catalog, cursor, items)
    })?;
    new.snapshots.push(SnapshotEntry { start: next, len });
    new.generation += 1;
    replace(disk, "manifest", &new.encode())?;

    let belongs = |name: &str| {
        new.segments.iter().any(|entry| {
            let (number, generation) = (entry.number, entry.generation);
            let segment = format::segment_name(number, generation);
            name == segment || name == format::index_name(number, generation)
        }) || name == format::snapshot_name(next)
    };
    let ends = [".seg", ".idx", ".snap", ".new"];
    let files = disk.list()?.into_iter();
    let files = files.filter(|name| ends.iter().any(|end| name.ends_with(end)) && !belongs(name));
    Ok(files.collect())
}

fn newest_snapshot(
    disk: &dyn Disk,
    manifest: &Manifest,
    report: &mut Report,
) -> io::Result<(Replay, u64)> {
    let new = || Replay::new(Limits::default(), manifest.first_producer);
    for entry in manifest.snapshots.iter().rev() {
        let key = SnapshotKey {
            log: manifest.log,
            start: entry.start,
        };
        let mut replay = new();
        if load::snapshot(disk, key, entry, |item| replay.item(item))? {
            return Ok((replay, entry.start));
        }
    }
    if !manifest.snapshots.is_empty() {
        report.repairs.push(
            "no snapshot is whole: what the oldest frames said of topics, producers and positions is lost"
                .to_owned(),
        );
    }
    Ok((new(), 0))
}

/// Returns the manifest that the files suggest.
fn rebuilt_manifest(disk: &dyn Disk, names: &[String]) -> io::Result<Manifest> {
    let mut logs: BTreeMap<u64, u32> = BTreeMap::new();
    let mut segments: BTreeMap<u32, u32> = BTreeMap::new();
    for name in names {
        let Some((number, generation)) = format::parse_name(name, "seg") else {
            continue;
        };
        let file = disk.open(name)?;
        let mut bytes = [0; SEGMENT_HEADER];
        if file.read_at(&mut bytes, 0).is_err() {
            continue;
        }
        if let Some(header) = SegmentHeader::decode_changed(&bytes) {
            *logs.entry(header.log).or_default() += 1;
            let newest = segments.entry(number).or_default();
            *newest = generation.max(*newest);
        }
    }
    let log = logs
        .into_iter()
        .max_by_key(|(_, count)| *count)
        .map_or(0, |(log, _)| log);
    let mut snapshots = Vec::new();
    for start in names
        .iter()
        .filter_map(|name| format::parse_snapshot_name(name))
    {
        let len = disk.open(&format::snapshot_name(start))?.len()?;
        snapshots.push(SnapshotEntry { start, len });
    }
    snapshots.sort_unstable_by_key(|snapshot| snapshot.start);
    let segments = segments
        .into_iter()
        .map(|(number, generation)| SegmentEntry {
            number,
            generation,
            compacted: generation > 0,
            sealed: None,
            len: 0,
        });
    Ok(Manifest {
        generation: 1,
        log,
        first_producer: 0,
        snapshots,
        segments: segments.collect(),
    })
}

/// What a repair does with a part of a segment.
enum Kept {
    /// Applies its records.
    Frame(Box<Frame>),
    /// Leaves offsets out, for at most `most` messages of the frames before the number `ends`.
    Gap { most: u64, ends: u64 },
}

/// What can be read of a segment.
struct Salvaged {
    found: Vec<Kept>,
    entries: Vec<(TopicId, Entry)>,
    seal: Seal,
    /// Nothing of it is damaged.
    whole: bool,
}

/// Reads what can be read of a segment, and reports the rest. The error is the most messages that can have been in a segment of
/// which nothing can be read.
fn salvage(
    disk: &dyn Disk,
    manifest: &Manifest,
    entry: &SegmentEntry,
    (next, link): (u64, u64),
    report: &mut Report,
) -> io::Result<Result<Salvaged, u64>> {
    let number = entry.number;
    let all = entry.sealed.map_or("all its messages".to_owned(), |seal| {
        messages(seal.messages)
    });
    let most = entry.sealed.map_or(entry.len, |seal| seal.messages);
    let file = match disk.open(&format::segment_name(number, entry.generation)) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            report
                .repairs
                .push(format!("segment {number} is lost, with {all}"));
            return Ok(Err(most));
        }
        Err(e) => return Err(e),
    };
    let len = file.len()?;
    let mut front = vec![0; SEGMENT_HEADER.min(usize::try_from(len).unwrap_or(SEGMENT_HEADER))];
    file.read_at(&mut front, 0)?;
    let header = SegmentHeader::decode_changed(&front).filter(|header| {
        let place = (header.number, header.generation);
        header.log == manifest.log && place == (number, entry.generation)
    });
    let Some(header) = header else {
        report.repairs.push(format!(
            "segment {number} cannot be read, and is lost with {all}"
        ));
        return Ok(Err(most.max(len)));
    };
    let (limit, is_known) = entry.sealed.map_or((len, false), |seal| (seal.end, true));
    let first = match entry.sealed {
        _ if entry.compacted => 0,
        Some(seal) => seal.first,
        None => next,
    };
    let mut walk = Walk::new(Arc::clone(&file), header.salt, (limit, is_known), first)?;
    let mut salvaged = Salvaged {
        found: Vec::new(),
        entries: Vec::new(),
        seal: entry.sealed.unwrap_or(Seal {
            first: next,
            next,
            link,
            end: SEGMENT_HEADER as u64,
            messages: 0,
        }),
        whole: SegmentHeader::decode(&front).is_some() && (!is_known || len >= limit),
    };
    let (mut found, mut lost) = (0, 0);
    while let Some(part) = walk.part()? {
        match part {
            Part::Whole(frame) => {
                found += frame.messages();
                salvaged.entries.extend(intact_entries(&frame, number, &[]));
                salvaged.found.push(Kept::Frame(frame));
                salvaged.end_at(entry, &walk);
            }
            Part::Content { frame, damaged } => {
                salvaged.whole = false;
                let gone = count(&damaged);
                (found, lost) = (found + frame.messages() - gone, lost + gone);
                report.repairs.push(format!(
                    "of frame {} at byte {} of segment {number}, {} lost",
                    frame.header.number,
                    frame.at,
                    are(gone)
                ));
                salvaged
                    .entries
                    .extend(intact_entries(&frame, number, &damaged));
                salvaged.found.push(Kept::Frame(frame));
                salvaged.end_at(entry, &walk);
            }
            Part::Torn => {}
            Part::Unreadable(gap) => {
                salvaged.whole = false;
                let ends = gap.next.unwrap_or(u64::MAX);
                salvaged.found.push(Kept::Gap {
                    most: gap.bytes,
                    ends,
                });
                if entry.sealed.is_none() {
                    // What follows is what the next segment begins with.
                    salvaged.seal.next = walk.number;
                }
                if gap.bytes > 0 {
                    report.repairs.push(format!(
                        "what is at bytes {} to {} of segment {number} is lost: frame {} and perhaps more, with an unknown \
                         number of messages",
                        gap.at,
                        gap.at + gap.bytes,
                        gap.first
                    ));
                }
            }
        }
    }
    if let Some(seal) = entry.sealed {
        let unread = seal.messages.saturating_sub(found + lost);
        if unread > 0 {
            report.repairs.push(format!(
                "{} of segment {number} are lost in all such places",
                messages(unread)
            ));
        }
        // The count of the segment says more than the size of a gap.
        for kept in &mut salvaged.found {
            if let Kept::Gap { most, .. } = kept {
                *most = (*most).min(unread);
            }
        }
    } else {
        salvaged.seal.messages = found;
    }
    Ok(Ok(salvaged))
}

fn are(count: u64) -> String {
    match count {
        1 => "1 message is".to_owned(),
        count => format!("{count} messages are"),
    }
}

impl Salvaged {
    /// Notes that a segment that is not sealed goes up to here.
    fn end_at(&mut self, entry: &SegmentEntry, walk: &Walk) {
        if entry.sealed.is_none() {
            self.seal.next = walk.number;
            self.seal.link = walk.link.unwrap_or(self.seal.link);
            self.seal.end = walk.at();
        }
    }
}
