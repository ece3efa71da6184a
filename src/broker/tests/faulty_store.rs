//! A store whose appends can be made to block or fail.

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

/// What a [`FaultyStore`] does with appends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Appends {
    Succeed,
    /// Blocks until this is changed.
    Block,
    ReportFull,
    Panic,
    /// Returns no results.
    ReturnNothing,
}

/// Wraps a store in memory, records calls, and fails appends on request.
#[derive(Debug)]
pub(crate) struct FaultyStore {
    inner: Arc<dyn Store>,
    appends: watch::Sender<Appends>,
    once: Mutex<Option<Appends>>,
    groups: Mutex<Vec<Vec<(TopicName, RequestId)>>>,
    /// The number of calls of `append` that have begun.
    pub(crate) begun: watch::Sender<usize>,
    pub(crate) positions_set: AtomicUsize,
    pub(crate) largest_read: AtomicUsize,
    /// The offset of a batch that reads return with a changed byte.
    pub(crate) damaged: Mutex<Option<Offset>>,
    pub(crate) closed: AtomicUsize,
    /// The last producer that was registered again.
    pub(crate) registered_again: watch::Sender<Option<ProducerIdentity>>,
    /// Dropped with the store.
    alive: watch::Sender<()>,
}

impl FaultyStore {
    pub(crate) fn new(appends: Appends) -> Arc<Self> {
        Arc::new(Self {
            inner: memory(),
            appends: watch::Sender::new(appends),
            once: Mutex::default(),
            groups: Mutex::default(),
            begun: watch::Sender::new(0),
            positions_set: AtomicUsize::new(0),
            largest_read: AtomicUsize::new(0),
            damaged: Mutex::default(),
            closed: AtomicUsize::new(0),
            registered_again: watch::Sender::new(None),
            alive: watch::Sender::new(()),
        })
    }

    pub(crate) fn set(&self, appends: Appends) {
        self.appends.send_replace(appends);
    }

    /// Sets what happens to the next append, or to the one that blocks. Later ones succeed.
    pub(crate) fn set_once(&self, appends: Appends) {
        self.once.lock().unwrap().replace(appends);
        self.appends.send_replace(Appends::Succeed);
    }

    /// Closes when the store is dropped.
    pub(crate) fn alive(&self) -> watch::Receiver<()> {
        self.alive.subscribe()
    }

    /// Returns the groups that were appended.
    pub(crate) fn groups(&self) -> Vec<Vec<(TopicName, RequestId)>> {
        self.groups.lock().unwrap().clone()
    }

    /// Waits until this number of appends have begun.
    pub(crate) async fn wait_appends(&self, groups: usize) {
        let mut begun = self.begun.subscribe();
        let begun = begun.wait_for(|n| *n >= groups);
        soon("a group at the store", begun).await.unwrap();
    }
}

impl DelegateStore for FaultyStore {
    fn inner(&self) -> &dyn Store {
        &*self.inner
    }

    fn register_producer<'a>(
        &'a self,
        identity: &'a ProducerIdentity,
    ) -> BoxFuture<'a, Result<RegisteredProducer, StoreError>> {
        if identity.id.is_some() {
            self.registered_again.send_replace(Some(identity.clone()));
        }
        self.inner.register_producer(identity)
    }

    fn append(&self, group: Vec<Append>) -> BoxFuture<'_, Vec<Result<Appended, StoreError>>> {
        Box::pin(async move {
            self.begun.send_modify(|n| *n += 1);
            let appends = {
                let mut appends = self.appends.subscribe();
                let unblocked = appends.wait_for(|appends| *appends != Appends::Block);
                *unblocked.await.unwrap()
            };
            let appends = self.once.lock().unwrap().take().unwrap_or(appends);
            match appends {
                Appends::Succeed | Appends::Block => {
                    let names = group.iter().map(|a| (a.topic.clone(), a.request));
                    self.groups.lock().unwrap().push(names.collect());
                    self.inner.append(group).await
                }
                Appends::ReportFull => {
                    let full = |_| Err(StoreError::Refuses("the disk is full".to_owned()));
                    group.iter().map(full).collect()
                }
                Appends::Panic => panic!("on purpose"),
                Appends::ReturnNothing => Vec::new(),
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
