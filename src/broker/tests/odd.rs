//! A store that misbehaves when it is told to.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::rig::{memory, soon};
use crate::{
    Offset, RequestId, TopicName,
    store::{Append, Appended, DelegateStore, Store, StoreError, StoredBatch},
    wire::{ProducerIdentity, RegisteredProducer},
};

/// What an [`Odd`] store does with appends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Well,
    /// Waits until the mood changes.
    Shut,
    Full,
    Panics,
    /// Gives no answers.
    Mute,
}

/// A store around another one, with moods, that remembers what it was given.
#[derive(Debug)]
pub(crate) struct Odd {
    inner: Arc<dyn Store>,
    mood: watch::Sender<Mood>,
    once: Mutex<Option<Mood>>,
    groups: Mutex<Vec<Vec<(TopicName, RequestId)>>>,
    /// Calls of `append` that have begun.
    pub(crate) begun: watch::Sender<usize>,
    pub(crate) positions_set: AtomicUsize,
    pub(crate) largest_read: AtomicUsize,
    /// Reads give a batch that is not what was stored, at this offset.
    pub(crate) damaged: Mutex<Option<Offset>>,
    pub(crate) closed: AtomicUsize,
    /// The producer that registered last with an id from before.
    pub(crate) heard: watch::Sender<Option<ProducerIdentity>>,
    /// Dropped with the store.
    alive: watch::Sender<()>,
}

impl Odd {
    pub(crate) fn new(mood: Mood) -> Arc<Self> {
        Arc::new(Self {
            inner: memory(),
            mood: watch::Sender::new(mood),
            once: Mutex::default(),
            groups: Mutex::default(),
            begun: watch::Sender::new(0),
            positions_set: AtomicUsize::new(0),
            largest_read: AtomicUsize::new(0),
            damaged: Mutex::default(),
            closed: AtomicUsize::new(0),
            heard: watch::Sender::new(None),
            alive: watch::Sender::new(()),
        })
    }

    pub(crate) fn turn(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    /// The mood is another for the group at hand, and then all is well.
    pub(crate) fn turn_once(&self, mood: Mood) {
        self.once.lock().unwrap().replace(mood);
        self.mood.send_replace(Mood::Well);
    }

    /// Closes when the last handle of the store is dropped.
    pub(crate) fn alive(&self) -> watch::Receiver<()> {
        self.alive.subscribe()
    }

    /// The groups that were appended.
    pub(crate) fn groups(&self) -> Vec<Vec<(TopicName, RequestId)>> {
        self.groups.lock().unwrap().clone()
    }

    pub(crate) async fn has_begun(&self, groups: usize) {
        let mut begun = self.begun.subscribe();
        let begun = begun.wait_for(|n| *n >= groups);
        soon("a group at the store", begun).await.unwrap();
    }
}

impl DelegateStore for Odd {
    fn inner(&self) -> &dyn Store {
        &*self.inner
    }

    fn register_producer<'a>(
        &'a self,
        identity: &'a ProducerIdentity,
    ) -> BoxFuture<'a, Result<RegisteredProducer, StoreError>> {
        if identity.id.is_some() {
            self.heard.send_replace(Some(identity.clone()));
        }
        self.inner.register_producer(identity)
    }

    fn append(&self, group: Vec<Append>) -> BoxFuture<'_, Vec<Result<Appended, StoreError>>> {
        Box::pin(async move {
            self.begun.send_modify(|n| *n += 1);
            let mood = {
                let mut mood = self.mood.subscribe();
                *mood.wait_for(|mood| *mood != Mood::Shut).await.unwrap()
            };
            let mood = self.once.lock().unwrap().take().unwrap_or(mood);
            match mood {
                Mood::Well | Mood::Shut => {
                    let names = group.iter().map(|a| (a.topic.clone(), a.request));
                    self.groups.lock().unwrap().push(names.collect());
                    self.inner.append(group).await
                }
                Mood::Full => {
                    let full = |_| Err(StoreError::Refuses("the disk is full".to_owned()));
                    group.iter().map(full).collect()
                }
                Mood::Panics => panic!("on purpose"),
                Mood::Mute => Vec::new(),
            }
        })
    }

    fn read<'a>(
        &'a self,
        topic: &'a TopicName,
        from: Offset,
        max_bytes: usize,
    ) -> BoxFuture<'a, Result<Vec<StoredBatch>, StoreError>> {
        self.largest_read.fetch_max(max_bytes, SeqCst);
        Box::pin(async move {
            let mut read = self.inner.read(topic, from, max_bytes).await?;
            let damaged = *self.damaged.lock().unwrap();
            for batch in read.iter_mut().filter(|batch| Some(batch.base) == damaged) {
                let mut bytes = batch.batch.to_vec();
                *bytes.last_mut().unwrap() ^= 1;
                batch.batch = bytes.into();
            }
            Ok(read)
        })
    }

    fn set_position<'a>(
        &'a self,
        topic: &'a TopicName,
        name: &'a str,
        next: Offset,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.positions_set.fetch_add(1, SeqCst);
        self.inner.set_position(topic, name, next)
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.closed.fetch_add(1, SeqCst);
        self.inner.close()
    }
}
