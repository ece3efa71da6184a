//! Committed positions that wait to be written.

use tokio::sync::oneshot;

use super::super::StoreError;
use crate::{Offset, TopicName};

/// A position to be set, with the channel for the answer.
#[derive(Debug)]
pub(super) struct NewPosition {
    pub(super) topic: TopicName,
    pub(super) name: String,
    pub(super) next: Offset,
    pub(super) done: oneshot::Sender<Result<(), StoreError>>,
}

/// Positions that wait to be written, one for each call that waits.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) queue: Vec<NewPosition>,
    /// A call is writing, and looks at the queue again before it stops.
    pub(super) writing: bool,
}
