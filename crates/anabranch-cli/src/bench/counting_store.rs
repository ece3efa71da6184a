//! A store that counts appends, so that the disk can be measured with writes of the same size.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use anabranch::store::{Append, Appended, DelegateStore, Store, StoreError};
use futures_util::future::BoxFuture;

/// Delegates to another store, and counts groups and bytes of appends.
#[derive(Debug)]
pub(super) struct CountingStore {
    inner: Arc<dyn Store>,
    groups: AtomicU64,
    bytes: AtomicU64,
}

impl CountingStore {
    pub(super) fn new(inner: Arc<dyn Store>) -> Self {
        Self {
            inner,
            groups: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    /// Returns the average size of a group since the last call. `None` without groups.
    pub(super) fn average_group(&self) -> Option<u64> {
        let (groups, bytes) = (self.groups.swap(0, Relaxed), self.bytes.swap(0, Relaxed));
        bytes.checked_div(groups)
    }
}

impl DelegateStore for CountingStore {
    fn inner(&self) -> &dyn Store {
        &*self.inner
    }

    fn append(&self, group: Vec<Append>) -> BoxFuture<'_, Vec<Result<Appended, StoreError>>> {
        let bytes: usize = group.iter().map(|append| append.batch.len()).sum();
        self.groups.fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes as u64, Relaxed);
        self.inner.append(group)
    }
}
