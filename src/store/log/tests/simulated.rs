//! A simulated disk under the whole store: what was not synced may be there or not, sector by sector, after a crash, and writes
//! and syncs fail.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io::{self, ErrorKind},
    sync::{Mutex, MutexGuard},
};

use super::{
    super::{
        disk::{Disk, DiskFile},
        shared::Shared,
        *,
    },
    *,
};

const SECTOR: usize = 512;

/// A disk in memory.
#[derive(Debug, Default)]
pub(super) struct SimDisk(Mutex<Sim>);

#[derive(Debug, Default)]
struct Sim {
    /// What the system shows.
    names: BTreeMap<String, usize>,
    /// What is durable.
    synced_names: BTreeMap<String, usize>,
    /// Changes of names since the last sync of the folder, in order.
    changes: Vec<(String, Option<usize>)>,
    files: Vec<SimContent>,
    faults: Faults,
    watch: Option<Watch>,
}

/// Keeps the disk as it is before some of its operations.
#[derive(Debug)]
struct Watch {
    rng: fastrand::Rng,
    answered: usize,
    points: Vec<CrashPoint>,
    /// How often each kind of operation was met.
    met: BTreeMap<String, u64>,
}

/// The disk after a crash before one of its operations.
#[derive(Debug)]
pub(super) struct CrashPoint {
    pub(super) operation: String,
    /// The number of appends that were answered before.
    pub(super) answered: usize,
    pub(super) disk: Arc<SimDisk>,
}

/// When the disk fails. Each counts down, and the operation fails when it comes to 0.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Faults {
    pub(super) sync: Option<u32>,
    pub(super) write: Option<u32>,
    pub(super) create: Option<u32>,
}

#[derive(Debug, Clone, Default)]
struct SimContent {
    shown: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors that were written since the last sync.
    dirty: BTreeSet<usize>,
}

impl SimContent {
    fn sector(content: &[u8], sector: usize) -> [u8; SECTOR] {
        let mut found = [0; SECTOR];
        let from = (sector * SECTOR).min(content.len());
        let bytes = &content[from..content.len().min(from + SECTOR)];
        found[..bytes.len()].copy_from_slice(bytes);
        found
    }

    fn persist(&mut self, sector: usize) {
        let bytes = Self::sector(&self.shown, sector);
        let end = (sector + 1) * SECTOR;
        if self.durable.len() < end.min(self.shown.len()) {
            self.durable.resize(end.min(self.shown.len()), 0);
        }
        let from = (sector * SECTOR).min(self.durable.len());
        let to = self.durable.len().min(end);
        self.durable[from..to].copy_from_slice(&bytes[..to - from]);
    }
}

fn due(count: &mut Option<u32>) -> bool {
    match count {
        Some(0) => {
            *count = None;
            true
        }
        Some(left) => {
            *left -= 1;
            false
        }
        None => false,
    }
}

impl SimDisk {
    fn sim(&self) -> MutexGuard<'_, Sim> {
        self.0.lock().unwrap()
    }

    pub(super) fn set_faults(&self, faults: Faults) {
        self.sim().faults = faults;
    }

    /// Keeps crash points from here on.
    pub(super) fn watch(&self, seed: u64) {
        self.sim().watch = Some(Watch {
            rng: fastrand::Rng::with_seed(seed),
            answered: 0,
            points: Vec::new(),
            met: BTreeMap::new(),
        });
    }

    /// Notes how many appends were answered.
    pub(super) fn answered(&self, count: usize) {
        if let Some(watch) = &mut self.sim().watch {
            watch.answered = count;
        }
    }

    /// Returns the crash points, and keeps no more.
    pub(super) fn points(&self) -> Vec<CrashPoint> {
        self.sim()
            .watch
            .take()
            .map_or_else(Vec::new, |watch| watch.points)
    }

    /// An operation is about to be done. The first ones of each kind are crash points, and one of some later.
    fn before(&self, verb: &str, name: &str) {
        let (mut rng, operation) = {
            let mut sim = self.sim();
            let Some(watch) = &mut sim.watch else { return };
            let kind = match name.trim_end_matches(".new") {
                "" => "",
                "manifest" => " manifest",
                "end" => " end",
                name if name.ends_with(".seg") && !name.contains(".0000.") => " compacted",
                name => name.rfind('.').map_or(" other", |at| match &name[at..] {
                    ".seg" => " .seg",
                    ".idx" => " .idx",
                    ".snap" => " .snap",
                    _ => " other",
                }),
            };
            let operation = format!("{verb}{kind}");
            let met = watch.met.entry(operation.clone()).or_default();
            *met += 1;
            if *met > 6 && watch.rng.u8(0..40) > 0 {
                return;
            }
            (watch.rng.fork(), operation)
        };
        let disk = match rng.bool() {
            true => self.killed(),
            false => self.crashed(&mut rng),
        };
        disk.forget_unnamed();
        if let Some(watch) = &mut self.sim().watch {
            let answered = watch.answered;
            watch.points.push(CrashPoint {
                operation,
                answered,
                disk,
            });
        }
    }

    /// Frees the content of files that have no name any more.
    fn forget_unnamed(&self) {
        let mut sim = self.sim();
        let named: BTreeSet<usize> = sim.names.values().copied().collect();
        for (at, content) in sim.files.iter_mut().enumerate() {
            if !named.contains(&at) {
                *content = SimContent::default();
            }
        }
    }

    /// Returns the disk after a crash of the system: of what was not synced, a random part.
    pub(super) fn crashed(&self, rng: &mut fastrand::Rng) -> Arc<Self> {
        let sim = self.sim();
        let mut names = sim.synced_names.clone();
        for (name, to) in &sim.changes {
            if rng.bool() {
                match to {
                    Some(file) => drop(names.insert(name.clone(), *file)),
                    None => drop(names.remove(name)),
                }
            }
        }
        let mut after = Sim {
            names: names.clone(),
            synced_names: names,
            files: sim.files.clone(),
            ..Sim::default()
        };
        for content in &mut after.files {
            let all = rng.u8(0..4);
            for sector in std::mem::take(&mut content.dirty) {
                if all == 0 || (all < 3 && rng.bool()) {
                    content.persist(sector);
                }
            }
            if content.durable.len() != content.shown.len() && rng.bool() {
                content.durable.resize(content.shown.len(), 0);
            }
            content.shown = content.durable.clone();
        }
        Arc::new(Self(Mutex::new(after)))
    }

    /// Returns the disk after the process was killed: all that was written is there.
    pub(super) fn killed(&self) -> Arc<Self> {
        let sim = self.sim();
        let mut after = Sim {
            names: sim.names.clone(),
            synced_names: sim.names.clone(),
            files: sim.files.clone(),
            ..Sim::default()
        };
        for content in &mut after.files {
            content.durable = content.shown.clone();
            content.dirty.clear();
        }
        Arc::new(Self(Mutex::new(after)))
    }

    /// Returns all files with their content.
    pub(super) fn content(&self) -> BTreeMap<String, Vec<u8>> {
        let sim = self.sim();
        let names = sim.names.iter();
        names
            .map(|(name, file)| (name.clone(), sim.files[*file].shown.clone()))
            .collect()
    }

    /// Returns a disk with these files.
    pub(super) fn with(content: &BTreeMap<String, Vec<u8>>) -> Arc<Self> {
        let mut sim = Sim::default();
        for (name, bytes) in content {
            sim.names.insert(name.clone(), sim.files.len());
            sim.files.push(SimContent {
                shown: bytes.clone(),
                durable: bytes.clone(),
                dirty: BTreeSet::new(),
            });
        }
        sim.synced_names = sim.names.clone();
        Arc::new(Self(Mutex::new(sim)))
    }
}

/// A disk that can be shared with its files.
#[derive(Debug)]
pub(super) struct Mounted(pub(super) Arc<SimDisk>);

impl Disk for Mounted {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.sim().names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.0.sim().names.get(name).copied();
        let file = file.ok_or(ErrorKind::NotFound)?;
        Ok(Arc::new(SimFile(Arc::clone(&self.0), file)))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.0.before("create", name);
        let mut sim = self.0.sim();
        if due(&mut sim.faults.create) {
            return Err(ErrorKind::StorageFull.into());
        }
        let file = sim.files.len();
        sim.files.push(SimContent::default());
        sim.names.insert(name.to_owned(), file);
        sim.changes.push((name.to_owned(), Some(file)));
        drop(sim);
        Ok(Arc::new(SimFile(Arc::clone(&self.0), file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.before("rename", to);
        let mut sim = self.0.sim();
        let file = sim.names.remove(from).ok_or(ErrorKind::NotFound)?;
        sim.names.insert(to.to_owned(), file);
        sim.changes.push((to.to_owned(), Some(file)));
        sim.changes.push((from.to_owned(), None));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.before("remove", name);
        let mut sim = self.0.sim();
        sim.names.remove(name).ok_or(ErrorKind::NotFound)?;
        sim.changes.push((name.to_owned(), None));
        Ok(())
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.0.before("sync folder", "");
        let mut sim = self.0.sim();
        if due(&mut sim.faults.sync) {
            return Err(io::Error::other("injected"));
        }
        sim.synced_names = sim.names.clone();
        sim.changes.clear();
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

#[derive(Debug)]
struct SimFile(Arc<SimDisk>, usize);

impl SimFile {
    fn with<T>(&self, f: impl FnOnce(&mut SimContent) -> T) -> T {
        f(&mut self.0.sim().files[self.1])
    }
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.with(|content| content.shown.len() as u64))
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        self.with(|content| {
            let at = at as usize;
            let found = content.shown.get(at..at + bytes.len());
            bytes.copy_from_slice(found.ok_or(ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn write_at(&self, mut bytes: &[u8], at: u64) -> io::Result<()> {
        self.0.before("write", "");
        let fails = due(&mut self.0.sim().faults.write);
        let at = at as usize;
        if fails {
            // A part of it was taken, up to the end of a sector.
            let end = (at + bytes.len() / 2) / SECTOR * SECTOR;
            bytes = &bytes[..end.saturating_sub(at)];
        }
        self.with(|content| {
            if content.shown.len() < at + bytes.len() {
                content.shown.resize(at + bytes.len(), 0);
            }
            content.shown[at..at + bytes.len()].copy_from_slice(bytes);
            if !bytes.is_empty() {
                content
                    .dirty
                    .extend(at / SECTOR..=(at + bytes.len() - 1) / SECTOR);
            }
        });
        match fails {
            true => Err(ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.0.before("sync", "");
        let fails = due(&mut self.0.sim().faults.sync);
        self.with(|content| {
            let dirty = std::mem::take(&mut content.dirty);
            if fails {
                // Every other sector is lost, and the system shows what it should be for as long as it is cached.
                dirty
                    .iter()
                    .step_by(2)
                    .for_each(|sector| content.persist(*sector));
                return Err(io::Error::other("injected"));
            }
            dirty.iter().for_each(|sector| content.persist(*sector));
            content.durable.resize(content.shown.len(), 0);
            Ok(())
        })
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.with(|content| {
            if content.shown.len() < len as usize {
                content.shown.resize(len as usize, 0);
            }
            Ok(())
        })
    }

    fn shrink(&self, len: u64) -> io::Result<()> {
        self.0.before("shrink", "");
        self.with(|content| {
            content.shown.truncate(len as usize);
            Ok(())
        })
    }

    fn will_need(&self, _: u64, _: u64) {}

    fn drop_cache(&self) {
        self.with(|content| {
            let sectors = content.shown.len().div_ceil(SECTOR);
            for sector in (0..sectors).filter(|s| !content.dirty.contains(s)) {
                let (from, to) = (
                    sector * SECTOR,
                    ((sector + 1) * SECTOR).min(content.shown.len()),
                );
                let bytes = SimContent::sector(&content.durable, sector);
                content.shown[from..to].copy_from_slice(&bytes[..to - from]);
            }
        });
    }
}

/// Opens a store without a thread of its own: it does its maintenance between the calls.
pub(super) fn open_simulated(disk: &Arc<SimDisk>, complete: bool) -> Result<LogStore, String> {
    let config = LogConfig {
        segment_bytes: 64 << 10,
        retry_after: Duration::ZERO,
        min_free_bytes: 0,
        ..LogConfig::default()
    };
    let disk = Arc::new(Mounted(Arc::clone(disk)));
    match Shared::open_on(disk, config, complete) {
        Ok(shared) => Ok(LogStore {
            shared: Arc::new(shared),
        }),
        Err(problem) => Err(format!("{problem:?}")),
    }
}

const NAMES: [&str; 3] = ["a", "b", "c"];

/// What is known of a batch that was sent.
#[derive(Debug, Clone)]
struct Sent {
    append: Append,
    /// Its base, if it was answered.
    stored: Option<Offset>,
}

/// A store on a simulated disk, and all that was sent to it.
struct World {
    rng: fastrand::Rng,
    disk: Arc<SimDisk>,
    store: LogStore,
    producer: ProducerId,
    sent: Vec<Sent>,
    /// The offsets before which a topic was trimmed.
    trimmed: HashMap<TopicName, Offset>,
    /// Positions: the last one that was answered, and those that may be.
    positions: HashMap<TopicName, (Option<Offset>, Vec<Offset>)>,
    failures: usize,
    openings: usize,
}

impl World {
    async fn new(seed: u64) -> Self {
        let disk = Arc::new(SimDisk::default());
        let store = open_simulated(&disk, false).unwrap();
        let producer = producer(&store, "p").await;
        Self {
            rng: fastrand::Rng::with_seed(seed),
            disk,
            store,
            producer,
            sent: Vec::new(),
            trimmed: HashMap::new(),
            positions: HashMap::new(),
            failures: 0,
            openings: 1,
        }
    }

    async fn append(&mut self) {
        let mut group = Vec::new();
        // What was not answered comes again first, as a producer does it.
        let first = self
            .sent
            .iter()
            .rposition(|sent| sent.stored.is_some())
            .map_or(0, |at| at + 1);
        let in_doubt = first..self.sent.len();
        for _ in 0..self.rng.usize(1..5) {
            let request = self.sent.len() as u64;
            let len = match self.rng.u8(0..10) {
                0 => self.rng.usize(0..40_000),
                1 => 0,
                _ => self.rng.usize(0..2_000),
            };
            // Zeros look like a sector that was not written.
            let byte = if self.rng.u8(0..3) == 0 {
                0
            } else {
                self.rng.u8(..)
            };
            self.sent.push(Sent {
                append: Append {
                    batch: encoded(&vec![byte; len]),
                    ..batch(
                        self.producer,
                        request,
                        NAMES[self.rng.usize(0..3)],
                        self.rng.u32(1..4),
                    )
                },
                stored: None,
            });
        }
        let from = if in_doubt.is_empty() {
            first
        } else {
            in_doubt.start
        };
        group.extend(self.sent[from..].iter().map(|sent| sent.append.clone()));
        let answers = self.store.append(group).await;
        for (sent, answer) in self.sent[from..].iter_mut().zip(answers) {
            match answer {
                Ok(answer) => sent.stored = Some(answer.base),
                Err(StoreError::Failed(_)) => self.failures += 1,
                Err(StoreError::Refuses(_) | StoreError::AfterRejected) => {}
                Err(error) => panic!("{error}"),
            }
        }
        // Of a group, all or nothing is answered.
        let answered = self.sent[from..]
            .iter()
            .filter(|sent| sent.stored.is_some())
            .count();
        assert!(answered == 0 || answered == self.sent.len() - from);
    }

    async fn trim(&mut self) {
        let name = topic(NAMES[self.rng.usize(0..3)]);
        let trim = Trim {
            max_bytes: Some(self.rng.u64(0..30_000)),
            ..Trim::default()
        };
        if self.store.trim(&name, trim).await.is_ok() {
            let first = self.store.topic(&name).await.unwrap().unwrap().first;
            self.trimmed.insert(name, first);
        }
    }

    async fn set_position(&mut self) {
        let name = topic(NAMES[self.rng.usize(0..3)]);
        let next = Offset(self.rng.u64(0..1000));
        let known = self.positions.entry(name.clone()).or_default();
        match self.store.set_position(&name, "r", next).await {
            Ok(()) => *known = (Some(next), Vec::new()),
            Err(StoreError::Failed(_)) => known.1.push(next),
            Err(_) => {}
        }
    }

    async fn reopen(&mut self, seed: u64) {
        let disk = match self.rng.u8(0..5) {
            0 => self.disk.killed(),
            1 => {
                let _ = self.store.close().await;
                self.disk.killed()
            }
            2 => {
                let _ = self.store.close().await;
                self.disk.crashed(&mut self.rng)
            }
            _ => self.disk.crashed(&mut self.rng),
        };
        self.disk = disk;
        self.store =
            open_simulated(&self.disk, true).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        self.openings += 1;
        self.holds(seed).await;
    }

    /// Checks that all that was answered is there, and nothing that was not sent.
    async fn holds(&mut self, seed: u64) {
        for name in NAMES {
            let name = topic(name);
            let read = self
                .store
                .read(&name, Offset(0), usize::MAX)
                .await
                .unwrap_or_default();
            let of_topic = self.sent.iter().filter(|sent| sent.append.topic == name);
            let trimmed = self.trimmed.get(&name).copied().unwrap_or_default();
            let read: HashMap<Offset, StoredBatch> =
                read.into_iter().map(|b| (b.base, b)).collect();
            let mut known = 0;
            for sent in of_topic {
                let Some(base) = sent.stored else { continue };
                match read.get(&base) {
                    Some(found) => {
                        assert_eq!(found.batch, sent.append.batch, "seed {seed}");
                        known += 1;
                    }
                    None => assert!(
                        base < trimmed,
                        "seed {seed}: {name} {base} is lost, which was answered"
                    ),
                }
            }
            let doubt = self
                .sent
                .iter()
                .filter(|s| s.append.topic == name && s.stored.is_none());
            assert!(
                read.len() <= known + doubt.count(),
                "seed {seed}: {name} holds too much"
            );
            if let Some((answered, open)) = self.positions.get_mut(&name) {
                let found = self.store.position(&name, "r").await.unwrap();
                assert!(
                    found == *answered || open.iter().any(|next| found == Some(*next)),
                    "seed {seed}: position {found:?}, answered {answered:?}, perhaps {open:?}"
                );
                (*answered, *open) = (found, Vec::new());
            }
        }
    }
}

async fn history(seed: u64) -> (usize, usize) {
    let mut world = World::new(seed).await;
    for _ in 0..60 {
        match world.rng.u8(0..20) {
            0..10 => world.append().await,
            10..12 => world.trim().await,
            12..14 => world.set_position().await,
            14 => drop(world.store.reclaim().await),
            15..17 => {
                let faults = Faults {
                    sync: (world.rng.u8(0..2) == 0).then(|| world.rng.u32(0..12)),
                    write: (world.rng.u8(0..3) == 0).then(|| world.rng.u32(0..12)),
                    create: (world.rng.u8(0..3) == 0).then(|| world.rng.u32(0..4)),
                };
                world.disk.set_faults(faults);
            }
            _ => {
                world.disk.set_faults(Faults::default());
                world.reopen(seed).await;
            }
        }
    }
    world.disk.set_faults(Faults::default());
    // The disk works again: whatever was not answered is stored now, once.
    for _ in 0..3 {
        world.append().await;
    }
    assert!(
        world.sent.iter().all(|sent| sent.stored.is_some()),
        "seed {seed}: it takes writes again"
    );
    let mut places: Vec<_> = world
        .sent
        .iter()
        .map(|s| (s.append.topic.clone(), s.stored))
        .collect();
    places.sort_unstable();
    places.dedup();
    assert_eq!(
        places.len(),
        world.sent.len(),
        "seed {seed}: no offset is given twice"
    );
    world.holds(seed).await;
    (world.failures, world.openings)
}

/// Runs seeds. More of them with `ANABRANCH_SEEDS=from..to`.
#[test]
fn what_was_answered_survives_any_crash_of_a_disk_that_loses_tears_and_reorders_and_fails() {
    let seeds = std::env::var("ANABRANCH_SEEDS").ok().and_then(|seeds| {
        let (from, to) = seeds.split_once("..")?;
        Some(from.parse().ok()?..to.parse().ok()?)
    });
    let (mut failures, mut openings) = (0, 0);
    for seed in seeds.unwrap_or(0..150) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let (failed, opened) = runtime.block_on(history(seed));
        failures += failed;
        openings += opened;
    }
    assert!(failures > 50, "the disk failed {failures} times");
    assert!(openings > 300, "it was opened {openings} times");
}
