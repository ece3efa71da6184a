//! Acknowledging: the newest wins, and whoever wants to know waits until the broker has it.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering::SeqCst},
};

use tokio::sync::watch;

use super::ConsumeError;
use crate::Offset;

/// Acknowledges from elsewhere what a [`Consumer`](super::Consumer) has handed out. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Acker {
    pub(super) desk: Arc<Desk>,
}

impl Acker {
    /// Everything up to and with `offset` is done with: waits until the broker has that, durably where its store is
    /// durable. While there is no connection it waits for one.
    ///
    /// # Errors
    /// [`AckError`].
    ///
    /// # Cancel safety
    /// Dropping this does not take the acknowledgement back.
    pub async fn ack(&self, offset: Offset) -> Result<(), AckError> {
        let next = self.desk.want(offset)?;
        self.desk.confirmed(next).await
    }

    /// The same without waiting. Of several, the newest goes out; none needs an answer of its own.
    ///
    /// # Errors
    /// [`AckError`].
    pub fn ack_nowait(&self, offset: Offset) -> Result<(), AckError> {
        self.desk.want(offset).map(|_| ())
    }
}

/// Why an acknowledgement was not taken, or not confirmed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AckError {
    /// The consumer has no name, so the broker keeps no position for it.
    #[error("a consumer without a name has no position to acknowledge")]
    Unnamed,
    /// The message has not been handed out.
    #[error("offset {offset} has not been handed out: {next} is the next")]
    NotReceived {
        /// The offset that was to be acknowledged.
        offset: Offset,
        /// The next offset to be handed out.
        next: Offset,
    },
    /// The broker did not confirm in time. It may have the position all the same.
    #[error("the broker did not confirm in time")]
    Unconfirmed,
    /// The consumer has ended. The broker may have the position all the same.
    #[error("the consumer has ended")]
    Ended(#[source] ConsumeError),
}

/// What the application and the receiving task share. Each field has one side that writes it.
#[derive(Debug)]
pub(super) struct Desk {
    named: bool,
    /// Written by the application: the first offset it is not done with.
    wanted: watch::Sender<Offset>,
    /// Written by the application: the next offset that is handed out.
    handed: AtomicU64,
    /// Written by the application: all bytes it has taken.
    pub(super) taken: watch::Sender<u64>,
    /// Written by the task; closes with it.
    confirmed: watch::Receiver<Offset>,
    /// Written by the task, once, as its last word.
    ended: OnceLock<ConsumeError>,
}

impl Desk {
    /// With the task's end of what is confirmed.
    pub(super) fn new(named: bool) -> (Arc<Self>, watch::Sender<Offset>) {
        let (confirm, confirmed) = watch::channel(Offset(0));
        let desk = Self {
            named,
            wanted: watch::Sender::new(Offset(0)),
            handed: AtomicU64::new(0),
            taken: watch::Sender::new(0),
            confirmed,
            ended: OnceLock::new(),
        };
        (Arc::new(desk), confirm)
    }

    pub(super) fn handed(&self) -> Offset {
        Offset(self.handed.load(SeqCst))
    }

    pub(super) fn set_handed(&self, next: Offset) {
        self.handed.store(next.0, SeqCst);
    }

    /// The first offset that is not acknowledged, now and as it moves.
    pub(super) fn wanted(&self) -> watch::Receiver<Offset> {
        self.wanted.subscribe()
    }

    pub(super) fn end(&self, error: ConsumeError) {
        // The first word counts.
        let _ = self.ended.set(error);
    }

    pub(super) fn ended(&self) -> ConsumeError {
        self.ended.get().cloned().unwrap_or(ConsumeError::Closed)
    }

    fn want(&self, offset: Offset) -> Result<Offset, AckError> {
        if !self.named {
            return Err(AckError::Unnamed);
        }
        let next = self.handed();
        if offset >= next {
            return Err(AckError::NotReceived { offset, next });
        }
        if self.confirmed.has_changed().is_err() {
            return Err(AckError::Ended(self.ended()));
        }
        let wanted = offset.next();
        self.wanted.send_if_modified(|now| {
            let further = wanted > *now;
            *now = wanted.max(*now);
            further
        });
        Ok(wanted)
    }

    async fn confirmed(&self, next: Offset) -> Result<(), AckError> {
        let mut confirmed = self.confirmed.clone();
        match confirmed.wait_for(|confirmed| *confirmed >= next).await {
            Ok(_) => Ok(()),
            Err(_) => Err(AckError::Ended(self.ended())),
        }
    }

    /// Waits until the newest acknowledgement is confirmed.
    pub(super) async fn settled(&self) -> Result<(), AckError> {
        let wanted = *self.wanted.borrow();
        self.confirmed(wanted).await
    }
}
