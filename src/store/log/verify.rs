//! Reading what was stored long ago, so that damage is found before it is read.
//!
//! Opening a log that was closed well reads no messages. So the store reads its sealed segments in the background, newest
//! first, at a rate that leaves the disk to others, and again every week. What it finds goes to the log, the metrics and
//! [`Store::damage`](super::super::Store::damage). A damaged batch is not delivered, and everything else is.

use std::{
    io,
    time::{Duration, Instant},
};

use super::{
    super::catalog::TopicId,
    format::{BatchRecord, SegmentEntry},
    load::{self, Problem},
    shared::{Health, Shared},
    walk::{Part, Walk},
};
use crate::{TopicName, metrics};

/// Bytes that are verified at a time, at least.
const STEP: u64 = 1 << 20;

/// The time from the end of one pass to the next.
const AGAIN: Duration = Duration::from_secs(7 * 24 * 3600);

/// Verifies sealed segments, a step at a time.
#[derive(Debug)]
pub(super) struct Verifier {
    /// Bytes a second.
    rate: u64,
    /// When the next step is due.
    due: Instant,
    /// Segments of this pass, the newest last.
    left: Vec<SegmentEntry>,
    current: Option<(SegmentEntry, Walk)>,
}

impl Verifier {
    /// Begins a pass at `now`, with `rate` bytes a second.
    pub(super) fn new(shared: &Shared, rate: u64, now: Instant) -> Self {
        Self {
            rate: rate.max(1),
            due: now,
            left: segments(shared),
            current: None,
        }
    }

    /// Returns how long it is until the next step.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        self.due.saturating_duration_since(now)
    }

    /// Does what is due.
    pub(super) fn run(&mut self, shared: &Shared, now: Instant) {
        if now < self.due || matches!(shared.state().health, Health::Closed) {
            return;
        }
        if self.current.is_none() && self.left.is_empty() {
            self.left = segments(shared);
        }
        let bytes = self.step(shared);
        let took = Duration::from_secs_f64(bytes as f64 / self.rate as f64);
        let is_over = self.current.is_none() && self.left.is_empty();
        self.due = now + if is_over { AGAIN } else { took };
    }

    /// Verifies about [`STEP`] bytes, and returns how many it was: 0 at the end of a pass.
    fn step(&mut self, shared: &Shared) -> u64 {
        let mut bytes = 0;
        while bytes < STEP {
            let (entry, mut walk) = match self.current.take() {
                Some(current) => current,
                None => match self.left.pop().map(|entry| (entry, begin(shared, &entry))) {
                    Some((entry, Ok(walk))) => (entry, walk),
                    Some((entry, Err(problem))) => {
                        failed(shared, &entry, problem);
                        continue;
                    }
                    None => break,
                },
            };
            let before = walk.at();
            match walk.part() {
                Ok(Some(part)) => {
                    report(shared, &entry, part);
                    bytes += walk.at() - before;
                    self.current = Some((entry, walk));
                }
                Ok(None) => {}
                Err(error) => failed(shared, &entry, error.into()),
            }
        }
        metrics::store::verified(bytes);
        bytes
    }
}

impl Shared {
    /// Verifies all sealed segments in the calling thread.
    pub(super) fn verify(&self, now: Instant) {
        let mut verifier = Verifier::new(self, 1, now);
        while verifier.step(self) > 0 {}
    }
}

/// Returns the sealed segments, the oldest first.
fn segments(shared: &Shared) -> Vec<SegmentEntry> {
    let manifest = shared.lock_manifest();
    let sealed = manifest
        .segments
        .iter()
        .filter(|entry| entry.sealed.is_some());
    sealed.copied().collect()
}

fn begin(shared: &Shared, entry: &SegmentEntry) -> Result<Walk, Problem> {
    let (file, header, _) = load::header(&*shared.disk, shared.log, entry)?;
    let seal = entry.sealed.unwrap_or_default();
    let first = if entry.compacted { 0 } else { seal.first };
    Ok(Walk::new(file, header.salt, (seal.end, true), first)?)
}

fn report(shared: &Shared, entry: &SegmentEntry, part: Part) {
    match part {
        Part::Whole(_) | Part::Torn => {}
        Part::Content { damaged, .. } => {
            damaged.iter().for_each(|batch| batch_is_bad(shared, batch))
        }
        Part::Unreadable(gap) => place_is_bad(
            shared,
            &format!(
                "segment {} cannot be read from byte {} to {}",
                entry.number,
                gap.at,
                gap.at + gap.bytes
            ),
        ),
    }
}

fn batch_is_bad(shared: &Shared, batch: &BatchRecord) {
    if let Some(name) = name_of(shared, batch) {
        shared.found_damaged(&name, batch.base, batch.count);
    }
}

/// Returns the topic of a batch; `None` if the batch has been trimmed.
fn name_of(shared: &Shared, batch: &BatchRecord) -> Option<TopicName> {
    let state = shared.state();
    let id: TopicId = batch.topic;
    let (name, topic) = state.catalog.topics().find(|(_, topic)| topic.id == id)?;
    let end = batch.base.0.saturating_add(batch.count.into());
    (end > topic.first.0).then(|| name.clone())
}

fn place_is_bad(shared: &Shared, place: &str) {
    if shared.state().damage.add_place(place) {
        tracing::error!("{place}");
    }
}

/// Notes why a segment could not be verified, unless it is no part of the log any more.
fn failed(shared: &Shared, entry: &SegmentEntry, problem: Problem) {
    let (number, generation) = (entry.number, entry.generation);
    let is_there = {
        let manifest = shared.lock_manifest();
        let mut segments = manifest.segments.iter();
        segments.any(|known| (known.number, known.generation) == (number, generation))
    };
    if !is_there {
        return;
    }
    match problem {
        Problem::Damaged(why) => place_is_bad(shared, &why),
        Problem::Io(error) if error.kind() == io::ErrorKind::Interrupted => {}
        Problem::Io(error) => {
            place_is_bad(shared, &format!("segment {number} cannot be read: {error}"))
        }
    }
}
