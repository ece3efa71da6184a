//! The topics of a broker.
//!
//! The committer deletes topics, so that no batch that was read before is stored after the deletion.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    commit::{Committer, CommitterStopped},
    topic::{OpenError, Topic},
};
use crate::store::{Store, StoreError};
use crate::{
    Offset, TopicName,
    wire::{Packet, TopicInfo, TopicRetention},
};

/// The topics of a broker.
#[derive(Debug)]
pub(super) struct Topics {
    store: Arc<dyn Store>,
    auto_create: bool,
    max: usize,
    known: Mutex<HashMap<TopicName, Arc<Topic>>>,
    /// Held while a topic is looked up in the store, created or deleted, so that the limit holds exactly.
    creating: tokio::sync::Mutex<()>,
}

impl Topics {
    /// Reads the names and ends of all topics from the store.
    pub(super) async fn load(
        store: Arc<dyn Store>,
        auto_create: bool,
        max: usize,
    ) -> Result<Self, StoreError> {
        let mut known = HashMap::new();
        let mut after = None;
        loop {
            let page = store.topics(after, Packet::MAX_TOPICS).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.name.clone());
            for info in page {
                known.insert(info.name.clone(), Topic::new(info.name, info.next));
            }
        }
        Ok(Self {
            store,
            auto_create,
            max,
            known: Mutex::new(known),
            creating: tokio::sync::Mutex::new(()),
        })
    }

    /// Returns the topic of a name. Creates it if it does not exist and the options allow it.
    pub(super) async fn open(&self, name: &TopicName) -> Result<Arc<Topic>, OpenError> {
        if let Some(topic) = self.known(name) {
            return Ok(topic);
        }
        let _guard = self.creating.lock().await;
        if let Some(topic) = self.known(name) {
            return Ok(topic);
        }
        match self.look_up(name).await? {
            Some(topic) => Ok(topic),
            None if !self.auto_create => Err(OpenError::Unknown),
            None => self.make(name, TopicRetention::default()).await,
        }
    }

    /// Returns the topic of a name, if it exists.
    pub(super) async fn find(&self, name: &TopicName) -> Result<Arc<Topic>, OpenError> {
        if let Some(topic) = self.known(name) {
            return Ok(topic);
        }
        let _guard = self.creating.lock().await;
        self.look_up(name).await?.ok_or(OpenError::Missing)
    }

    /// Creates a topic that does not exist.
    pub(super) async fn create(
        &self,
        name: &TopicName,
        retention: TopicRetention,
    ) -> Result<(), OpenError> {
        let _guard = self.creating.lock().await;
        match self.look_up(name).await? {
            Some(_) => Err(OpenError::Exists),
            None => self.make(name, retention).await.map(|_| ()),
        }
    }

    /// Deletes a topic, and tells its subscriptions. Returns the number of messages in it.
    pub(super) async fn delete(
        &self,
        name: &TopicName,
        committer: &Committer,
    ) -> Result<u64, OpenError> {
        let _guard = self.creating.lock().await;
        let topic = self.look_up(name).await?.ok_or(OpenError::Missing)?;
        let info = self.store.topic(name).await?;
        let deleted = committer.delete(Arc::clone(&topic)).await;
        deleted.map_err(|CommitterStopped| OpenError::Closing)??;
        self.lock().remove(name);
        Ok(info.map_or(0, |info| info.next.0.saturating_sub(info.first.0)))
    }

    /// Looks a topic up in the store, if it is not known: another user of the same store may have created it.
    async fn look_up(&self, name: &TopicName) -> Result<Option<Arc<Topic>>, OpenError> {
        if let Some(topic) = self.known(name) {
            return Ok(Some(topic));
        }
        let info = self.store.topic(name).await?;
        Ok(info.map(|info| self.insert(name, info.next)))
    }

    async fn make(
        &self,
        name: &TopicName,
        retention: TopicRetention,
    ) -> Result<Arc<Topic>, OpenError> {
        if self.len() >= self.max {
            return Err(OpenError::Limit(self.max));
        }
        self.store.create_topic(name, retention).await?;
        tracing::info!(topic = %name, "topic created");
        Ok(self.insert(name, Offset(0)))
    }

    fn insert(&self, name: &TopicName, end: Offset) -> Arc<Topic> {
        let topic = Topic::new(name.clone(), end);
        self.lock().insert(name.clone(), Arc::clone(&topic));
        topic
    }

    /// Returns the next page of topics for which `visible` holds, sorted by name, at most [`Packet::MAX_TOPICS`].
    pub(super) async fn list(
        &self,
        mut after: Option<TopicName>,
        visible: impl Fn(&TopicName) -> bool,
    ) -> Result<Vec<TopicInfo>, StoreError> {
        // The client takes an empty answer as the end, so pages without a visible topic are skipped.
        loop {
            let page = self.store.topics(after, Packet::MAX_TOPICS).await?;
            let Some(last) = page.last() else {
                return Ok(Vec::new());
            };
            after = Some(last.name.clone());
            let shown: Vec<TopicInfo> = page.into_iter().filter(|t| visible(&t.name)).collect();
            if !shown.is_empty() {
                return Ok(shown);
            }
        }
    }

    /// Returns the names of all topics.
    pub(super) fn names(&self) -> Vec<TopicName> {
        self.lock().keys().cloned().collect()
    }

    fn known(&self, name: &TopicName) -> Option<Arc<Topic>> {
        let topic = self.lock().get(name).cloned();
        topic.filter(|topic| !topic.is_deleted())
    }

    fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<TopicName, Arc<Topic>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
