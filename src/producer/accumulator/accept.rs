//! The way in: a message finds room in the budget, or its place among those that wait.

use std::{
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use tokio::sync::oneshot;

use crate::producer::{
    Fate, Message, SendError, SendErrorKind,
    accumulator::budget::{Cost, Reservation, WaiterId},
    accumulator::chunk::{ChunkLimits, ChunkStart, Entry},
    receipt::{Promise, Receipt},
    shared::Shared,
};
use crate::{metrics::producer as metrics, time};

/// What a message costs of the budget beside its content: the memory of its place in a chunk and of its receipt.
pub(crate) const MESSAGE_OVERHEAD: u64 = 256;

/// What framing may add to a message of the largest size. Only a message of very many headers has more.
pub(in crate::producer) const FRAMING: u64 = 64 << 10;

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// Any lane.
    Unordered,
    /// The one ordered stream.
    Ordered,
}

/// What a message is to the budget and to its line.
#[derive(Debug, Clone, Copy)]
pub(in crate::producer) struct Size {
    /// The most bytes it takes in a batch.
    pub(in crate::producer) encoded: usize,
    pub(in crate::producer) cost: Cost,
}

/// A message that waits for room, with the way it will go.
#[derive(Debug)]
pub(crate) struct PendingMessage {
    pub(in crate::producer) message: Message,
    pub(in crate::producer) route: Route,
    pub(in crate::producer) size: Size,
    /// The call, in nanoseconds since the producer began.
    pub(in crate::producer) at: u64,
    /// Its receipt goes here once it is accepted.
    pub(in crate::producer) receipt: oneshot::Sender<Receipt>,
}

/// What a call that sends gets.
pub(crate) enum Submitted {
    Accepted(Receipt),
    Waiting(WaiterId, oneshot::Receiver<Receipt>),
}

impl Shared {
    /// Take a message in, or gives it its place among those that wait for room.
    pub(crate) fn enter(&self, message: Message, route: Route) -> Result<Submitted, SendError> {
        let Some(size) = self.size(&message) else {
            return Err(self.reject(SendErrorKind::TooLarge, message));
        };
        #[cfg(feature = "spool")]
        if let Some(spool) = &self.spool {
            return spool.enter(self, message, route, size);
        }
        self.enter_memory(message, route, size)
    }

    /// The usual way in.
    #[inline]
    pub(in crate::producer) fn enter_memory(
        &self,
        message: Message,
        route: Route,
        size: Size,
    ) -> Result<Submitted, SendError> {
        if self.budget.try_take(size.cost) {
            return self.admit(message, route, size).map(Submitted::Accepted);
        }
        self.wait(message, route, size)
    }

    #[cold]
    fn wait(&self, message: Message, route: Route, size: Size) -> Result<Submitted, SendError> {
        let (pending, waiting) = self.pending(message, route, size);
        match self.budget.enter(size.cost, pending) {
            Reservation::Admitted(PendingMessage { message, .. }) => {
                self.admit(message, route, size).map(Submitted::Accepted)
            }
            Reservation::Waiting(waiter) => Ok(Submitted::Waiting(waiter, waiting)),
            Reservation::Closed(pending) => {
                Err(self.reject(SendErrorKind::Closed, pending.message))
            }
        }
    }

    /// A message that is to wait for room, and where its receipt will come.
    pub(in crate::producer) fn pending(
        &self,
        mut message: Message,
        route: Route,
        size: Size,
    ) -> (PendingMessage, oneshot::Receiver<Receipt>) {
        if message.timestamp().is_none() {
            message = message.with_timestamp(time::timestamp());
        }
        let (receipt, waiting) = oneshot::channel();
        let pending = PendingMessage {
            message,
            route,
            size,
            at: self.nanos(time::now()),
            receipt,
        };
        (pending, waiting)
    }

    /// Take a message in where there is room at once.
    pub(crate) fn enter_now(&self, message: Message, route: Route) -> Result<Receipt, SendError> {
        let Some(size) = self.size(&message) else {
            return Err(self.reject(SendErrorKind::TooLarge, message));
        };
        #[cfg(feature = "spool")]
        if let Some(spool) = &self.spool {
            return spool.enter_now(self, message, route, size);
        }
        self.enter_memory_now(message, route, size)
    }

    /// The usual way in, without waiting.
    #[inline]
    pub(in crate::producer) fn enter_memory_now(
        &self,
        message: Message,
        route: Route,
        size: Size,
    ) -> Result<Receipt, SendError> {
        match self.budget.try_take(size.cost) {
            true => self.admit(message, route, size),
            false if self.budget.is_closed() => Err(self.reject(SendErrorKind::Closed, message)),
            false => Err(self.reject(SendErrorKind::Full, message)),
        }
    }

    /// `None` for a message that is too large.
    fn size(&self, message: &Message) -> Option<Size> {
        let len = message.content_len() as u64;
        let encoded = message.encoded_len();
        let most = self.max_message.load(Ordering::Relaxed);
        let fits = len <= most && encoded as u64 <= most + FRAMING;
        fits.then(|| Size {
            encoded,
            cost: Cost::one(len + MESSAGE_OVERHEAD),
        })
    }

    /// A message that holds its budget is accepted, unless the producer has ended meanwhile.
    pub(in crate::producer) fn admit(
        &self,
        message: Message,
        route: Route,
        size: Size,
    ) -> Result<Receipt, SendError> {
        if self.has_ended() {
            self.release(size.cost, [0; 2]);
            return Err(self.reject(SendErrorKind::Closed, message));
        }
        Ok(self.accept(&message, route, size, self.nanos(time::now())))
    }

    fn accept(&self, message: &Message, route: Route, size: Size, at: u64) -> Receipt {
        self.accept_as(message, route, size, at, None)
    }

    /// Accepts a message; one that has a receipt and is waited for by a flush keeps both.
    #[inline]
    pub(in crate::producer) fn accept_as(
        &self,
        message: &Message,
        route: Route,
        size: Size,
        at: u64,
        kept: Option<(Arc<Promise>, u64)>,
    ) -> Receipt {
        let (promise, epoch) = kept.unzip();
        let entry = Entry {
            message,
            topic: message.topic().filter(|topic| **topic != self.topic),
            len: size.encoded,
            cost: size.cost,
            at,
            promise,
        };
        let limits = ChunkLimits {
            bytes: self.chunk_bytes.load(Ordering::Relaxed),
            messages: self.chunk_messages.load(Ordering::Relaxed),
            max_age_spread: self.max_age_spread,
            epoch: self.epochs.current(),
        };
        let open = || {
            let now = time::now();
            ChunkStart {
                now,
                nanos: self.nanos(now),
                wall: time::timestamp(),
                epoch: epoch.unwrap_or_else(|| self.epochs.begin()),
            }
        };
        let receipt = match route {
            Route::Unordered => {
                let receipt = self.queue.push(&entry, &limits, open);
                self.tell_scaler();
                if !self.config.linger.is_zero() && self.has_full_batch() {
                    self.batch_notify.notify_waiters();
                }
                receipt
            }
            Route::Ordered => self.ordered.push(&entry, &limits, open),
        };
        // An end that came in between has drained the queue before this message was in it.
        if self.has_ended() {
            self.abandon_queued();
        }
        receipt
    }

    /// The scaler looks where the backlog has come to its edge, or something came after a quiet time.
    fn tell_scaler(&self) {
        let edge = self.backlog_edge.load(Ordering::Relaxed);
        let crossed = edge != usize::MAX
            && self.queue.len() >= edge
            && self.backlog_edge.swap(usize::MAX, Ordering::Relaxed) == edge;
        let woken = self.scaler_quiet.load(Ordering::Relaxed)
            && self.scaler_quiet.swap(false, Ordering::SeqCst);
        if crossed || woken {
            self.scaler_notify.notify_one();
        }
    }

    /// Ready once a message that waited was let in, or is given back.
    pub(crate) fn poll_entered(
        &self,
        waiter: WaiterId,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendError>> {
        #[cfg(feature = "spool")]
        if let Some(spool) = &self.spool {
            return spool
                .poll_entered(self, waiter, cx)
                .map_err(|pending| self.reject(SendErrorKind::Closed, pending.message));
        }
        self.budget
            .poll_admitted(waiter, cx)
            .map_err(|pending| self.reject(SendErrorKind::Closed, pending.message))
    }

    /// Why a message that was not accepted is not; counted.
    pub(crate) fn rejected(&self, kind: SendErrorKind) -> SendError {
        metrics::rejected(kind.as_str());
        match (kind, self.end.get()) {
            (SendErrorKind::Closed, Some(end)) => end.clone().with_fate(Fate::NotStored),
            _ => SendError::new(kind, Fate::NotStored),
        }
    }

    #[cold]
    pub(in crate::producer) fn reject(&self, kind: SendErrorKind, message: Message) -> SendError {
        self.rejected(kind).message(message)
    }

    /// Gives back the place of an applicant who does not want to wait any longer; the message comes back
    /// unless it was accepted before.
    pub(crate) fn leave(&self, waiter: WaiterId) -> Option<Message> {
        #[cfg(feature = "spool")]
        if let Some(spool) = &self.spool {
            return spool.leave(self, waiter).map(|pending| pending.message);
        }
        let pending = self
            .budget
            .leave(waiter, |admitted| self.admitted(admitted));
        pending.map(|pending| pending.message)
    }

    pub(in crate::producer) fn admitted(&self, pending: PendingMessage) {
        let PendingMessage {
            message,
            route,
            size,
            at,
            receipt,
        } = pending;
        // Whoever waits no longer has given up the receipt, not the message.
        let _ = receipt.send(self.accept(&message, route, size, at));
    }

    /// Nobody enters any more; those who wait for room get their messages back.
    pub(crate) fn close_entrance(&self) {
        self.budget.close();
        #[cfg(feature = "spool")]
        if let Some(spool) = &self.spool {
            spool.close_entrance();
        }
    }
}
