//! Looking at a log, and repairing one, at the request of a person.

use std::{collections::BTreeMap, fmt, fs, io, path::Path};

use super::{
    super::{Limits, catalog::TopicId},
    data_dir::{DataDir, OpenError},
    disk::{Disk, RealDisk, read_all, replace},
    format::{
        self, Entry, IndexKey, Manifest, Seal, SegmentEntry, SegmentHeader, SnapshotEntry,
        SnapshotKey,
    },
    maintenance::{copy_batches, encode_some, write_snapshot},
    read::is_intact,
    recover::{self, Problem},
    replay::Replay,
    shared,
};
use crate::{Offset, time};

/// What [`check`] or [`repair`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The number of segments.
    pub segments: usize,
    /// The number of frames that are whole.
    pub frames: u64,
    /// The number of messages in them, trimmed ones included.
    pub messages: u64,
    /// What is damaged or missing, a sentence each. An index or a snapshot that can be done without is not among them.
    pub problems: Vec<String>,
    /// What is not as it should be and does no harm, a sentence each.
    pub notes: Vec<String>,
    /// What [`repair`] did, a sentence each.
    pub repairs: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (segments, frames, messages) = (self.segments, self.frames, self.messages);
        writeln!(
            f,
            "{segments} segments, {frames} frames, {messages} messages"
        )?;
        for (what, list) in [
            ("damaged", &self.problems),
            ("note", &self.notes),
            ("repaired", &self.repairs),
        ] {
            for line in list {
                writeln!(f, "{what}: {line}")?;
            }
        }
        match self.problems.is_empty() {
            true => write!(f, "the log is whole"),
            false => write!(f, "the log is damaged"),
        }
    }
}

/// Reads a data folder whole, and says what is damaged. Changes nothing. Waits for the disk.
///
/// # Errors
/// [`OpenError`] if the folder is in use or cannot be read. Damage is no error, and is in the report.
pub fn check(folder: impl AsRef<Path>) -> Result<Report, OpenError> {
    let folder = folder.as_ref();
    let _dir = DataDir::inspect(folder)?;
    let disk = RealDisk::new(folder);
    let mut report = Report::default();
    check_on(&disk, &mut report).map_err(|e| OpenError::io(folder, e))?;
    Ok(report)
}

fn note(report: &mut Report, problem: Problem) -> io::Result<()> {
    match problem {
        Problem::Io(error) => Err(error),
        Problem::Damaged(why) => {
            report.problems.push(why);
            Ok(())
        }
    }
}

pub(super) fn check_on(disk: &dyn Disk, report: &mut Report) -> io::Result<()> {
    let names = disk.list()?;
    let manifest = match recover::manifest(disk, &names) {
        Ok(Some(manifest)) => manifest,
        Ok(None) => {
            report.problems.push("the manifest is missing".to_owned());
            return Ok(());
        }
        Err(problem) => return note(report, problem),
    };
    report.segments = manifest.segments.len();
    for entry in &manifest.segments {
        if let Err(problem) = check_segment(disk, &manifest, entry, report) {
            note(report, problem)?;
        }
    }
    for entry in &manifest.snapshots {
        let key = SnapshotKey {
            log: manifest.log,
            start: entry.start,
        };
        if !recover::snapshot(disk, key, entry, |_| {})? {
            let start = entry.start;
            report.notes.push(format!(
                "the snapshot at frame {start} is missing or damaged"
            ));
        }
    }
    // What no file shows alone: that they belong together, in this order, up to the end.
    let new = || Replay::new(Limits::default(), manifest.first_producer);
    match recover::recover(disk, manifest.clone(), &names, false, new) {
        Ok(recovered) => report.notes.extend(recovered.notes),
        Err(Problem::Damaged(why)) if report.problems.contains(&why) => {}
        Err(problem) => note(report, problem)?,
    }
    Ok(())
}

fn check_segment(
    disk: &dyn Disk,
    manifest: &Manifest,
    entry: &SegmentEntry,
    report: &mut Report,
) -> Result<(), Problem> {
    let number = entry.number;
    let (file, header, _) = recover::header(disk, manifest.log, entry)?;
    let bytes = read_all(&*file)?;
    let Some(seal) = entry.sealed else {
        // Its end is checked with the whole log; here, what is whole.
        let mut first = None;
        if let format::Found::Frame(frame) =
            format::look(&bytes, format::SEGMENT_HEADER, header.salt)
        {
            first = Some((frame.header.number, frame.header.previous));
        }
        let Some(first) = first else {
            return Ok(());
        };
        let scan = recover::scan(&bytes, header.salt, first, bytes.len(), |frame| {
            intact(&bytes, &frame, number, report);
            Ok(())
        });
        report.frames += scan.seal.next - scan.seal.first;
        report.messages += scan.seal.messages;
        return Ok(());
    };
    let (mut frames, mut messages) = (0, 0);
    let scanned = recover::check_sealed(disk, manifest.log, entry, &seal, |frame| {
        intact(&bytes, &frame, number, report);
        frames += 1;
        messages += frame.messages();
        Ok(())
    });
    report.frames += frames;
    report.messages += messages;
    scanned?;
    let key = IndexKey {
        log: manifest.log,
        number,
        generation: entry.generation,
    };
    if recover::directory(disk, key)?.is_none() {
        report.notes.push(format!(
            "the index of segment {number} is missing or damaged, and is made again"
        ));
    }
    Ok(())
}

/// Checks the batches of a frame against the checksums that they begin with.
fn intact(bytes: &[u8], frame: &format::Frame, segment: u32, report: &mut Report) {
    for (batch, at) in frame.batches() {
        let content = bytes.get(at..at + batch.len as usize).unwrap_or_default();
        if !is_intact(content) {
            let (topic, base, count) = (batch.topic.0, batch.base, batch.count);
            report.notes.push(format!(
                "a batch of {count} messages in segment {segment} (topic number {topic}, offset {base}) was stored with a \
                 checksum that it does not match"
            ));
        }
    }
}

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
    let old = match recover::manifest(disk, &names) {
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
        let Some(mut salvaged) = salvaged else {
            if let Some(seal) = entry.sealed {
                (next, link) = (seal.next, seal.link);
            }
            continue;
        };
        for frame in salvaged.frames.drain(..) {
            if !entry.compacted && frame.header.number >= start {
                // A lenient replay refuses nothing.
                let _ = replay.frame(&frame);
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
        shared::write_index(disk, key, salvaged.entries)?;
        (next, link) = (salvaged.seal.next, salvaged.seal.link);
        new.segments.push(repaired);
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
        if recover::snapshot(disk, key, entry, |item| replay.item(item))? {
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
        let mut bytes = [0; format::SEGMENT_HEADER];
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

/// What can be read of a segment.
struct Salvaged {
    frames: Vec<format::Frame>,
    entries: Vec<(TopicId, Entry)>,
    seal: Seal,
    /// Nothing of it is damaged.
    whole: bool,
}

/// Reads all frames of a segment that are whole, and reports the others. `None` if there is nothing to read.
fn salvage(
    disk: &dyn Disk,
    manifest: &Manifest,
    entry: &SegmentEntry,
    (next, link): (u64, u64),
    report: &mut Report,
) -> io::Result<Option<Salvaged>> {
    let number = entry.number;
    let all = entry.sealed.map_or("all its messages".to_owned(), |seal| {
        format!("{} messages", seal.messages)
    });
    let file = match disk.open(&format::segment_name(number, entry.generation)) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            report
                .repairs
                .push(format!("segment {number} is lost, with {all}"));
            return Ok(None);
        }
        Err(e) => return Err(e),
    };
    let bytes = read_all(&*file)?;
    let header = SegmentHeader::decode_changed(&bytes).filter(|header| {
        header.log == manifest.log
            && (header.number, header.generation) == (number, entry.generation)
    });
    let Some(header) = header else {
        report.repairs.push(format!(
            "segment {number} cannot be read, and is lost with {all}"
        ));
        return Ok(None);
    };
    let limit = entry
        .sealed
        .map_or(bytes.len(), |seal| usize::try_from(seal.end).unwrap_or(0));
    let mut whole = SegmentHeader::decode(&bytes).is_some() && bytes.len() >= limit;
    let bytes = &bytes[..limit.min(bytes.len())];
    let first = if entry.compacted { 0 } else { next };
    let mut found = Salvaged {
        frames: Vec::new(),
        entries: Vec::new(),
        seal: Seal {
            first: next,
            next,
            link,
            end: format::SEGMENT_HEADER as u64,
            messages: 0,
        },
        whole: true,
    };
    let (mut expected, mut at) = (first, format::SEGMENT_HEADER);
    while at < bytes.len() {
        let what = format::look(bytes, at, header.salt);
        match what {
            format::Found::Nothing => break,
            format::Found::Frame(frame) => {
                whole &= frame.header.number == expected;
                expected = frame.header.number + 1;
                at = frame.end();
                found.seal.end = at as u64;
                found.seal.messages += frame.messages();
                if !entry.compacted {
                    (found.seal.next, found.seal.link) = (expected, frame.header.link());
                }
                found.entries.extend(recover::entries_of(&frame, number));
                found.frames.push(*frame);
                continue;
            }
            format::Found::Torn | format::Found::Damaged { .. } => {}
        }
        let messages = match what {
            format::Found::Damaged {
                messages: Some(count),
            } => recover::messages(count),
            _ => "an unknown number of messages".to_owned(),
        };
        let mut from = at;
        let behind = loop {
            match format::next_header(bytes, from, header.salt) {
                Some((place, header)) if header.number >= expected => break Some(place),
                Some((place, _)) => from = place,
                None => break None,
            }
        };
        let torn =
            matches!(what, format::Found::Torn) && behind.is_none() && entry.sealed.is_none();
        if !torn {
            whole = false;
            report.repairs.push(format!(
                "frame {expected} at byte {at} of segment {number} is lost, with {messages}"
            ));
        }
        match behind {
            Some(place) => at = place,
            None => break,
        }
    }
    if let Some(seal) = entry.sealed {
        whole &= found.seal.end == seal.end;
        if found.seal.messages < seal.messages {
            let lost = seal.messages - found.seal.messages;
            report
                .repairs
                .push(format!("{lost} messages of segment {number} are lost"));
        }
        (found.seal.first, found.seal.next, found.seal.link) = (seal.first, seal.next, seal.link);
    }
    found.whole = whole;
    Ok(Some(found))
}
