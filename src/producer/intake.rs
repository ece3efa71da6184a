//! The way in: a message finds room in the budget, or its place among those that wait.

use std::{
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use tokio::sync::oneshot;

use super::{
    Fate, Message, SendError, SendErrorKind,
    budget::{Cost, Entrance, Ticket},
    chunk::{Bounds, Entry, Opening},
    core::Core,
    receipt::{Promise, Receipt},
};
use crate::{Timestamp, metrics::producer as metrics, time, wire::encoded_len};

/// What a message costs of the budget beside its content: the memory of its place in a chunk and of its receipt.
pub(crate) const MESSAGE_OVERHEAD: u64 = 256;

/// What framing may add to a message of the largest size. Only a message of very many headers has more.
pub(super) const FRAMING: u64 = 64 << 10;

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Any lane.
    Lanes,
    /// The one ordered stream.
    Ordered,
}

/// What a message is to the budget and to its line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    /// The most bytes it takes in a batch.
    pub(super) encoded: usize,
    pub(super) cost: Cost,
}

/// A message that waits for room, with the way it will go.
#[derive(Debug)]
pub(crate) struct Applicant {
    pub(super) message: Message,
    pub(super) way: Way,
    pub(super) size: Size,
    /// The call, in nanoseconds since the producer began.
    pub(super) at: u64,
    /// Its receipt goes here once it is accepted.
    pub(super) receipt: oneshot::Sender<Receipt>,
}

/// What a call that sends gets.
pub(crate) enum Entered {
    Accepted(Receipt),
    Waiting(Ticket, oneshot::Receiver<Receipt>),
}

impl Core {
    /// Takes a message in, or gives it its place among those that wait for room.
    pub(crate) fn enter(&self, message: Message, way: Way) -> Result<Entered, SendError> {
        let Some(size) = self.size(&message) else {
            return Err(self.reject(SendErrorKind::TooLarge, message));
        };
        #[cfg(feature = "spool")]
        if let Some(spool) = &self.spool {
            return spool.enter(self, message, way, size);
        }
        self.enter_memory(message, way, size)
    }

    /// The usual way in.
    #[inline]
    pub(super) fn enter_memory(
        &self,
        message: Message,
        way: Way,
        size: Size,
    ) -> Result<Entered, SendError> {
        if self.budget.try_take(size.cost) {
            return self.admit(message, way, size).map(Entered::Accepted);
        }
        self.wait(message, way, size)
    }

    #[cold]
    fn wait(&self, message: Message, way: Way, size: Size) -> Result<Entered, SendError> {
        let (applicant, waiting) = self.applicant(message, way, size);
        match self.budget.enter(size.cost, applicant) {
            Entrance::Admitted(Applicant { message, .. }) => {
                self.admit(message, way, size).map(Entered::Accepted)
            }
            Entrance::Waiting(ticket) => Ok(Entered::Waiting(ticket, waiting)),
            Entrance::Closed(applicant) => {
                Err(self.reject(SendErrorKind::Closed, applicant.message))
            }
        }
    }

    /// A message that is to wait for room, and where its receipt will come.
    pub(super) fn applicant(
        &self,
        mut message: Message,
        way: Way,
        size: Size,
    ) -> (Applicant, oneshot::Receiver<Receipt>) {
        let record = &mut message.record;
        if record.time == Timestamp::default() {
            record.time = time::timestamp();
        }
        let (receipt, waiting) = oneshot::channel();
        let applicant = Applicant {
            message,
            way,
            size,
            at: self.nanos(time::now()),
            receipt,
        };
        (applicant, waiting)
    }

    /// Takes a message in where there is room at once.
    pub(crate) fn enter_now(&self, message: Message, way: Way) -> Result<Receipt, SendError> {
        let Some(size) = self.size(&message) else {
            return Err(self.reject(SendErrorKind::TooLarge, message));
        };
        #[cfg(feature = "spool")]
        if let Some(spool) = &self.spool {
            return spool.enter_now(self, message, way, size);
        }
        self.enter_memory_now(message, way, size)
    }

    /// The usual way in, without waiting.
    #[inline]
    pub(super) fn enter_memory_now(
        &self,
        message: Message,
        way: Way,
        size: Size,
    ) -> Result<Receipt, SendError> {
        match self.budget.try_take(size.cost) {
            true => self.admit(message, way, size),
            false if self.budget.is_closed() => Err(self.reject(SendErrorKind::Closed, message)),
            false => Err(self.reject(SendErrorKind::Full, message)),
        }
    }

    /// `None` for a message that is too large.
    fn size(&self, message: &Message) -> Option<Size> {
        let len = message.content_len() as u64;
        let encoded = encoded_len(&message.record);
        let most = self.max_message.load(Ordering::Relaxed);
        let fits = len <= most && encoded as u64 <= most + FRAMING;
        fits.then(|| Size {
            encoded,
            cost: Cost::one(len + MESSAGE_OVERHEAD),
        })
    }

    /// A message that holds its budget is accepted, unless the producer has ended meanwhile.
    pub(super) fn admit(
        &self,
        message: Message,
        way: Way,
        size: Size,
    ) -> Result<Receipt, SendError> {
        if self.has_ended() {
            self.release(size.cost, [0; 2]);
            return Err(self.reject(SendErrorKind::Closed, message));
        }
        Ok(self.accept(&message, way, size, self.nanos(time::now())))
    }

    fn accept(&self, message: &Message, way: Way, size: Size, at: u64) -> Receipt {
        self.accept_as(message, way, size, at, None)
    }

    /// Accepts a message; one that has a receipt and is waited for by a flush keeps both.
    #[inline]
    pub(super) fn accept_as(
        &self,
        message: &Message,
        way: Way,
        size: Size,
        at: u64,
        kept: Option<(Arc<Promise>, u64)>,
    ) -> Receipt {
        let (promise, era) = kept.unzip();
        let entry = Entry {
            record: &message.record,
            topic: message.topic.as_ref().filter(|topic| **topic != self.topic),
            len: size.encoded,
            cost: size.cost,
            at,
            promise,
        };
        let bounds = Bounds {
            bytes: self.chunk_bytes.load(Ordering::Relaxed),
            messages: self.chunk_messages.load(Ordering::Relaxed),
            spread: self.spread,
            era: self.eras.current(),
        };
        let open = || {
            let now = time::now();
            Opening {
                now,
                nanos: self.nanos(now),
                wall: time::timestamp(),
                era: era.unwrap_or_else(|| self.eras.begin()),
            }
        };
        let receipt = match way {
            Way::Lanes => {
                let receipt = self.queue.push(&entry, &bounds, open);
                self.tell_scaler();
                if !self.config.linger.is_zero() && self.has_full_batch() {
                    self.batch_door.notify_waiters();
                }
                receipt
            }
            Way::Ordered => self.ordered.push(&entry, &bounds, open),
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
            self.scaler_door.notify_one();
        }
    }

    /// Ready once a message that waited was let in, or is given back.
    pub(crate) fn poll_entered(
        &self,
        ticket: Ticket,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendError>> {
        #[cfg(feature = "spool")]
        if let Some(spool) = &self.spool {
            return spool
                .poll_entered(self, ticket, cx)
                .map_err(|applicant| self.reject(SendErrorKind::Closed, applicant.message));
        }
        self.budget
            .poll_admitted(ticket, cx)
            .map_err(|applicant| self.reject(SendErrorKind::Closed, applicant.message))
    }

    /// Why a message that was not accepted is not; counted.
    pub(crate) fn rejected(&self, kind: SendErrorKind) -> SendError {
        metrics::rejected(kind);
        match (kind, self.end.get()) {
            (SendErrorKind::Closed, Some(end)) => end.clone().with_fate(Fate::NotStored),
            _ => SendError::new(kind, Fate::NotStored),
        }
    }

    #[cold]
    pub(super) fn reject(&self, kind: SendErrorKind, message: Message) -> SendError {
        self.rejected(kind).message(message)
    }

    /// Gives back the place of an applicant who does not want to wait any longer; the message comes back
    /// unless it was accepted before.
    pub(crate) fn leave(&self, ticket: Ticket) -> Option<Message> {
        #[cfg(feature = "spool")]
        if let Some(spool) = &self.spool {
            return spool.leave(self, ticket).map(|applicant| applicant.message);
        }
        let applicant = self
            .budget
            .leave(ticket, |admitted| self.admitted(admitted));
        applicant.map(|applicant| applicant.message)
    }

    pub(super) fn admitted(&self, applicant: Applicant) {
        let Applicant {
            message,
            way,
            size,
            at,
            receipt,
        } = applicant;
        // Whoever waits no longer has given up the receipt, not the message.
        let _ = receipt.send(self.accept(&message, way, size, at));
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
