//! Decides which subscription may read under a name in a topic: one at a time, the latest.
//!
//! Two readers of one name would both move its position, and each would skip, after a restart, what only the other has
//! handled. So a later reader shuts out the earlier one, as a later producer of a name does. A reader that subscribes again
//! after it lost its connection shows its number and takes its own place.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

use crate::{Offset, TopicIdentity};

/// The readers of names that are subscribed. It has one entry for each name with a subscription.
#[derive(Debug)]
pub(super) struct ReaderRegistry {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    readers: HashMap<(TopicIdentity, String), Entry>,
    /// The greatest number that was given to a reader.
    last: u64,
    /// The number of the last lease.
    last_lease: u64,
}

#[derive(Debug)]
struct Entry {
    reader: u64,
    lease: u64,
    address: SocketAddr,
    superseded: Arc<Superseded>,
    position: Arc<tokio::sync::Mutex<Offset>>,
}

/// Tells a lease that another subscription has taken its place.
#[derive(Debug, Default)]
struct Superseded {
    told: CancellationToken,
    /// The address of a later reader. `None` if it is the same reader.
    by: Mutex<Option<SocketAddr>>,
}

/// The right to read under a name.
#[derive(Debug)]
pub(super) struct ReaderLease {
    registry: Arc<ReaderRegistry>,
    name: (TopicIdentity, String),
    lease: u64,
    /// The number of the reader.
    pub(super) reader: u64,
    superseded: Arc<Superseded>,
    /// The stored position of the name. All subscriptions of the name share it, so that it never goes back.
    pub(super) position: Arc<tokio::sync::Mutex<Offset>>,
}

/// A later reader of the name is subscribed, from this address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fenced {
    pub(super) by: SocketAddr,
}

impl ReaderRegistry {
    /// Creates a registry that gives numbers after `first`: greater than those of an earlier broker.
    pub(super) fn new(first: u64) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                readers: HashMap::new(),
                last: first,
                last_lease: 0,
            }),
        })
    }

    /// Gives a reader its place and ends the subscription that had it. `shown` is the number that the reader had before, or 0;
    /// `stored` is the stored position of the name.
    ///
    /// # Errors
    /// [`Fenced`] where a later reader is subscribed.
    pub(super) fn acquire(
        self: &Arc<Self>,
        name: (TopicIdentity, String),
        shown: u64,
        address: SocketAddr,
        stored: Offset,
    ) -> Result<ReaderLease, Fenced> {
        let mut state = self.state();
        // A number that was never given counts as none.
        let reader = match shown {
            1.. if shown <= state.last => shown,
            _ => {
                state.last = state.last.saturating_add(1);
                state.last
            }
        };
        let earlier = state.readers.get(&name);
        if let Some(later) = earlier.filter(|entry| entry.reader > reader) {
            return Err(Fenced { by: later.address });
        }
        let position = match earlier {
            Some(earlier) => {
                if earlier.reader < reader {
                    tracing::warn!(
                        name = ?name.1, earlier = %earlier.address, later = %address,
                        "a second reader of a name: the earlier one is shut out"
                    );
                    *earlier.superseded.by() = Some(address);
                }
                earlier.superseded.told.cancel();
                Arc::clone(&earlier.position)
            }
            None => Arc::new(tokio::sync::Mutex::new(stored)),
        };
        state.last_lease += 1;
        let lease = state.last_lease;
        let superseded = Arc::<Superseded>::default();
        let entry = Entry {
            reader,
            lease,
            address,
            superseded: Arc::clone(&superseded),
            position: Arc::clone(&position),
        };
        state.readers.insert(name.clone(), entry);
        Ok(ReaderLease {
            registry: Arc::clone(self),
            name,
            lease,
            reader,
            superseded,
            position,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Superseded {
    fn by(&self) -> MutexGuard<'_, Option<SocketAddr>> {
        self.by.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReaderLease {
    /// Waits until another subscription has taken the place. Returns the address of a later reader, or `None` if it is the
    /// same reader.
    pub(super) async fn superseded(&self) -> Option<SocketAddr> {
        self.superseded.told.cancelled().await;
        *self.superseded.by()
    }

    /// Returns whether no other subscription has taken the place.
    pub(super) fn is_current(&self) -> bool {
        !self.superseded.told.is_cancelled()
    }
}

impl Drop for ReaderLease {
    fn drop(&mut self) {
        let mut state = self.registry.state();
        if state
            .readers
            .get(&self.name)
            .is_some_and(|entry| entry.lease == self.lease)
        {
            state.readers.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn address(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    fn name() -> (TopicIdentity, String) {
        (TopicIdentity::default(), "n".to_owned())
    }

    #[test]
    fn the_later_of_two_readers_reads_and_the_earlier_does_not_get_its_place_back() {
        let registry = ReaderRegistry::new(100);
        let a = registry.acquire(name(), 0, address(1), Offset(3)).unwrap();
        assert_eq!(a.superseded().now_or_never(), None);
        let b = registry.acquire(name(), 0, address(2), Offset(9)).unwrap();
        assert_eq!(a.superseded().now_or_never(), Some(Some(address(2))));
        assert!(a.reader < b.reader);
        assert_eq!(*b.position.try_lock().unwrap(), Offset(3), "they share it");

        let back = registry.acquire(name(), a.reader, address(1), Offset(3));
        assert_eq!(back.unwrap_err(), Fenced { by: address(2) });
        // The later one comes back after it lost its connection, and its old lease ends afterwards.
        let again = registry.acquire(name(), b.reader, address(3), Offset(3));
        let again = again.unwrap();
        assert_eq!(b.superseded().now_or_never(), Some(None));
        drop((a, b));
        assert!(again.is_current());
        assert_eq!(again.superseded().now_or_never(), None);
        drop(again);
        assert!(registry.state().readers.is_empty());
    }

    #[test]
    fn a_number_that_was_never_given_counts_as_none() {
        let registry = ReaderRegistry::new(100);
        let a = registry.acquire(name(), u64::MAX, address(1), Offset(0));
        let a = a.unwrap();
        assert_eq!(a.reader, 101);
        assert!(registry.acquire(name(), 0, address(2), Offset(0)).is_ok());
    }
}
