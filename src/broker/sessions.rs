//! Which connection speaks for a producer: one at a time.
//!
//! A producer that connects again may have left a connection behind that nobody knows to be dead, with batches on it
//! that are still to be read. So an earlier connection of the same name is ended first: what was read from it is with
//! the committer before the later one's session stands, and the rest is never read. Nothing of a connection that its
//! producer has given up is stored behind something of the next one, and a producer that is overtaken hears of it at
//! once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::store::StoreError;
use crate::{ProducerId, wire::ProducerIdentity};

/// Why a connection no longer speaks for its producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overtaken {
    /// The same producer has connected again.
    ByItself,
    /// A later one of the same name has come.
    Fenced,
}

/// Who speaks for which name. As many entries as connections at most.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    seats: Mutex<Seats>,
}

#[derive(Debug, Default)]
struct Seats {
    /// By name, in the order in which they came; all but the last are about to end.
    by_name: HashMap<String, Vec<Entry>>,
    /// How many there have been.
    taken: u64,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    identity: ProducerIdentity,
    producer: ProducerId,
    leave: watch::Sender<Option<Overtaken>>,
    left: CancellationToken,
}

/// The right to speak for a producer. To be dropped when nothing more is read from the connection.
#[derive(Debug)]
pub(super) struct Seat {
    sessions: Arc<Sessions>,
    name: String,
    number: u64,
    leave: watch::Receiver<Option<Overtaken>>,
    /// Says, when all else of it is dropped, that it is.
    _left: DropGuard,
}

impl Sessions {
    /// Ends all earlier connections of this name, and waits until nothing more is read from them. `identity` was
    /// enrolled as `producer`.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] where a later producer of the name has come meanwhile.
    pub(super) async fn enter(
        self: &Arc<Self>,
        identity: &ProducerIdentity,
        producer: ProducerId,
    ) -> Result<Seat, StoreError> {
        let (seat, earlier) = self.take(identity, producer)?;
        for left in earlier {
            left.cancelled().await;
        }
        Ok(seat)
    }

    fn take(
        self: &Arc<Self>,
        identity: &ProducerIdentity,
        producer: ProducerId,
    ) -> Result<(Seat, Vec<CancellationToken>), StoreError> {
        let mut seats = self.seats();
        seats.taken += 1;
        let number = seats.taken;
        let of_name = seats.by_name.entry(identity.name.clone()).or_default();
        if of_name.iter().any(|entry| entry.producer > producer) {
            return Err(StoreError::Fenced);
        }
        for entry in &*of_name {
            entry
                .leave
                .send_replace(Some(if entry.producer == producer {
                    Overtaken::ByItself
                } else {
                    Overtaken::Fenced
                }));
        }
        let earlier = of_name.iter().map(|entry| entry.left.clone()).collect();
        let (leave, told) = watch::channel(None);
        let left = CancellationToken::new();
        of_name.push(Entry {
            number,
            identity: ProducerIdentity {
                id: Some(producer),
                ..identity.clone()
            },
            producer,
            leave,
            left: left.clone(),
        });
        let seat = Seat {
            sessions: Arc::clone(self),
            name: identity.name.clone(),
            number,
            leave: told,
            _left: left.drop_guard(),
        };
        Ok((seat, earlier))
    }

    /// The producers that are connected.
    pub(super) fn identities(&self) -> Vec<ProducerIdentity> {
        let seats = self.seats();
        let last = seats.by_name.values().filter_map(|of_name| of_name.last());
        last.map(|entry| entry.identity.clone()).collect()
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Waits until another connection speaks for this producer or its name.
    pub(super) async fn overtaken(&mut self) -> Overtaken {
        let told = self.leave.wait_for(Option::is_some).await;
        // The sender lives as long as this seat.
        told.ok()
            .and_then(|told| *told)
            .unwrap_or(Overtaken::ByItself)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.sessions.seats();
        if let Some(of_name) = seats.by_name.get_mut(&self.name) {
            of_name.retain(|entry| entry.number != self.number);
            if of_name.is_empty() {
                seats.by_name.remove(&self.name);
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
        let sessions = Arc::new(Sessions::default());
        let (one, other) = (identity(1), identity(2));
        let (early, late) = (ProducerId(5), ProducerId(6));
        let mut a = sessions.enter(&one, early).await.unwrap();
        assert_eq!(a.overtaken().now_or_never(), None);

        let mut b = Box::pin(sessions.enter(&other, late));
        assert!(poll!(&mut b).is_pending());
        assert_eq!(a.overtaken().now_or_never(), Some(Overtaken::Fenced));
        // The same comes again before it could begin.
        let mut c = Box::pin(sessions.enter(&other, late));
        assert!(poll!(&mut c).is_pending());
        // Nobody comes back behind a later one.
        let fenced = sessions.enter(&one, early).await;
        assert!(matches!(fenced, Err(StoreError::Fenced)));

        drop(a);
        let mut b = b.await.unwrap();
        assert_eq!(b.overtaken().now_or_never(), Some(Overtaken::ByItself));
        assert!(poll!(&mut c).is_pending(), "the one before it still reads");
        drop(b);
        let mut c = c.await.unwrap();
        assert_eq!(c.overtaken().now_or_never(), None);
        let ids: Vec<_> = sessions.identities().iter().map(|who| who.id).collect();
        assert_eq!(ids, [Some(late)]);
        drop(c);
        assert!(
            sessions.seats().by_name.is_empty(),
            "nothing is left behind"
        );
    }

    #[tokio::test]
    async fn who_gives_up_while_it_waits_holds_nobody_up() {
        let sessions = Arc::new(Sessions::default());
        let one = identity(1);
        let a = sessions.enter(&one, ProducerId(1)).await.unwrap();
        let mut b = Box::pin(sessions.enter(&one, ProducerId(1)));
        assert!(poll!(&mut b).is_pending());
        drop(b);
        let mut c = Box::pin(sessions.enter(&one, ProducerId(1)));
        assert!(poll!(&mut c).is_pending(), "the first still reads");
        drop(a);
        c.await.unwrap();
        assert!(sessions.seats().by_name.is_empty());
    }
}
