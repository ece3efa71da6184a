//! Opening and closing a log.

use std::{
    collections::{HashSet, VecDeque},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    super::{
        StoreError,
        catalog::{Topic, TopicId, first_producer},
    },
    Fsync, LogConfig, OpenError,
    active::{Active, Prepared, Rolled, Writer},
    damage::Damage,
    data_dir::DataDir,
    disk::{Disk, RealDisk, replace},
    files::{Name, OpenFiles, read_block},
    format::{self, EndMark, IndexKey, Manifest, Seal, SegmentEntry},
    index::{Index, SegmentState},
    load::{self, Problem},
    mark::{self, Marker},
    read::Missing,
    recover::{self, OpenSegment, Recovered},
    replay::Replay,
    segments::{make_segment, write_index},
    shared::{Health, Shared, State},
    work::Work,
};
use crate::{TopicName, time};

impl Shared {
    /// Opens the folder at `path`.
    pub(super) fn open(path: PathBuf, config: LogConfig) -> Result<Self, OpenError> {
        let mut dir = DataDir::take(path)?;
        let folder = dir.path().to_path_buf();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(&folder));
        let complete = dir.complete;
        let mut shared = Self::open_on(disk, config, complete).map_err(|e| error(&folder, e))?;
        if !complete {
            dir.write_format().map_err(|e| OpenError::io(&folder, e))?;
        }
        shared.dir = Mutex::new(Some(dir));
        Ok(shared)
    }

    /// Opens the log on `disk`. It must exist if `complete`, and is created otherwise.
    pub(super) fn open_on(
        disk: Arc<dyn Disk>,
        config: LogConfig,
        complete: bool,
    ) -> Result<Self, Problem> {
        let names = disk.list()?;
        let found = load::manifest(&*disk, &names)?;
        let manifest = match found {
            Some(manifest) if complete => manifest,
            None if complete => {
                return load::damaged(
                    "its manifest is missing; without it there is no telling which segments and how many messages belong to the log",
                );
            }
            _ if load::is_unfinished(&*disk, &names)? => create(&*disk, &config, &names)?,
            _ => {
                return load::damaged(
                    "its format file is missing, although segments with messages are there",
                );
            }
        };
        let names = disk.list()?;
        let any_loss = config.fsync == Fsync::Never;
        let (limits, first) = (config.limits.clone(), manifest.first_producer);
        let new = || Replay::new(limits.clone(), first);
        let recovered = recover::recover(&*disk, manifest, &names, any_loss, new)?;
        Self::begin(disk, config, recovered)
    }

    /// Makes a recovered log ready to be written. From here on files are changed.
    fn begin(
        disk: Arc<dyn Disk>,
        config: LogConfig,
        recovered: Recovered,
    ) -> Result<Self, Problem> {
        let Recovered {
            manifest,
            mut replay,
            next,
            link,
            sealed,
            open,
            mark,
            leftovers,
            notes,
        } = recovered;
        notes.iter().for_each(|note| tracing::warn!("{note}"));
        for name in leftovers {
            disk.remove(&name)?;
        }
        if config.fsync == Fsync::Never {
            // What was written without a sync may be lost, so no mark holds.
            mark::remove(&*disk)?;
        }
        let marker = Marker::begin(&*disk, mark)?;
        let log = manifest.log;
        replay.catalog.log = log;
        let start = manifest
            .snapshots
            .last()
            .map_or(0, |snapshot| snapshot.start);
        let mut unsnapshotted = 0;
        for segment in sealed {
            let SegmentEntry {
                number, generation, ..
            } = segment.entry;
            let directory = match segment.directory {
                Some(directory) => directory,
                None => rebuild_index(&*disk, log, &segment.entry, &segment.seal)?,
            };
            if segment.seal.next > start {
                unsnapshotted += segment.seal.end;
            }
            let state = SegmentState {
                generation,
                rows_at: directory.rows_at,
                live: 0,
                batches: 0,
                end: segment.seal.end,
                next: segment.seal.next,
            };
            replay.index.set_segment(number, state);
            for (topic, run) in directory.topics {
                replay.index.push_run(topic, run);
            }
        }
        let (mut rolled, mut unused) = (VecDeque::new(), VecDeque::new());
        for segment in open {
            let number = segment.entry.number;
            if segment.unused {
                unused.push_back(segment);
                continue;
            }
            // One that was never written before one that was: it is sealed as an empty one.
            rolled.extend(
                unused
                    .drain(..)
                    .map(|segment| roll(segment, &mut replay.index)),
            );
            unsnapshotted += segment.seal.end;
            replay.index.add_segment(number, segment.entry.generation);
            for (topic, entry) in &segment.entries {
                replay.index.push(*topic, *entry);
            }
            rolled.push_back(roll(segment, &mut replay.index));
        }
        let files = OpenFiles::new(Arc::clone(&disk), config.open_files);
        settle(&mut replay, &files)?;

        let mut prepared = VecDeque::new();
        for segment in unused {
            let name = format::segment_name(segment.entry.number, segment.entry.generation);
            prepared.push_back(Prepared {
                number: segment.entry.number,
                salt: segment.salt,
                len: segment.len,
                file: disk.open(&name)?,
            });
        }
        let state = State {
            catalog: replay.catalog,
            index: replay.index,
            health: Health::Ready,
            no_room: None,
            in_doubt: Vec::new(),
            rolled,
            end: EndMark {
                log,
                next,
                link,
                segment: 0,
                end: 0,
                messages: 0,
            },
            damage: Damage::default(),
            unsnapshotted,
        };
        let first = prepared.pop_front();
        let shared = Self {
            files,
            log,
            writer: Mutex::new(Writer::new(next, link)),
            manifest: Mutex::new(manifest),
            state: Mutex::new(state),
            positions: Mutex::default(),
            work: Work::new(prepared.pop_front()),
            marker: Mutex::new(marker),
            dir: Mutex::new(None),
            config,
            disk,
        };
        // An error is the state that the store begins with, and says.
        let _ = shared.check_room();
        // Before anything is written behind them: their ends are known now, and must be on disk.
        shared.seal_rolled()?;
        let first = match first {
            Some(first) => first,
            None => shared.take_prepared()?,
        };
        let active = Active::new(first, next, link);
        let mut state = shared.state();
        state.index.add_segment(active.number, 0);
        state.end = active.end(log, next, link);
        drop(state);
        shared.lock_writer().active = Some(active);
        Ok(shared)
    }

    /// Writes what is outstanding, seals the log, takes a snapshot, and lets go of the folder.
    pub(super) fn close(&self) -> Result<(), StoreError> {
        let mut writer = self.lock_writer();
        let before = std::mem::replace(&mut self.state().health, Health::Closed);
        let done = match before {
            Health::Closed => return Ok(()),
            // What is on disk is not known; the next opening will tell.
            Health::Refusing { .. } => Ok(()),
            Health::Ready => self.finish(&mut writer),
        };
        writer.active = None;
        self.work.clear();
        self.files.close_all();
        *self.dir.lock().unwrap_or_else(PoisonError::into_inner) = None;
        done
    }

    fn finish(&self, writer: &mut Writer) -> Result<(), StoreError> {
        let failed = |why: &dyn ToString| StoreError::Failed(why.to_string());
        self.flush_pending(writer).map_err(|e| failed(&e.why()))?;
        if let Some(active) = writer.active.take_if(|active| active.has_frames()) {
            if !self.syncs() {
                active.file.sync().map_err(|e| failed(&e))?;
            }
            self.state()
                .rolled
                .push_back(active.roll(writer.next, writer.link));
        }
        self.seal_rolled().map_err(|e| failed(&e))?;
        if self.state().unsnapshotted > 0 {
            self.snapshot().map_err(|e| failed(&e))?;
        }
        Ok(())
    }
}

fn roll(segment: OpenSegment, index: &mut Index) -> Rolled {
    let number = segment.entry.number;
    index.add_segment(number, segment.entry.generation);
    index.seal(number, segment.seal.end, segment.seal.next);
    Rolled {
        number,
        seal: segment.seal,
        entries: segment.entries,
    }
}

/// Creates an empty log, removing what is left of an earlier attempt.
fn create(disk: &dyn Disk, config: &LogConfig, names: &[String]) -> Result<Manifest, Problem> {
    for name in names {
        let ours = name == "manifest"
            || name == "end"
            || [".seg", ".idx", ".new"]
                .iter()
                .any(|end| name.ends_with(end));
        if ours {
            disk.remove(name)?;
        }
    }
    let log = fastrand::u64(..);
    make_segment(disk, (log, 1, 0), config.segment_bytes())?;
    let manifest = Manifest {
        generation: 1,
        log,
        first_producer: first_producer(time::unix_time()),
        snapshots: Vec::new(),
        segments: vec![SegmentEntry {
            number: 1,
            generation: 0,
            compacted: false,
            sealed: None,
            len: config.segment_bytes(),
        }],
    };
    replace(disk, "manifest", &manifest.encode())?;
    Ok(manifest)
}

/// Writes the index of a sealed segment again, from the segment.
fn rebuild_index(
    disk: &dyn Disk,
    log: u64,
    entry: &SegmentEntry,
    seal: &Seal,
) -> Result<format::Directory, Problem> {
    let mut entries = Vec::new();
    recover::check_sealed(disk, log, entry, seal, |frame| {
        entries.extend(recover::entries_of(&frame, entry.number));
        Ok(())
    })?;
    let key = IndexKey {
        log,
        number: entry.number,
        generation: entry.generation,
    };
    Ok(write_index(disk, key, entries)?)
}

/// Drops from the index what was trimmed, and sets what the index says of each topic.
fn settle(replay: &mut Replay, files: &OpenFiles) -> Result<(), Problem> {
    let topics: Vec<(TopicName, Topic)> = replay.topics();
    // What is in old segments of topics that are deleted.
    let known: HashSet<TopicId> = topics.iter().map(|(_, topic)| topic.id).collect();
    let deleted = replay.index.topic_ids().filter(|id| !known.contains(id));
    for topic in deleted.collect::<Vec<_>>() {
        replay.index.drop_topic(topic);
    }
    for (name, topic) in topics {
        while let Some(run) = replay.index.drop_before(topic.id, topic.first.0) {
            let Some(segment) = replay.index.segment(run.segment) else {
                break;
            };
            let file = files.get(Name::Index(run.segment, segment.generation))?;
            let block = read_block(&*file, (run.segment, segment.rows_at), run.first_row)?;
            let Some((first, rows)) = block else {
                return load::damaged(format!(
                    "the index of segment {} does not match its checksum; remove it, and it is made again",
                    run.segment
                ));
            };
            let from = (run.first_row - first) as usize;
            let rows = rows.iter().skip(from).take(run.rows as usize);
            let gone: Vec<_> = rows
                .clone()
                .take_while(|e| e.end() <= topic.first.0)
                .collect();
            let Some(last) = gone.last() else {
                break;
            };
            let count = u32::try_from(gone.len()).unwrap_or(u32::MAX);
            let bytes = gone.iter().map(|entry| u64::from(entry.len)).sum();
            let base = last.end();
            replay.index.drop_oldest(topic.id, count, bytes, base);
        }
        replay.settle(&name, topic).map_err(Problem::Damaged)?;
    }
    Ok(())
}

/// Returns a problem as the error of an opening.
pub(super) fn error(folder: &Path, problem: Problem) -> OpenError {
    match problem {
        Problem::Io(error) => OpenError::io(folder, error),
        Problem::Damaged(why) => OpenError::damaged(folder, why),
    }
}

impl From<Missing> for Problem {
    fn from(missing: Missing) -> Self {
        match missing {
            Missing::Io(error) | Missing::Moved(error) => Self::Io(error),
            Missing::Damaged(why) => Self::Damaged(why),
            Missing::Error(error) => Self::Damaged(error.to_string()),
        }
    }
}
