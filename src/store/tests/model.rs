//! Any history, compared with the simplest store: lists that are searched from the front.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::{
    super::{log::tests::copy_of, *},
    encoded, identity, topic,
};

const NAMES: [&str; 3] = ["a", "b", "c"];

#[derive(Debug, Clone)]
enum Step {
    Register {
        name: usize,
        instance: u64,
        /// Whether it brings the id that it was given.
        shows: bool,
    },
    Append(Vec<Sent>),
    Trim {
        topic: usize,
        trim: Trim,
    },
    Read {
        topic: usize,
        from: u64,
        max_bytes: usize,
    },
    SetPosition {
        topic: usize,
        name: usize,
        next: u64,
    },
    Delete(usize),
    Reopen,
    Crash,
}

#[derive(Debug, Clone)]
struct Sent {
    /// An index into the ids given so far, so that fenced producers send too.
    producer: usize,
    request: u64,
    answered_below: u64,
    topic: usize,
    count: u32,
    len: usize,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let sent = (
        0..4usize,
        0..14u64,
        0..10u64,
        0..3usize,
        1..4u32,
        0..40usize,
    )
        .prop_map(
            |(producer, request, answered_below, topic, count, len)| Sent {
                producer,
                request,
                answered_below,
                topic,
                count,
                len,
            },
        );
    let trim = (
        prop::option::of(0..40u64),
        prop::option::of(0..200u64),
        prop::option::of(0..25u64),
        any::<bool>(),
    );
    let trim = trim.prop_map(|(older_than, max_bytes, keep_from, keep_unread)| Trim {
        older_than: older_than.map(Timestamp),
        max_bytes,
        keep_from: keep_from.map(Offset),
        keep_unread,
        ..Trim::default()
    });
    let step = prop_oneof![
        2 => (0..2usize, 0..3u64, any::<bool>())
            .prop_map(|(name, instance, shows)| Step::Register { name, instance, shows }),
        8 => prop::collection::vec(sent, 1..5).prop_map(Step::Append),
        2 => (0..3usize, trim).prop_map(|(topic, trim)| Step::Trim { topic, trim }),
        3 => (0..3usize, 0..30u64, 0..150usize)
            .prop_map(|(topic, from, max_bytes)| Step::Read { topic, from, max_bytes }),
        1 => (0..3usize, 0..2usize, 0..9u64)
            .prop_map(|(topic, name, next)| Step::SetPosition { topic, name, next }),
        1 => (0..3usize).prop_map(Step::Delete),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
    ];
    let enrolled = Just(Step::Register {
        name: 0,
        instance: 0,
        shows: false,
    });
    (enrolled, prop::collection::vec(step, 0..30)).prop_map(|(first, mut steps)| {
        steps.insert(0, first);
        steps
    })
}

#[derive(Default)]
struct Model {
    /// All producer ids, in the order in which they were given.
    ids: Vec<ProducerId>,
    /// The id and instance of each name that is not fenced.
    live: HashMap<usize, (ProducerId, u64)>,
    /// The last id given to each name and instance.
    given: HashMap<(usize, u64), ProducerId>,
    lows: HashMap<ProducerId, u64>,
    stored: HashMap<(ProducerId, u64), (Appended, Sent)>,
    topics: HashMap<usize, Vec<StoredBatch>>,
    ends: HashMap<usize, (u64, u64)>,
    positions: HashMap<(usize, usize), Offset>,
    clock: u64,
}

impl Model {
    fn is_live(&self, id: ProducerId) -> bool {
        self.live.values().any(|(live, _)| *live == id)
    }

    /// Returns the expected answer of a batch. `None` is a refusal, after which nothing new of its producer is stored in
    /// the group.
    fn append(
        &mut self,
        sent: &Sent,
        producer: ProducerId,
        time: Timestamp,
        refused: &mut HashSet<ProducerId>,
    ) -> Option<Appended> {
        let answer = self.append_behind(sent, producer, time, refused.contains(&producer));
        if answer.is_none() {
            refused.insert(producer);
        }
        answer
    }

    fn append_behind(
        &mut self,
        sent: &Sent,
        producer: ProducerId,
        time: Timestamp,
        refused: bool,
    ) -> Option<Appended> {
        if !self.is_live(producer) {
            return None;
        }
        let low = self.lows.entry(producer).or_default();
        *low = (*low).max(sent.answered_below);
        if sent.request < *low {
            return None;
        }
        if let Some((first, before)) = self.stored.get(&(producer, sent.request)) {
            let same = (before.topic, before.len) == (sent.topic, sent.len);
            return same.then_some(Appended {
                repeat: true,
                ..*first
            });
        }
        if refused {
            return None;
        }
        let (first, next) = self.ends.get(&sent.topic).copied().unwrap_or_default();
        let appended = Appended {
            base: Offset(next),
            time,
            repeat: false,
        };
        self.ends
            .insert(sent.topic, (first, next + u64::from(sent.count)));
        self.topics
            .entry(sent.topic)
            .or_default()
            .push(StoredBatch {
                base: Offset(next),
                count: sent.count,
                time,
                batch: content(sent),
            });
        self.stored
            .insert((producer, sent.request), (appended, sent.clone()));
        Some(appended)
    }

    fn trim(&mut self, topic: usize, trim: Trim) -> Option<u64> {
        let ends = self.ends.get_mut(&topic)?;
        let batches = self.topics.get_mut(&topic)?;
        let mut went = 0;
        while let Some(oldest) = batches.first() {
            let left: usize = batches.iter().map(|b| b.batch.len()).sum();
            let mut readers = self.positions.iter().filter(|((at, _), _)| *at == topic);
            let read = !trim.keep_unread || readers.all(|(_, next)| oldest.end() <= *next);
            let may = read && trim.keep_from.is_none_or(|keep| oldest.end() <= keep);
            let must = trim.older_than.is_some_and(|before| oldest.time < before)
                || trim.max_bytes.is_some_and(|most| left as u64 > most);
            if !(may && must) {
                break;
            }
            went += oldest.batch.len() as u64;
            ends.0 = oldest.end().0;
            batches.remove(0);
        }
        Some(went)
    }

    fn read(&self, topic: usize, from: u64, max_bytes: usize) -> Option<Vec<StoredBatch>> {
        let behind = self.topics.get(&topic)?.iter();
        let behind = behind.filter(|batch| batch.end() > Offset(from));
        let (mut read, mut bytes) = (Vec::new(), 0);
        for batch in behind {
            bytes += batch.batch.len();
            if bytes > max_bytes && !read.is_empty() {
                break;
            }
            read.push(batch.clone());
        }
        Some(read)
    }
}

fn content(sent: &Sent) -> Bytes {
    encoded(&vec![sent.request.to_le_bytes()[0]; sent.len])
}

/// The store under test, with its folder if it has one.
enum World {
    Memory(Box<MemoryStore>),
    Log(LogStore, tempfile::TempDir),
}

impl World {
    fn store(&self) -> &dyn Store {
        match self {
            Self::Memory(store) => &**store,
            Self::Log(store, _) => store,
        }
    }

    async fn log(folder: tempfile::TempDir) -> Self {
        let config = LogConfig {
            segment_bytes: 64 << 10,
            ..LogConfig::default()
        };
        let store = LogStore::open(folder.path(), config).await;
        Self::Log(store.unwrap(), folder)
    }

    async fn reopen(self, crash: bool) -> Self {
        match self {
            Self::Memory(_) => self,
            // A copy of the folder is what a killed process leaves behind.
            Self::Log(_, folder) if crash => Self::log(copy_of(folder.path())).await,
            Self::Log(store, folder) => {
                store.close().await.unwrap();
                Self::log(folder).await
            }
        }
    }
}

async fn step(world: World, model: &mut Model, step: Step) -> World {
    let store = world.store();
    match step {
        Step::Register {
            name,
            instance,
            shows,
        } => {
            let mut who = identity(NAMES[name], instance);
            who.id = shows
                .then(|| model.given.get(&(name, instance)).copied())
                .flatten();
            let told = store.register_producer(&who).await;
            let live = model.live.get(&name).copied();
            match live.filter(|(_, was)| *was == instance) {
                Some((known, _)) => assert_eq!(told.unwrap().id, known),
                None if who.id.is_some() => assert!(matches!(told, Err(StoreError::Fenced))),
                None => {
                    let id = told.unwrap().id;
                    assert!(model.ids.iter().all(|earlier| *earlier < id));
                    model.ids.push(id);
                    model.live.insert(name, (id, instance));
                    model.given.insert((name, instance), id);
                }
            }
        }
        Step::Append(group) => {
            let mut appends = Vec::new();
            let mut expected = Vec::new();
            let mut refused = HashSet::new();
            let lows = model.lows.clone();
            for sent in &group {
                model.clock += 1;
                let time = Timestamp(model.clock);
                let producer = model.ids[sent.producer % model.ids.len()];
                expected.push(model.append(sent, producer, time, &mut refused));
                appends.push(Append {
                    producer,
                    request: RequestId(sent.request),
                    answered_below: RequestId(sent.answered_below),
                    topic: topic(NAMES[sent.topic]),
                    count: sent.count,
                    batch: content(sent),
                    time,
                });
            }
            // A producer of which nothing was stored keeps its low-water mark.
            for (id, low) in &mut model.lows {
                let of_group = expected.iter().zip(&appends);
                let stored = of_group
                    .filter(|(answer, append)| {
                        append.producer == *id && answer.is_some_and(|a| !a.repeat)
                    })
                    .count();
                if stored == 0 {
                    *low = lows.get(id).copied().unwrap_or_default();
                }
            }
            let answers = store.append(appends).await;
            let answers: Vec<_> = answers.into_iter().map(Result::ok).collect();
            assert_eq!(answers, expected, "{group:?}");
        }
        Step::Trim { topic: at, trim } => {
            let went = store.trim(&topic(NAMES[at]), trim).await.ok();
            assert_eq!(went, model.trim(at, trim));
        }
        Step::Read {
            topic: at,
            from,
            max_bytes,
        } => {
            let read = store.read(&topic(NAMES[at]), Offset(from), max_bytes).await;
            assert_eq!(read.ok(), model.read(at, from, max_bytes));
        }
        Step::SetPosition {
            topic: at,
            name,
            next,
        } => {
            let set = store
                .set_position(&topic(NAMES[at]), NAMES[name], Offset(next))
                .await;
            assert_eq!(set.is_ok(), model.ends.contains_key(&at));
            if model.ends.contains_key(&at) {
                model.positions.insert((at, name), Offset(next));
            }
        }
        Step::Delete(at) => {
            let deleted = store.delete_topic(&topic(NAMES[at])).await;
            assert_eq!(deleted.is_ok(), model.ends.remove(&at).is_some());
            model.topics.remove(&at);
            model.positions.retain(|(of, _), _| *of != at);
            model.stored.retain(|_, (_, sent)| sent.topic != at);
        }
        Step::Reopen => return world.reopen(false).await,
        Step::Crash => return world.reopen(true).await,
    }
    world
}

async fn agrees(store: &dyn Store, model: &Model) {
    for (at, name) in NAMES.iter().enumerate() {
        let name = topic(name);
        let info = store.topic(&name).await.unwrap();
        let ends = info.as_ref().map(|info| (info.first.0, info.next.0));
        assert_eq!(ends, model.ends.get(&at).copied());
        let read = store.read(&name, Offset(0), usize::MAX).await.ok();
        assert_eq!(read, model.read(at, 0, usize::MAX));
        let bytes = read.map(|read| read.iter().map(|b| b.batch.len() as u64).sum());
        assert_eq!(info.map(|info| info.bytes), bytes);
        for (who, reader) in NAMES.iter().enumerate() {
            let position = store.position(&name, reader).await.unwrap();
            assert_eq!(position, model.positions.get(&(at, who)).copied());
        }
    }
}

fn run(world: impl AsyncFnOnce() -> World, steps: Vec<Step>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut model = Model::default();
        let mut world = world().await;
        for next in steps {
            world = step(world, &mut model, next).await;
        }
        agrees(world.store(), &model).await;
        let world = world.reopen(true).await;
        agrees(world.store(), &model).await;
    });
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 200, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn the_memory_store_answers_any_history_as_lists_would(steps in steps()) {
        run(async || World::Memory(Box::default()), steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 100, ..ProptestConfig::with_cases(20) })]

    #[test]
    fn the_log_store_answers_any_history_as_lists_would_across_reopenings_and_crashes(steps in steps()) {
        run(async || World::log(tempfile::tempdir().unwrap()).await, steps);
    }
}
