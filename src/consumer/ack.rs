//! Acknowledgements: the newest one wins, and a caller can wait until the broker has confirmed it.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use tokio::sync::watch;

use super::ConsumeError;
use crate::Offset;

/// Acknowledges the messages of a [`Consumer`](super::Consumer) from another task. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Acker {
    pub(super) state: Arc<AckState>,
}

impl Acker {
    /// Acknowledges all messages up to and including `offset`, and waits until the broker has confirmed it. With a
    /// durable store, the position is durable then. Without a connection, waits for one.
    ///
    /// # Errors
    /// [`AckError`].
    ///
    /// # Cancel safety
    /// Dropping the future does not withdraw the acknowledgement.
    pub async fn ack(&self, offset: Offset) -> Result<(), AckError> {
        let next = self.state.request(offset)?;
        self.state.wait_confirmed(next).await
    }

    /// Acknowledges all messages up to and including `offset`, without waiting. If there are several acknowledgements,
    /// only the newest is sent.
    ///
    /// # Errors
    /// [`AckError`].
    pub fn ack_nowait(&self, offset: Offset) -> Result<(), AckError> {
        self.state.request(offset).map(|_| ())
    }
}

/// Why an acknowledgement was refused or not confirmed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AckError {
    /// The consumer has no name, so the broker keeps no position for it.
    #[error("a consumer without a name has no position to acknowledge")]
    Unnamed,
    /// The message has not been received.
    #[error("offset {offset} has not been handed out: {next} is the next")]
    NotReceived {
        /// The offset that was to be acknowledged.
        offset: Offset,
        /// The offset of the next message.
        next: Offset,
    },
    /// The broker did not confirm in time. It may have stored the position nevertheless.
    #[error("the broker did not confirm in time")]
    Unconfirmed,
    /// The consumer has ended. The broker may have stored the position nevertheless.
    #[error("the consumer has ended")]
    Ended(#[source] ConsumeError),
}

/// What the application and the subscription task share. Each field is written by one of them only.
#[derive(Debug)]
pub(super) struct AckState {
    named: bool,
    /// The first offset that is not acknowledged. Written by the application.
    requested: watch::Sender<Offset>,
    /// The offset of the next message for the application. Written by the application.
    next: AtomicU64,
    /// The sum of all bytes that the application has taken. Written by the application.
    pub(super) taken: watch::Sender<u64>,
    /// The first offset whose acknowledgement is not confirmed. Written by the task; closed when it ends.
    confirmed: watch::Receiver<Offset>,
    /// Why the task ended. Written by the task, once.
    ended: OnceLock<ConsumeError>,
}

impl AckState {
    /// Returns the state, and the sender with which the task confirms.
    pub(super) fn new(named: bool) -> (Arc<Self>, watch::Sender<Offset>) {
        let (confirm, confirmed) = watch::channel(Offset(0));
        let state = Self {
            named,
            requested: watch::Sender::new(Offset(0)),
            next: AtomicU64::new(0),
            taken: watch::Sender::new(0),
            confirmed,
            ended: OnceLock::new(),
        };
        (Arc::new(state), confirm)
    }

    /// Returns the offset of the next message for the application.
    pub(super) fn next_offset(&self) -> Offset {
        Offset(self.next.load(Relaxed))
    }

    pub(super) fn set_next_offset(&self, next: Offset) {
        self.next.store(next.0, Relaxed);
    }

    /// Watches the first offset that is not acknowledged.
    pub(super) fn requested(&self) -> watch::Receiver<Offset> {
        self.requested.subscribe()
    }

    /// Records why the task ended. Later calls change nothing.
    pub(super) fn set_ended(&self, error: ConsumeError) {
        let _ = self.ended.set(error);
    }

    /// Returns why the task ended.
    pub(super) fn ended(&self) -> ConsumeError {
        self.ended.get().cloned().unwrap_or(ConsumeError::Closed)
    }

    /// Requests the acknowledgement of `offset`. Returns the offset after it.
    fn request(&self, offset: Offset) -> Result<Offset, AckError> {
        if !self.named {
            return Err(AckError::Unnamed);
        }
        let next = self.next_offset();
        if offset >= next {
            return Err(AckError::NotReceived { offset, next });
        }
        if self.confirmed.has_changed().is_err() {
            return Err(AckError::Ended(self.ended()));
        }
        let requested = offset.next();
        self.requested.send_if_modified(|now| {
            let further = requested > *now;
            *now = requested.max(*now);
            further
        });
        Ok(requested)
    }

    async fn wait_confirmed(&self, next: Offset) -> Result<(), AckError> {
        let mut confirmed = self.confirmed.clone();
        match confirmed.wait_for(|confirmed| *confirmed >= next).await {
            Ok(_) => Ok(()),
            Err(_) => Err(AckError::Ended(self.ended())),
        }
    }

    /// Waits until the newest acknowledgement is confirmed.
    pub(super) async fn wait_all_confirmed(&self) -> Result<(), AckError> {
        let requested = *self.requested.borrow();
        self.wait_confirmed(requested).await
    }
}
