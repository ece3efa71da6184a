//! Sans-I/O: where the batches of each topic are.
//!
//! Batches of segments that are not indexed yet have an [`Entry`] each, the `tail`. Those of an indexed segment have one
//! [`Run`] for each topic, and their entries are rows of the index file. So memory grows with topics and segments, and not
//! with batches.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::{
    super::catalog::TopicId,
    format::{Entry, Run},
};

/// The batches of all topics.
#[derive(Debug, Default)]
pub(super) struct Index {
    topics: HashMap<TopicId, TopicIndex>,
    segments: BTreeMap<u32, SegmentState>,
}

/// The batches of one topic, oldest first: all runs are older than the tail.
#[derive(Debug, Default)]
struct TopicIndex {
    runs: VecDeque<Run>,
    tail: VecDeque<Entry>,
}

/// A segment as far as reads and retention need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentState {
    pub(super) generation: u32,
    /// The offset in the index file at which its rows begin; 0 for a segment that is not indexed.
    pub(super) rows_at: u64,
    /// The size of the batches in it that have not been trimmed.
    pub(super) live: u64,
    /// The number of these batches.
    pub(super) batches: u64,
    /// The offset after its last frame, for a sealed segment.
    pub(super) end: u64,
    /// The number after that of its last frame, for a sealed segment.
    pub(super) next: u64,
}

/// The oldest batches of a topic from some offset on.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// Rows of an index.
    Rows(Run, SegmentState),
    /// Entries, with the generation of the segment of each.
    Entries(Vec<(Entry, u32)>),
    /// There are none.
    None,
}

impl Index {
    pub(super) fn segment(&self, number: u32) -> Option<SegmentState> {
        self.segments.get(&number).copied()
    }

    pub(super) fn segments(&self) -> impl Iterator<Item = (u32, &SegmentState)> {
        self.segments.iter().map(|(number, state)| (*number, state))
    }

    pub(super) fn set_segment(&mut self, number: u32, state: SegmentState) {
        self.segments.insert(number, state);
    }

    pub(super) fn add_segment(&mut self, number: u32, generation: u32) {
        let state = SegmentState {
            generation,
            rows_at: 0,
            live: 0,
            batches: 0,
            end: 0,
            next: 0,
        };
        self.segments.entry(number).or_insert(state);
    }

    pub(super) fn remove_segment(&mut self, number: u32) {
        self.segments.remove(&number);
    }

    pub(super) fn seal(&mut self, number: u32, end: u64, next: u64) {
        if let Some(segment) = self.segments.get_mut(&number) {
            (segment.end, segment.next) = (end, next);
        }
    }

    /// Adds a batch at the end of a topic.
    pub(super) fn push(&mut self, topic: TopicId, entry: Entry) {
        self.topics.entry(topic).or_default().tail.push_back(entry);
        self.add_live(entry.segment, entry.len.into(), 1);
    }

    /// Adds the run of an indexed segment at the end of a topic.
    pub(super) fn push_run(&mut self, topic: TopicId, run: Run) {
        self.topics.entry(topic).or_default().runs.push_back(run);
        self.add_live(run.segment, run.bytes, run.rows);
    }

    fn add_live(&mut self, segment: u32, bytes: u64, batches: u32) {
        if let Some(segment) = self.segments.get_mut(&segment) {
            segment.live += bytes;
            segment.batches += u64::from(batches);
        }
    }

    fn drop_live(&mut self, segment: u32, bytes: u64, batches: u32) {
        if let Some(segment) = self.segments.get_mut(&segment) {
            segment.live = segment.live.saturating_sub(bytes);
            segment.batches = segment.batches.saturating_sub(batches.into());
        }
    }

    /// Returns the size of the batches of a topic.
    pub(super) fn bytes(&self, topic: TopicId) -> u64 {
        self.topics.get(&topic).map_or(0, |topic| {
            let runs = topic.runs.iter().map(|run| run.bytes);
            let tail = topic.tail.iter().map(|entry| u64::from(entry.len));
            runs.chain(tail).sum()
        })
    }

    /// Returns the first and the next offset of the batches of a topic.
    pub(super) fn range(&self, topic: TopicId) -> Option<(u64, u64)> {
        let topic = self.topics.get(&topic)?;
        let first = topic.runs.front().map(|run| run.base);
        let first = first.or_else(|| topic.tail.front().map(|entry| entry.base))?;
        let next = topic.tail.back().map(Entry::end);
        let next = next.or_else(|| topic.runs.back().map(|run| run.end))?;
        Some((first, next))
    }

    /// Returns the batches from the one that contains `from` on, or the oldest after it: those of one segment, or entries of
    /// about `max_bytes` and at most `max` of them.
    pub(super) fn find(&self, topic: TopicId, from: u64, max: usize, max_bytes: usize) -> Place {
        let Some(topic) = self.topics.get(&topic) else {
            return Place::None;
        };
        let at = topic.runs.partition_point(|run| run.end <= from);
        if let Some(run) = topic.runs.get(at) {
            return match self.segment(run.segment) {
                Some(state) => Place::Rows(*run, state),
                None => Place::None,
            };
        }
        let at = topic.tail.partition_point(|entry| entry.end() <= from);
        let mut bytes = 0usize;
        let entries = topic.tail.range(at..).take(max).take_while(|entry| {
            let fits = bytes <= max_bytes;
            bytes = bytes.saturating_add(entry.len as usize);
            fits
        });
        let entries = entries.filter_map(|e| Some((*e, self.segment(e.segment)?.generation)));
        let entries: Vec<_> = entries.collect();
        match entries.is_empty() {
            true => Place::None,
            false => Place::Entries(entries),
        }
    }

    /// Drops the oldest `count` batches of a topic, of `bytes` bytes, which are entries of the tail or rows of the first
    /// run. `base` is the offset of the batch after them.
    pub(super) fn drop_oldest(&mut self, topic: TopicId, count: u32, bytes: u64, base: u64) {
        let Some(of_topic) = self.topics.get_mut(&topic) else {
            return;
        };
        if let Some(run) = of_topic.runs.front_mut() {
            let segment = run.segment;
            run.first_row += count;
            run.rows = run.rows.saturating_sub(count);
            run.bytes = run.bytes.saturating_sub(bytes);
            run.base = base;
            if run.rows == 0 {
                of_topic.runs.pop_front();
            }
            self.drop_live(segment, bytes, count);
        } else {
            for _ in 0..count {
                let tail = self.topics.get_mut(&topic).map(|topic| &mut topic.tail);
                let Some(entry) = tail.and_then(VecDeque::pop_front) else {
                    break;
                };
                self.drop_live(entry.segment, entry.len.into(), 1);
            }
            if let Some(of_topic) = self.topics.get_mut(&topic) {
                shrink(&mut of_topic.tail);
            }
        }
    }

    /// Replaces the entries of a segment by the runs of its index. To be called in the order of the segments. Entries that
    /// were trimmed meanwhile leave their rows at the front of the run unused.
    pub(super) fn set_indexed(&mut self, number: u32, rows_at: u64, topics: &[(TopicId, Run)]) {
        for (topic, run) in topics {
            let Some(topic) = self.topics.get_mut(topic) else {
                continue;
            };
            let left = topic.tail.partition_point(|entry| entry.segment <= number);
            let left: Vec<Entry> = topic.tail.drain(..left).collect();
            shrink(&mut topic.tail);
            if left.is_empty() {
                continue;
            }
            let mut kept = Run::of(number, 0, &left);
            kept.first_row = run.first_row + run.rows.saturating_sub(kept.rows);
            topic.runs.push_back(kept);
        }
        if let Some(segment) = self.segments.get_mut(&number) {
            segment.rows_at = rows_at;
        }
    }

    /// Replaces the runs of a segment by those of its compacted version. Rows that were trimmed meanwhile are left out.
    pub(super) fn set_compacted(
        &mut self,
        number: u32,
        (generation, rows_at, end): (u32, u64, u64),
        topics: &[(TopicId, Run)],
    ) {
        for (topic, new) in topics {
            let Some(topic) = self.topics.get_mut(topic) else {
                continue;
            };
            if let Some(run) = topic.runs.iter_mut().find(|run| run.segment == number) {
                run.first_row = new.first_row + new.rows.saturating_sub(run.rows);
            }
        }
        if let Some(segment) = self.segments.get_mut(&number) {
            (segment.generation, segment.rows_at, segment.end) = (generation, rows_at, end);
        }
    }

    /// Returns the time and the end of the first batch of a topic, or of the first run, that is after `end` and has no time
    /// after `now`.
    pub(super) fn believed_after(&self, topic: TopicId, end: u64, now: u64) -> Option<(u64, u64)> {
        let topic = self.topics.get(&topic)?;
        let runs = topic.runs.iter().map(|run| (run.newest, run.end));
        let tail = topic.tail.iter().map(|entry| (entry.time, entry.end()));
        runs.chain(tail)
            .find(|(time, until)| *until > end && *time <= now)
    }

    /// Returns all topics that have batches.
    pub(super) fn topic_ids(&self) -> impl Iterator<Item = TopicId> {
        self.topics.keys().copied()
    }

    /// Drops all batches of a topic.
    pub(super) fn drop_topic(&mut self, topic: TopicId) {
        let Some(topic) = self.topics.remove(&topic) else {
            return;
        };
        for run in topic.runs {
            self.drop_live(run.segment, run.bytes, run.rows);
        }
        for entry in topic.tail {
            self.drop_live(entry.segment, entry.len.into(), 1);
        }
    }

    /// Returns the topics that have batches in an indexed segment, with their runs.
    pub(super) fn runs_of(&self, number: u32) -> Vec<(TopicId, Run)> {
        let found = self.topics.iter().filter_map(|(id, topic)| {
            let run = topic.runs.iter().find(|run| run.segment == number)?;
            Some((*id, *run))
        });
        let mut found: Vec<_> = found.collect();
        found.sort_unstable_by_key(|(id, _)| *id);
        found
    }

    /// Drops everything before `first` in a topic, as far as it is whole runs or entries. Used while the log is opened.
    pub(super) fn drop_before(&mut self, topic: TopicId, first: u64) -> Option<Run> {
        loop {
            let of_topic = self.topics.get(&topic)?;
            let (count, bytes, end) = match (of_topic.runs.front(), of_topic.tail.front()) {
                (Some(run), _) if run.end <= first => (run.rows, run.bytes, run.end),
                (Some(run), _) => return (run.base < first).then_some(*run),
                (None, Some(entry)) if entry.end() <= first => (1, entry.len.into(), entry.end()),
                _ => return None,
            };
            self.drop_oldest(topic, count, bytes, end);
        }
    }
}

fn shrink(tail: &mut VecDeque<Entry>) {
    if tail.capacity() > 64 && tail.len() < tail.capacity() / 4 {
        tail.shrink_to(tail.len() * 2);
    }
}
