//! The way in: a message finds room in the budget, or its place among those that wait.

use std::{
    sync::atomic::Ordering,
    task::{Context, Poll},
};

use super::{
    Fate, Message, SendError, SendErrorKind,
    budget::{Cost, Entrance, Ticket},
    core::Core,
    queue::Queued,
    receipt::{self, Receipt},
};
use crate::{Timestamp, metrics::producer as metrics, time, wire::encoded_len};

/// What a message costs of the budget beside its content: the memory of its place in the queue and of its receipt.
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

/// A message in front of the budget, with the way it will go.
#[derive(Debug)]
pub(crate) struct Applicant {
    pub(super) queued: Queued,
    way: Way,
}

/// What a call that sends gets.
pub(crate) enum Entered {
    Accepted(Receipt),
    Waiting(Ticket, Receipt),
}

impl Core {
    /// Takes a message in, or gives it its place among those that wait for room.
    pub(crate) fn enter(
        &self,
        message: Message,
        way: Way,
        wait: bool,
    ) -> Result<Entered, SendError> {
        let len = message.content_len() as u64;
        let encoded = encoded_len(&message.record) as u64;
        let most = self.max_message.load(Ordering::Relaxed);
        if len > most || encoded > most + FRAMING {
            return Err(self.rejected(SendErrorKind::TooLarge).message(message));
        }
        let Message { mut record, topic } = message;
        if record.time == Timestamp::default() {
            record.time = time::timestamp();
        }
        let (slot, receipt) = receipt::slot();
        let cost = Cost::one(len + MESSAGE_OVERHEAD);
        let applicant = Applicant {
            queued: Queued {
                record,
                topic,
                slot,
                len: encoded,
                cost,
                at: time::now(),
                era: 0,
            },
            way,
        };
        #[cfg(feature = "spool")]
        if let Some(spool) = &self.spool {
            return spool.enter(self, applicant, receipt, wait);
        }
        self.enter_memory(applicant, receipt, wait)
    }

    /// The usual way in.
    pub(super) fn enter_memory(
        &self,
        applicant: Applicant,
        receipt: Receipt,
        wait: bool,
    ) -> Result<Entered, SendError> {
        let cost = applicant.queued.cost;
        if !wait {
            if !self.budget.try_take(cost) {
                return Err(self.reject(SendErrorKind::Full, applicant));
            }
            return self.admit(applicant).map(|()| Entered::Accepted(receipt));
        }
        match self.budget.enter(cost, applicant) {
            Entrance::Admitted(applicant) => {
                self.admit(applicant).map(|()| Entered::Accepted(receipt))
            }
            Entrance::Waiting(ticket) => Ok(Entered::Waiting(ticket, receipt)),
            Entrance::Closed(applicant) => Err(self.reject(SendErrorKind::Closed, applicant)),
        }
    }

    /// An applicant that holds its budget is accepted, unless the producer has ended meanwhile.
    pub(super) fn admit(&self, applicant: Applicant) -> Result<(), SendError> {
        if self.ended.load(Ordering::SeqCst) {
            let mut admitted = Vec::new();
            self.budget.release(applicant.queued.cost, &mut admitted);
            admitted.into_iter().for_each(Applicant::forsake);
            return Err(self.reject(SendErrorKind::Closed, applicant));
        }
        self.accept(applicant);
        Ok(())
    }

    pub(super) fn accept(&self, mut applicant: Applicant) {
        applicant.queued.era = self.eras.accept();
        self.enqueue(applicant);
    }

    /// Puts an accepted message where a lane finds it.
    pub(super) fn enqueue(&self, Applicant { queued, way }: Applicant) {
        match way {
            Way::Lanes => {
                let waiting = self.queue.push(queued);
                if waiting == self.backlog_edge.load(Ordering::Relaxed)
                    || self.scaler_quiet.load(Ordering::Relaxed)
                        && self.scaler_quiet.swap(false, Ordering::SeqCst)
                {
                    self.scaler_door.notify_one();
                }
                if !self.config.linger.is_zero() && self.has_full_batch() {
                    self.batch_door.notify_waiters();
                }
            }
            Way::Ordered => self.ordered.push(queued),
        }
        // An end that came in between has drained the queue before this message was in it.
        if self.ended.load(Ordering::SeqCst) {
            self.abandon_queued();
        }
    }

    /// Ready once a message that waited was accepted, or is given back.
    pub(crate) fn poll_entered(
        &self,
        ticket: Ticket,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendError>> {
        #[cfg(feature = "spool")]
        let entered = match &self.spool {
            Some(spool) => spool.poll_entered(self, ticket, cx),
            None => self.budget.poll_admitted(ticket, cx),
        };
        #[cfg(not(feature = "spool"))]
        let entered = self.budget.poll_admitted(ticket, cx);
        entered.map_err(|applicant| self.reject(SendErrorKind::Closed, applicant))
    }

    /// Why a message that was not accepted is not; counted.
    pub(crate) fn rejected(&self, kind: SendErrorKind) -> SendError {
        metrics::rejected(kind);
        match (kind, self.end.get()) {
            (SendErrorKind::Closed, Some(end)) => end.clone().with_fate(Fate::NotStored),
            _ => SendError::new(kind, Fate::NotStored),
        }
    }

    pub(super) fn reject(&self, kind: SendErrorKind, applicant: Applicant) -> SendError {
        self.rejected(kind).message(applicant.into_message())
    }

    /// Gives back the place of an applicant who does not want to wait any longer; the message comes back
    /// unless it was accepted before.
    pub(crate) fn leave(&self, ticket: Ticket) -> Option<Message> {
        #[cfg(feature = "spool")]
        if let Some(spool) = &self.spool {
            return spool.leave(self, ticket).map(Applicant::into_message);
        }
        let mut admitted = Vec::new();
        let applicant = self.budget.leave(ticket, &mut admitted);
        self.accept_all(admitted);
        applicant.map(Applicant::into_message)
    }

    pub(super) fn accept_all(&self, admitted: Vec<Applicant>) {
        for applicant in admitted {
            self.accept(applicant);
        }
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

impl Applicant {
    fn into_message(self) -> Message {
        Message {
            record: self.queued.record,
            topic: self.queued.topic,
        }
    }

    /// Was admitted by a release of a producer that has ended.
    fn forsake(self) {
        let Self { queued, .. } = self;
        queued
            .slot
            .failed(SendError::new(SendErrorKind::Closed, Fate::NotStored));
    }
}
