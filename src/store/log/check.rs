//! Looking at a log, at the request of a person.

use std::{io, path::Path};

use super::{
    super::Limits,
    data_dir::{DataDir, OpenError},
    disk::{Disk, RealDisk},
    format::{IndexKey, Manifest, SegmentEntry, SnapshotKey},
    load::{self, Problem, messages},
    recover,
    replay::Replay,
    report::Report,
    walk::{Part, Unreadable, Walk, count},
};

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
    let manifest = match load::manifest(disk, &names) {
        Ok(Some(manifest)) => manifest,
        Ok(None) => {
            report.problems.push("the manifest is missing".to_owned());
            return Ok(());
        }
        Err(problem) => return note(report, problem),
    };
    report.segments = manifest.segments.len();
    let mut next = 0;
    for entry in &manifest.segments {
        if let Err(problem) = check_segment(disk, &manifest, entry, &mut next, report) {
            note(report, problem)?;
        }
    }
    for entry in &manifest.snapshots {
        let key = SnapshotKey {
            log: manifest.log,
            start: entry.start,
        };
        if !load::snapshot(disk, key, entry, |_| {})? {
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
        // It stops at the first problem, which was found above with its place.
        Err(Problem::Damaged(_)) if !report.problems.is_empty() => {}
        Err(problem) => note(report, problem)?,
    }
    Ok(())
}

/// Reads a segment past what is damaged in it. `next` is the number of the next frame.
fn check_segment(
    disk: &dyn Disk,
    manifest: &Manifest,
    entry: &SegmentEntry,
    next: &mut u64,
    report: &mut Report,
) -> Result<(), Problem> {
    let number = entry.number;
    let before = std::mem::replace(next, entry.sealed.map_or(*next, |seal| seal.next));
    let (file, header, len) = load::header(disk, manifest.log, entry)?;
    let (limit, first) = match entry.sealed {
        Some(seal) if entry.compacted => ((seal.end, true), 0),
        Some(seal) => ((seal.end, true), seal.first),
        None => ((len, false), before),
    };
    let mut walk = Walk::new(file, header.salt, limit, first)?;
    walk.check_batches();
    let mut found = Found::default();
    while let Some(part) = walk.part()? {
        found.add(part);
    }
    if entry.sealed.is_none() {
        *next = walk.number;
    }
    report.frames += found.frames;
    report.messages += found.messages;
    let place = |at: u64| format!("segment {number} is damaged at byte {at}");
    for (at, frame, lost) in &found.damaged {
        let lost = match lost {
            0 => "all its messages are whole".to_owned(),
            lost => messages(*lost),
        };
        let why = format!("frame {frame} does not match its checksums ({lost})");
        report.problems.push(format!("{}: {why}", place(*at)));
    }
    let total = entry.sealed.map(|seal| seal.messages);
    for (gap, in_last_frame) in found.gaps.iter().zip(found.counts(total)) {
        let why = format!("{} ({in_last_frame})", unreadable(gap));
        report.problems.push(format!("{}: {why}", place(gap.at)));
    }
    for bad in &walk.stored_bad {
        let (topic, base, count) = (bad.topic.0, bad.base, bad.count);
        report.notes.push(format!(
            "a batch of {count} messages in segment {number} (topic number {topic}, offset {base}) was stored with a \
             checksum that it does not match"
        ));
    }
    let key = IndexKey {
        log: manifest.log,
        number,
        generation: entry.generation,
    };
    if entry.sealed.is_some() && load::directory(disk, key)?.is_none() {
        report.notes.push(format!(
            "the index of segment {number} is missing or damaged, and is made again"
        ));
    }
    Ok(())
}

fn unreadable(gap: &Unreadable) -> String {
    match gap.next {
        Some(next) if next > gap.first + 1 => {
            format!("frames {} to {} cannot be read", gap.first, next - 1)
        }
        Some(next) if next == gap.first => {
            "a frame that was there before is there again".to_owned()
        }
        Some(_) => format!("frame {} cannot be read", gap.first),
        None => format!("frame {} and what follows it cannot be read", gap.first),
    }
}

/// What was found in a segment.
#[derive(Debug, Default)]
struct Found {
    frames: u64,
    /// The messages that can be read.
    messages: u64,
    /// Place and number of frames whose batches are damaged, and the number of messages in those.
    damaged: Vec<(u64, u64, u64)>,
    gaps: Vec<Unreadable>,
}

impl Found {
    fn add(&mut self, part: Part) {
        match part {
            Part::Whole(frame) => {
                self.frames += 1;
                self.messages += frame.messages();
            }
            Part::Content { frame, damaged } => {
                let lost = count(&damaged);
                self.messages += frame.messages() - lost;
                self.damaged
                    .push((frame.at as u64, frame.header.number, lost));
            }
            Part::Unreadable(gap) => self.gaps.push(gap),
            Part::Torn => {}
        }
    }

    /// Says how many messages each gap held, as far as it can be told from the number of all messages.
    fn counts(&self, total: Option<u64>) -> Vec<String> {
        let known = self.messages + self.damaged.iter().map(|(_, _, lost)| lost).sum::<u64>();
        let lost = total.map(|total| total.saturating_sub(known));
        let said = |_: &Unreadable| match (lost, self.gaps.len()) {
            (Some(lost), 1) => messages(lost),
            (Some(lost), _) => format!("{} in all such places of it", messages(lost)),
            (None, _) => "an unknown number of messages".to_owned(),
        };
        self.gaps.iter().map(said).collect()
    }
}
