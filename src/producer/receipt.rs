//! Receipts: how an outcome finds the caller who waits for it.
//!
//! A receipt and the producer share a slot. Slots are made 64 at a time, a block for each thread that sends,
//! so that a message costs no allocation of its own; a block is freed when the last of its slots is. The
//! producer writes an outcome once, the caller reads it when it likes, and a receipt that is dropped changes nothing
//! about delivery.

use std::{
    cell::RefCell,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;

use super::SendError;
use crate::{Offset, Timestamp, TopicName};

/// Slots made at a time.
const BLOCK: usize = 64;

/// The broker's word that a message is stored, durably where its store is durable.
#[derive(Clone, PartialEq, Eq)]
pub struct Ack {
    batch: Arc<Accepted>,
    index: u32,
}

/// What the messages of one batch have in common.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) topic: TopicName,
    pub(crate) base: Offset,
    pub(crate) time: Timestamp,
}

impl Ack {
    /// The topic the message is in.
    #[must_use]
    pub fn topic(&self) -> &TopicName {
        &self.batch.topic
    }

    /// Its place there.
    #[must_use]
    pub fn offset(&self) -> Offset {
        Offset(self.batch.base.0 + u64::from(self.index))
    }

    /// When it was stored, by the broker's clock.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        self.batch.time
    }
}

impl fmt::Debug for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ack")
            .field("topic", self.topic())
            .field("offset", &self.offset())
            .field("time", &self.time())
            .finish()
    }
}

/// How a message ended.
pub(crate) type Outcome = Result<Ack, SendError>;

#[derive(Debug, Default)]
struct Cell {
    /// Written once by the producer; empty until the message has its outcome.
    outcome: OnceLock<Outcome>,
    /// Who waits for it; empty where nobody does.
    waker: AtomicWaker,
}

type Block = [Cell; BLOCK];

/// The producer's half of a slot: resolves it once.
pub(crate) struct Slot {
    block: Arc<Block>,
    index: u8,
}

impl Slot {
    /// Says that the message is stored as the `index`th of its batch.
    pub(crate) fn stored(self, batch: &Arc<Accepted>, index: u32) {
        self.resolve(Ok(Ack {
            batch: Arc::clone(batch),
            index,
        }));
    }

    /// Says that it is not, or that nobody knows.
    pub(crate) fn failed(self, error: SendError) {
        self.resolve(Err(error));
    }

    fn resolve(self, outcome: Outcome) {
        let cell = &self.block[usize::from(self.index)];
        // A slot is consumed by its outcome, so nothing was there before.
        let _ = cell.outcome.set(outcome);
        cell.waker.wake();
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").finish_non_exhaustive()
    }
}

/// Resolves to the outcome of one message accepted by `send_async`.
///
/// # Cancel safety
/// Dropping a receipt, or the future made of it, changes nothing about delivery.
#[must_use = "a receipt is the only place where the outcome of this message is told"]
pub struct Receipt {
    block: Arc<Block>,
    index: u8,
}

impl Receipt {
    /// The outcome, if it is there already.
    #[must_use]
    pub fn try_outcome(&self) -> Option<Result<Ack, SendError>> {
        self.cell().outcome.get().cloned()
    }

    fn cell(&self) -> &Cell {
        &self.block[usize::from(self.index)]
    }
}

impl Future for Receipt {
    type Output = Result<Ack, SendError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let cell = self.cell();
        if let Some(outcome) = cell.outcome.get() {
            return Poll::Ready(outcome.clone());
        }
        cell.waker.register(cx.waker());
        // The outcome may have come between the look and the registration.
        match cell.outcome.get() {
            Some(outcome) => Poll::Ready(outcome.clone()),
            None => Poll::Pending,
        }
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt")
            .field("outcome", &self.cell().outcome.get())
            .finish()
    }
}

thread_local! {
    /// The block this thread takes slots from, and the next free one in it.
    static CURRENT: RefCell<Option<(Arc<Block>, u8)>> = const { RefCell::new(None) };
}

/// A fresh slot, both halves.
pub(crate) fn slot() -> (Slot, Receipt) {
    CURRENT.with_borrow_mut(|current| {
        let (block, index) = match current.take() {
            Some((block, index)) if usize::from(index) < BLOCK => (block, index),
            _ => (Arc::new(std::array::from_fn(|_| Cell::default())), 0),
        };
        let slot = Slot {
            block: Arc::clone(&block),
            index,
        };
        let receipt = Receipt {
            block: Arc::clone(&block),
            index,
        };
        *current = Some((block, index + 1));
        (slot, receipt)
    })
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::producer::{Fate, SendErrorKind};

    fn accepted() -> Arc<Accepted> {
        Arc::new(Accepted {
            topic: TopicName::new("t").unwrap(),
            base: Offset(100),
            time: Timestamp(5),
        })
    }

    #[test]
    fn each_slot_of_many_blocks_gets_its_own_outcome() {
        let pairs: Vec<_> = (0..3 * BLOCK).map(|_| slot()).collect();
        let batch = accepted();
        let receipts: Vec<_> = pairs
            .into_iter()
            .enumerate()
            .map(|(i, (slot, receipt))| {
                slot.stored(&batch, u32::try_from(i).unwrap());
                receipt
            })
            .collect();
        for (i, receipt) in receipts.into_iter().enumerate() {
            let ack = receipt.now_or_never().unwrap().unwrap();
            assert_eq!(ack.offset(), Offset(100 + i as u64));
        }
    }

    #[tokio::test]
    async fn a_receipt_that_waits_is_woken_by_its_outcome() {
        let (slot, receipt) = slot();
        let waiting = crate::tasks::Tasks::new().spawn(receipt);
        tokio::task::yield_now().await;
        slot.failed(SendError::new(SendErrorKind::Expired, Fate::Unknown));
        let error = waiting.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), SendErrorKind::Expired);
        assert_eq!(error.fate(), Fate::Unknown);
    }

    #[test]
    fn an_outcome_waits_for_the_caller_who_comes_late_and_can_be_read_again() {
        let (slot, receipt) = slot();
        assert!(receipt.try_outcome().is_none());
        slot.stored(&accepted(), 1);
        assert_eq!(
            receipt.try_outcome().unwrap().unwrap().offset(),
            Offset(101)
        );
        assert!(receipt.now_or_never().unwrap().is_ok());
    }
}
