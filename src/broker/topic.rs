//! One topic of a broker and its end.
//!
//! The committer moves a topic's end after each group. Subscriptions that have read everything wait for that.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{Offset, TopicName, store::StoreError};

/// A topic's name and end, until it is deleted.
#[derive(Debug)]
pub(super) struct Topic {
    name: TopicName,
    end: watch::Sender<Offset>,
    deleted: CancellationToken,
}

impl Topic {
    pub(super) fn new(name: TopicName, end: Offset) -> Arc<Self> {
        Arc::new(Self {
            name,
            end: watch::Sender::new(end),
            deleted: CancellationToken::new(),
        })
    }

    pub(super) fn name(&self) -> &TopicName {
        &self.name
    }

    /// Watches the offset that the next message will get.
    pub(super) fn end(&self) -> watch::Receiver<Offset> {
        self.end.subscribe()
    }

    /// Waits until the topic is deleted.
    pub(super) async fn deleted(&self) {
        self.deleted.cancelled().await;
    }

    /// Returns whether the topic is deleted. A later topic of the name is another one.
    pub(super) fn is_deleted(&self) -> bool {
        self.deleted.is_cancelled()
    }

    /// Records that the topic is deleted.
    pub(super) fn set_deleted(&self) {
        self.deleted.cancel();
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
    #[error("there is no such topic")]
    Missing,
    #[error("the topic exists already")]
    Exists,
    #[error("the broker is closing")]
    Closing,
    #[error("there are {0} topics already, the limit of this broker")]
    Limit(usize),
    #[error(transparent)]
    Store(#[from] StoreError),
}
