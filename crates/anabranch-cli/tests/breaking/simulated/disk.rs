//! A disk in virtual time, and the broker's store on it.
//!
//! A write is answered and readable once it is synced, which takes a while. After a power cut, all answered writes are on the
//! disk, and also the oldest few of those that were not synced.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use anabranch::{
    Offset, ProducerId, RequestId, TopicName,
    store::{
        Append, Appended, DelegateStore, MemoryStore, ProducerIdentity, RegisteredProducer, Store,
        StoreError, StoreState,
    },
};
use fastrand::Rng;
use futures_util::{FutureExt, future::BoxFuture};

/// A fault of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Condition {
    #[default]
    Sound,
    /// The disk is full: nothing is written.
    Full,
    /// Writes fail with an unknown result.
    Failing,
}

/// A disk. Its content survives the broker.
pub struct Disk {
    held: MemoryStore,
    /// Number of power cuts.
    life: AtomicU64,
    state: Mutex<State>,
}

struct State {
    rng: Rng,
    sync_takes: Duration,
    condition: Condition,
    /// Writes that are not synced, oldest first.
    unsynced: VecDeque<(u64, Write)>,
    next_write: u64,
    /// Stored batches, by producer and request. A repeated one is answered in every condition.
    stored: HashMap<(ProducerId, RequestId), Appended>,
    /// Called by the next append, after it is synced and before it is answered.
    before_answer: Option<Box<dyn FnOnce() + Send>>,
    forgotten: u64,
}

#[derive(Clone)]
enum Write {
    Enrol(ProducerIdentity),
    Append(Vec<Append>),
    Position(TopicName, String, Offset),
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").finish_non_exhaustive()
    }
}

impl Disk {
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            held: MemoryStore::default(),
            life: AtomicU64::new(0),
            state: Mutex::new(State {
                rng: Rng::with_seed(seed),
                sync_takes: Duration::from_millis(1),
                condition: Condition::Sound,
                unsynced: VecDeque::new(),
                stored: HashMap::new(),
                next_write: 0,
                before_answer: None,
                forgotten: 0,
            }),
        })
    }

    /// Returns a store for one broker.
    pub fn mount(self: &Arc<Self>) -> Arc<dyn Store> {
        Arc::new(Mounted {
            life: self.life.load(SeqCst),
            disk: Arc::clone(self),
        })
    }

    pub fn set_sync_takes(&self, time: Duration) {
        self.state.lock().unwrap().sync_takes = time;
    }

    pub fn set_condition(&self, condition: Condition) {
        self.state.lock().unwrap().condition = condition;
    }

    /// Calls `call` once, when the next append is synced and not answered.
    pub fn before_next_answer(&self, call: impl FnOnce() + Send + 'static) {
        self.state.lock().unwrap().before_answer = Some(Box::new(call));
    }

    /// Cuts the power: every mounted store fails from now on. Of the writes that are not synced, some of the oldest are kept
    /// and the rest is lost.
    pub async fn power_cut(&self) {
        self.life.fetch_add(1, SeqCst);
        let kept: Vec<_> = {
            let mut state = self.state.lock().unwrap();
            let unsynced = std::mem::take(&mut state.unsynced);
            let kept = state.rng.usize(0..=unsynced.len());
            state.forgotten += (unsynced.len() - kept) as u64;
            unsynced.into_iter().take(kept).collect()
        };
        for (_, write) in kept {
            match write {
                Write::Enrol(identity) => drop(self.held.register_producer(&identity).await),
                Write::Append(group) => drop(self.keep(group).await),
                Write::Position(topic, name, next) => {
                    let _ = self.held.set_position(&topic, &name, next).await;
                }
            }
        }
    }

    /// Stores a group.
    async fn keep(&self, group: Vec<Append>) -> Vec<Result<Appended, StoreError>> {
        let names: Vec<_> = group.iter().map(|a| (a.producer, a.request)).collect();
        let answers = self.held.append(group).await;
        let mut state = self.state.lock().unwrap();
        for (name, answer) in names.into_iter().zip(&answers) {
            if let Ok(appended) = answer {
                let repeat = Appended {
                    repeat: true,
                    ..*appended
                };
                state.stored.insert(name, repeat);
            }
        }
        answers
    }

    /// Returns the answers of a group that is not written: `why`, except for batches stored before.
    fn answers_without(
        &self,
        group: &[Append],
        why: impl Fn() -> StoreError,
    ) -> Vec<Result<Appended, StoreError>> {
        let state = self.state.lock().unwrap();
        let answer = |append: &Append| {
            let known = state.stored.get(&(append.producer, append.request));
            known.copied().ok_or_else(&why)
        };
        group.iter().map(answer).collect()
    }

    /// Returns the number of writes lost in power cuts.
    pub fn forgotten(&self) -> u64 {
        self.state.lock().unwrap().forgotten
    }
}

/// A store on a [`Disk`], until the next power cut.
#[derive(Debug)]
struct Mounted {
    disk: Arc<Disk>,
    life: u64,
}

fn off() -> StoreError {
    StoreError::Refuses("the power is off".to_owned())
}

fn full() -> StoreError {
    StoreError::Refuses("the disk is full".to_owned())
}

impl Mounted {
    fn is_on(&self) -> bool {
        self.disk.life.load(SeqCst) == self.life
    }

    /// Writes, and waits until the write is synced.
    async fn sync(&self, write: Write) -> Result<(), StoreError> {
        if !self.is_on() {
            return Err(off());
        }
        let (number, takes) = {
            let mut state = self.disk.state.lock().unwrap();
            if state.condition == Condition::Full {
                return Err(full());
            }
            state.next_write += 1;
            let number = state.next_write;
            state.unsynced.push_back((number, write));
            (number, state.sync_takes)
        };
        tokio::time::sleep(takes).await;
        if !self.is_on() {
            return Err(off());
        }
        let mut state = self.disk.state.lock().unwrap();
        state.unsynced.retain(|(n, _)| *n != number);
        Ok(())
    }
}

impl DelegateStore for Mounted {
    fn inner(&self) -> &dyn Store {
        &self.disk.held
    }

    fn register_producer<'a>(
        &'a self,
        identity: &'a ProducerIdentity,
    ) -> BoxFuture<'a, Result<RegisteredProducer, StoreError>> {
        async move {
            self.sync(Write::Enrol(identity.clone())).await?;
            self.disk.held.register_producer(identity).await
        }
        .boxed()
    }

    fn append(&self, group: Vec<Append>) -> BoxFuture<'_, Vec<Result<Appended, StoreError>>> {
        async move {
            if let Err(error) = self.sync(Write::Append(group.clone())).await {
                let why = error.to_string();
                return self
                    .disk
                    .answers_without(&group, || StoreError::Refuses(why.clone()));
            }
            let (fails, lost) = {
                let mut state = self.disk.state.lock().unwrap();
                (state.condition == Condition::Failing, state.rng.bool())
            };
            if fails {
                let failed = || StoreError::Failed("the write failed".to_owned());
                let answers = self.disk.answers_without(&group, failed);
                if !lost {
                    self.disk.keep(group).await;
                }
                return answers;
            }
            let answers = self.disk.keep(group).await;
            let call = self.disk.state.lock().unwrap().before_answer.take();
            if let Some(call) = call {
                call();
            }
            answers
        }
        .boxed()
    }

    fn set_position<'a>(
        &'a self,
        topic: &'a TopicName,
        name: &'a str,
        next: Offset,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        async move {
            let write = Write::Position(topic.clone(), name.to_owned(), next);
            self.sync(write).await?;
            self.disk.held.set_position(topic, name, next).await
        }
        .boxed()
    }

    fn state(&self) -> StoreState {
        match self.disk.state.lock().unwrap().condition {
            Condition::Full => StoreState::Refusing("the disk is full".to_owned()),
            Condition::Sound | Condition::Failing => StoreState::Ready,
        }
    }

    /// Does nothing: the content stays on the disk.
    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        async { Ok(()) }.boxed()
    }
}
