//! Decides which connection may produce under a producer's name: one at a time.
//!
//! A producer that reconnects may leave an old connection that looks alive, with unread batches on it. So an earlier
//! connection of the same name is ended first. Whatever was read from it is submitted to the committer before the new
//! connection's session begins, and the rest is never read. So no batch of an old connection is stored after a batch
//! of its successor, and a producer that is fenced is told at once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{ProducerId, store::StoreError, wire::ProducerIdentity};

/// Why a connection no longer holds its producer's lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Superseded {
    /// The same producer has connected again.
    BySameProducer,
    /// A later producer of the same name has connected.
    Fenced,
}

/// The leases of all connected producers. It has at most one entry for each connection.
#[derive(Debug, Default)]
pub(super) struct ProducerRegistry {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By name, in the order of their connections. All but the last are about to end.
    by_name: HashMap<String, Vec<Entry>>,
    /// The number of the last lease.
    last_number: u64,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    identity: ProducerIdentity,
    producer: ProducerId,
    /// Tells the lease that it is superseded.
    superseded: watch::Sender<Option<Superseded>>,
    /// Cancelled when the lease is dropped.
    released: CancellationToken,
}

/// The right to produce under a name. Dropped when nothing more is read from the connection.
#[derive(Debug)]
pub(super) struct ProducerLease {
    registry: Arc<ProducerRegistry>,
    name: String,
    number: u64,
    superseded: watch::Receiver<Option<Superseded>>,
    /// Cancels the entry's `released`. Dropped after everything else.
    _released: DropGuard,
}

impl ProducerRegistry {
    /// Ends all earlier connections of this name, and waits until nothing more is read from them. The store has
    /// registered `identity` as `producer`.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] where a later producer of the name has connected meanwhile.
    pub(super) async fn acquire(
        self: &Arc<Self>,
        identity: &ProducerIdentity,
        producer: ProducerId,
    ) -> Result<ProducerLease, StoreError> {
        let (lease, earlier) = self.insert(identity, producer)?;
        for released in earlier {
            released.cancelled().await;
        }
        Ok(lease)
    }

    fn insert(
        self: &Arc<Self>,
        identity: &ProducerIdentity,
        producer: ProducerId,
    ) -> Result<(ProducerLease, Vec<CancellationToken>), StoreError> {
        let mut state = self.state();
        state.last_number += 1;
        let number = state.last_number;
        let of_name = state.by_name.entry(identity.name.clone()).or_default();
        if of_name.iter().any(|entry| entry.producer > producer) {
            return Err(StoreError::Fenced);
        }
        for entry in &*of_name {
            let why = if entry.producer == producer {
                Superseded::BySameProducer
            } else {
                Superseded::Fenced
            };
            entry.superseded.send_replace(Some(why));
        }
        let earlier = of_name.iter().map(|entry| entry.released.clone()).collect();
        let (superseded, told) = watch::channel(None);
        let released = CancellationToken::new();
        of_name.push(Entry {
            number,
            identity: ProducerIdentity {
                id: Some(producer),
                ..identity.clone()
            },
            producer,
            superseded,
            released: released.clone(),
        });
        let lease = ProducerLease {
            registry: Arc::clone(self),
            name: identity.name.clone(),
            number,
            superseded: told,
            _released: released.drop_guard(),
        };
        Ok((lease, earlier))
    }

    /// Returns the producers that are connected.
    pub(super) fn connected(&self) -> Vec<ProducerIdentity> {
        let state = self.state();
        let last = state.by_name.values().filter_map(|of_name| of_name.last());
        last.map(|entry| entry.identity.clone()).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProducerLease {
    /// Waits until another connection of this producer or of its name takes over.
    pub(super) async fn superseded(&mut self) -> Superseded {
        let told = self.superseded.wait_for(Option::is_some).await;
        // The sender lives as long as this lease.
        told.ok()
            .and_then(|told| *told)
            .unwrap_or(Superseded::BySameProducer)
    }
}

impl Drop for ProducerLease {
    fn drop(&mut self) {
        let mut state = self.registry.state();
        if let Some(of_name) = state.by_name.get_mut(&self.name) {
            of_name.retain(|entry| entry.number != self.number);
            if of_name.is_empty() {
                state.by_name.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, poll};

    use super::*;

    fn identity(instance: u64) -> ProducerIdentity {
        ProducerIdentity {
            name: "p".to_owned(),
            instance,
            id: None,
        }
    }

    #[tokio::test]
    async fn one_connection_speaks_for_a_name_and_begins_when_all_before_it_have_ended() {
        let registry = Arc::new(ProducerRegistry::default());
        let (one, other) = (identity(1), identity(2));
        let (early, late) = (ProducerId(5), ProducerId(6));
        let mut a = registry.acquire(&one, early).await.unwrap();
        assert_eq!(a.superseded().now_or_never(), None);

        let mut b = Box::pin(registry.acquire(&other, late));
        assert!(poll!(&mut b).is_pending());
        assert_eq!(a.superseded().now_or_never(), Some(Superseded::Fenced));
        // The same producer connects again before its first connection could begin.
        let mut c = Box::pin(registry.acquire(&other, late));
        assert!(poll!(&mut c).is_pending());
        // The earlier producer is refused after a later one has come.
        let fenced = registry.acquire(&one, early).await;
        assert!(matches!(fenced, Err(StoreError::Fenced)));

        drop(a);
        let mut b = b.await.unwrap();
        assert_eq!(
            b.superseded().now_or_never(),
            Some(Superseded::BySameProducer)
        );
        assert!(poll!(&mut c).is_pending(), "the one before it still reads");
        drop(b);
        let mut c = c.await.unwrap();
        assert_eq!(c.superseded().now_or_never(), None);
        let ids: Vec<_> = registry
            .connected()
            .iter()
            .map(|identity| identity.id)
            .collect();
        assert_eq!(ids, [Some(late)]);
        drop(c);
        assert!(
            registry.state().by_name.is_empty(),
            "nothing is left behind"
        );
    }

    #[tokio::test]
    async fn who_gives_up_while_it_waits_holds_nobody_up() {
        let registry = Arc::new(ProducerRegistry::default());
        let one = identity(1);
        let a = registry.acquire(&one, ProducerId(1)).await.unwrap();
        let mut b = Box::pin(registry.acquire(&one, ProducerId(1)));
        assert!(poll!(&mut b).is_pending());
        drop(b);
        let mut c = Box::pin(registry.acquire(&one, ProducerId(1)));
        assert!(poll!(&mut c).is_pending(), "the first still reads");
        drop(a);
        c.await.unwrap();
        assert!(registry.state().by_name.is_empty());
    }
}
