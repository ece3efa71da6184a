//! The topics of a broker and their ends.
//!
//! The committer moves a topic's end after each group. Subscriptions that have read everything wait for that.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

use crate::store::{Store, StoreError};
use crate::{
    Offset, TopicName,
    wire::{Packet, TopicInfo},
};

/// A topic's name and end.
#[derive(Debug)]
pub(super) struct Topic {
    name: TopicName,
    end: watch::Sender<Offset>,
}

impl Topic {
    fn new(name: TopicName, end: Offset) -> Arc<Self> {
        Arc::new(Self {
            name,
            end: watch::Sender::new(end),
        })
    }

    pub(super) fn name(&self) -> &TopicName {
        &self.name
    }

    /// Watches the offset that the next message will get.
    pub(super) fn end(&self) -> watch::Receiver<Offset> {
        self.end.subscribe()
    }

    /// Moves the end to `end`, unless it is further on already.
    pub(super) fn advance(&self, end: Offset) {
        self.end.send_if_modified(|now| {
            let further = end > *now;
            if further {
                *now = end;
            }
            further
        });
    }
}

/// Why a topic cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error("there is no such topic, and this broker does not create topics")]
    Unknown,
    #[error("there are {0} topics already, the limit of this broker")]
    Limit(usize),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The topics of a broker.
#[derive(Debug)]
pub(super) struct Topics {
    store: Arc<dyn Store>,
    auto_create: bool,
    max: usize,
    known: Mutex<HashMap<TopicName, Arc<Topic>>>,
    /// Held while a topic is looked up in the store or created, so that the limit holds exactly.
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
        // Another user of the same store may have created it.
        let end = match self.store.topic(name).await? {
            Some(info) => info.next,
            None if !self.auto_create => return Err(OpenError::Unknown),
            None if self.len() >= self.max => return Err(OpenError::Limit(self.max)),
            None => {
                self.store.create_topic(name).await?;
                tracing::info!(topic = %name, "topic created");
                Offset(0)
            }
        };
        let topic = Topic::new(name.clone(), end);
        self.lock().insert(name.clone(), Arc::clone(&topic));
        Ok(topic)
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
        self.lock().get(name).cloned()
    }

    fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<TopicName, Arc<Topic>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
