//! Receipts: how an outcome finds the caller who waits for it.
//!
//! All messages of a [chunk](super::chunk) share one promise, and each receipt is the promise and a number: so a message costs
//! no allocation of its own, and an outcome is written once for all of them. The caller reads it when it likes, and a receipt that
//! is dropped changes nothing about delivery.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    task::{Context, Poll, Waker},
};

use super::{Message, SendError};
use crate::{Offset, Timestamp, TopicName};

/// The broker's word that a message is stored, durably where its store is durable.
#[derive(Clone, PartialEq, Eq)]
pub struct Ack {
    batch: Arc<Accepted>,
    index: u32,
}

/// What the messages of one promise have in common once they are stored.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) topic: TopicName,
    /// The place of the promise's first message; the others follow without a gap.
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

/// What a producer owes to the receipts of some messages: one outcome for all.
#[derive(Debug, Default)]
pub(crate) struct Promise {
    /// Written once by the producer; empty until the messages have their outcome.
    outcome: OnceLock<Outcome>,
    /// Who waits for it, one entry a receipt that was polled. Empty for good once there is an outcome.
    waiting: Mutex<Vec<Waker>>,
}

#[derive(Debug)]
enum Outcome {
    Stored(Arc<Accepted>),
    /// Why, and the messages in their order to be handed back.
    Failed(SendError, Vec<Message>),
}

impl Promise {
    /// Says that the messages are stored.
    pub(crate) fn stored(&self, accepted: Accepted) {
        self.settle(Outcome::Stored(Arc::new(accepted)));
    }

    /// Says that they are not, or that nobody knows.
    pub(crate) fn failed(&self, error: SendError, messages: Vec<Message>) {
        self.settle(Outcome::Failed(error, messages));
    }

    fn settle(&self, outcome: Outcome) {
        // A request is taken out of the ring by its outcome, so nothing was there before.
        let _ = self.outcome.set(outcome);
        let waiting = std::mem::take(&mut *self.waiting());
        waiting.into_iter().for_each(Waker::wake);
    }

    fn of(&self, index: u32) -> Option<Result<Ack, SendError>> {
        Some(match self.outcome.get()? {
            Outcome::Stored(accepted) => Ok(Ack {
                batch: Arc::clone(accepted),
                index,
            }),
            Outcome::Failed(error, messages) => {
                let index = usize::try_from(index).unwrap_or(usize::MAX);
                let error = error.clone();
                Err(match messages.get(index) {
                    Some(message) => error.message(message.clone()),
                    None => error,
                })
            }
        })
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Resolves to the outcome of one message accepted by `send_async`.
///
/// # Cancel safety
/// Dropping a receipt, or the future made of it, changes nothing about delivery.
#[must_use = "a receipt is the only place where the outcome of this message is told"]
pub struct Receipt {
    promise: Arc<Promise>,
    /// The message's place among those of the promise.
    index: u32,
    /// Its place among those who wait; `None` while it does not.
    waits_at: Option<u32>,
}

impl Receipt {
    /// The receipt of the `index`th message of a promise.
    pub(crate) const fn new(promise: Arc<Promise>, index: u32) -> Self {
        Self {
            promise,
            index,
            waits_at: None,
        }
    }

    /// The outcome, if it is there already.
    #[must_use]
    pub fn try_outcome(&self) -> Option<Result<Ack, SendError>> {
        self.promise.of(self.index)
    }
}

impl Future for Receipt {
    type Output = Result<Ack, SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(outcome) = this.try_outcome() {
            return Poll::Ready(outcome);
        }
        let mut waiting = this.promise.waiting();
        // Under the lock: an outcome that is not there yet will find the waker.
        if let Some(outcome) = this.promise.of(this.index) {
            return Poll::Ready(outcome);
        }
        let place = this.waits_at.and_then(|at| usize::try_from(at).ok());
        match place.and_then(|place| waiting.get_mut(place)) {
            Some(waker) => waker.clone_from(cx.waker()),
            None => {
                this.waits_at = u32::try_from(waiting.len()).ok();
                waiting.push(cx.waker().clone());
            }
        }
        Poll::Pending
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt")
            .field("outcome", &self.try_outcome())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, task::noop_waker};

    use super::*;
    use crate::producer::{Fate, SendErrorKind};

    fn accepted() -> Accepted {
        Accepted {
            topic: TopicName::new("t").unwrap(),
            base: Offset(100),
            time: Timestamp(5),
        }
    }

    fn receipts(promise: &Arc<Promise>, count: u32) -> Vec<Receipt> {
        (0..count)
            .map(|index| Receipt::new(Arc::clone(promise), index))
            .collect()
    }

    #[test]
    fn each_receipt_of_a_promise_gets_its_own_outcome() {
        let (stored, failed) = (Arc::new(Promise::default()), Arc::new(Promise::default()));
        let (of_stored, of_failed) = (receipts(&stored, 3), receipts(&failed, 3));
        stored.stored(accepted());
        let messages = ["a", "b", "c"].map(Message::from).to_vec();
        let error = SendError::new(SendErrorKind::Expired, Fate::NotStored);
        failed.failed(error, messages.clone());
        for (i, receipt) in of_stored.into_iter().enumerate() {
            let ack = receipt.now_or_never().unwrap().unwrap();
            assert_eq!(ack.offset(), Offset(100 + i as u64));
        }
        for (receipt, message) in of_failed.into_iter().zip(messages) {
            let error = receipt.now_or_never().unwrap().unwrap_err();
            assert_eq!(error.into_message(), Some(message));
        }
    }

    #[tokio::test]
    async fn every_receipt_that_waits_is_woken_by_the_outcome() {
        let promise = Arc::new(Promise::default());
        let tasks = crate::tasks::Tasks::new();
        let waiting: Vec<_> = receipts(&promise, 3)
            .into_iter()
            .map(|receipt| tasks.spawn(receipt))
            .collect();
        tokio::task::yield_now().await;
        promise.failed(
            SendError::new(SendErrorKind::Expired, Fate::Unknown),
            Vec::new(),
        );
        for waiting in waiting {
            let error = waiting.await.unwrap().unwrap_err();
            assert_eq!(error.kind(), SendErrorKind::Expired);
            assert_eq!(error.fate(), Fate::Unknown);
        }
    }

    #[test]
    fn a_receipt_that_is_polled_often_waits_once() {
        let promise = Arc::new(Promise::default());
        let waker = noop_waker();
        let mut receipts = receipts(&promise, 2);
        for _ in 0..5 {
            for receipt in &mut receipts {
                let polled = Pin::new(receipt).poll(&mut Context::from_waker(&waker));
                assert!(polled.is_pending());
            }
        }
        assert_eq!(promise.waiting().len(), 2);
    }

    #[test]
    fn an_outcome_waits_for_the_caller_who_comes_late_and_can_be_read_again() {
        let promise = Arc::new(Promise::default());
        let receipt = Receipt::new(Arc::clone(&promise), 1);
        assert!(receipt.try_outcome().is_none());
        promise.stored(accepted());
        assert_eq!(
            receipt.try_outcome().unwrap().unwrap().offset(),
            Offset(101)
        );
        assert!(receipt.now_or_never().unwrap().is_ok());
    }
}
