//! A store that counts what is appended at once, so that the disk can be asked the same question.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use anabranch::store::{Append, Appended, DelegateStore, Store, StoreError};
use futures_util::future::BoxFuture;

/// Passes everything on.
#[derive(Debug)]
pub(super) struct Watched {
    inner: Arc<dyn Store>,
    groups: AtomicU64,
    bytes: AtomicU64,
}

impl Watched {
    pub(super) fn new(inner: Arc<dyn Store>) -> Self {
        Self {
            inner,
            groups: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    /// How many bytes a group had on average since the last look; nothing, where there was none.
    pub(super) fn usual_group(&self) -> Option<u64> {
        let (groups, bytes) = (self.groups.swap(0, Relaxed), self.bytes.swap(0, Relaxed));
        bytes.checked_div(groups)
    }
}

impl DelegateStore for Watched {
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
