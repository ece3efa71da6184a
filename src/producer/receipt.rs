//! Receipts: how an outcome reaches the caller who waits for it.
//!
//! All messages of a chunk share one promise, and a receipt is the promise and a number. So a message costs no allocation of
//! its own, and an outcome is written once for all of them. A message that keeps its place among others has a promise of
//! its own.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use super::{
    Message, SendError,
    waiters::{Place, Waiters},
};
use crate::{Offset, Timestamp, TopicName};

/// What became of a message that was sent: it is stored, or it is in the producer's spool on disk and will be.
///
/// Without a [spool](super::Config::spool), every message that has an `Ack` is stored, durably if the broker's store is
/// durable.
///
/// ```no_run
/// # async fn f(producer: anabranch::Producer) -> Result<(), anabranch::SendError> {
/// let ack = producer.send("hello").await?;
/// match ack.offset() {
///     Some(offset) => println!("stored in {} at offset {offset}", ack.topic()),
///     None => println!("in the spool on disk, to be delivered later"),
/// }
/// println!("{ack}"); // events@7
/// # Ok(()) }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Ack(AckInner);

#[derive(Clone, PartialEq, Eq)]
enum AckInner {
    Stored {
        batch: Arc<Accepted>,
        index: u32,
    },
    #[cfg_attr(
        not(feature = "spool"),
        allow(dead_code, reason = "only a spool makes it")
    )]
    Spooled(TopicName),
}

/// What the messages of one batch have in common once they are stored.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) topic: TopicName,
    /// The offset of the batch's first message. The offsets of the others follow without a gap.
    pub(crate) base: Offset,
    pub(crate) time: Timestamp,
}

impl Ack {
    /// Returns the topic that the message is in, or will be in.
    #[must_use]
    pub fn topic(&self) -> &TopicName {
        match &self.0 {
            AckInner::Stored { batch, .. } => &batch.topic,
            AckInner::Spooled(topic) => topic,
        }
    }

    /// Returns the message's place in its topic; `None` if it is in the spool on disk.
    #[must_use]
    pub fn offset(&self) -> Option<Offset> {
        match &self.0 {
            AckInner::Stored { batch, index } => Some(Offset(batch.base.0 + u64::from(*index))),
            AckInner::Spooled(_) => None,
        }
    }

    /// Returns when the message was stored, by the broker's clock; `None` if it is in the spool on disk.
    #[must_use]
    pub fn stored_at(&self) -> Option<Timestamp> {
        match &self.0 {
            AckInner::Stored { batch, .. } => Some(batch.time),
            AckInner::Spooled(_) => None,
        }
    }

    /// Returns whether the message is on disk in the producer's spool and not stored by the broker yet. It will be
    /// delivered: sending it again would duplicate it.
    #[must_use]
    pub const fn is_spooled(&self) -> bool {
        matches!(self.0, AckInner::Spooled(_))
    }
}

/// `events@7`, or `events (spooled)`.
impl fmt::Display for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.offset() {
            Some(offset) => write!(f, "{}@{offset}", self.topic()),
            None => write!(f, "{} (spooled)", self.topic()),
        }
    }
}

impl fmt::Debug for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ack")
            .field("topic", self.topic())
            .field("offset", &self.offset())
            .field("stored_at", &self.stored_at())
            .finish()
    }
}

/// The outcome that some messages share with their receipts.
#[derive(Debug)]
pub(crate) struct Promise {
    /// Written once, when the messages have their outcome; empty before.
    outcome: OnceLock<Outcome>,
    /// The receipts that were polled before.
    waiting: Waiters,
}

#[derive(Debug)]
enum Outcome {
    Stored {
        batch: Arc<Accepted>,
        /// The place of the promise's first message in the batch.
        first: u32,
    },
    #[cfg(feature = "spool")]
    Spooled(TopicName),
    /// Why, and the messages in their order to be handed back.
    Failed(SendError, Vec<Message>),
}

/// The promise of any number of messages.
impl Default for Promise {
    fn default() -> Self {
        Self {
            outcome: OnceLock::new(),
            waiting: Waiters::many(),
        }
    }
}

impl Promise {
    /// Makes the promise of one message, which has one receipt.
    pub(crate) fn of_one() -> Self {
        Self {
            outcome: OnceLock::new(),
            waiting: Waiters::one(),
        }
    }

    /// Resolves the receipts: the messages are stored, the first of them as the `first`th of its batch.
    pub(crate) fn stored(&self, batch: Arc<Accepted>, first: u32) {
        self.resolve(Outcome::Stored { batch, first });
    }

    /// Resolves the receipts: the messages of this topic are in the spool on disk.
    #[cfg(feature = "spool")]
    pub(crate) fn spooled(&self, topic: TopicName) {
        self.resolve(Outcome::Spooled(topic));
    }

    /// Resolves the receipts: the messages are not stored, or it is unknown whether they are.
    pub(crate) fn failed(&self, error: SendError, messages: Vec<Message>) {
        self.resolve(Outcome::Failed(error, messages));
    }

    fn resolve(&self, outcome: Outcome) {
        // A request leaves the table of requests in flight with its outcome, so this is the only call.
        let _ = self.outcome.set(outcome);
        self.waiting.wake_all();
    }

    fn of(&self, index: u32) -> Option<Result<Ack, SendError>> {
        Some(match self.outcome.get()? {
            Outcome::Stored { batch, first } => Ok(Ack(AckInner::Stored {
                batch: Arc::clone(batch),
                index: first + index,
            })),
            #[cfg(feature = "spool")]
            Outcome::Spooled(topic) => Ok(Ack(AckInner::Spooled(topic.clone()))),
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
}

/// Resolves to the outcome of one message that the producer has accepted.
///
/// ```no_run
/// # async fn f(producer: anabranch::Producer) -> Result<(), anabranch::SendError> {
/// let receipt = producer.send_async("hello").await?; // there was room for it
/// let ack = receipt.await?; // it is stored
/// # Ok(()) }
/// ```
///
/// # Errors
/// [`SendError`]: what went wrong, and what is known of the message. With
/// [`SendErrorKind::Expired`](super::SendErrorKind::Expired) and the fate [`Unknown`](super::Fate::Unknown) it may be
/// stored.
///
/// # Cancel safety
/// Cancel safe. Dropping a receipt changes nothing about delivery.
#[must_use = "the outcome of the message is told by its receipt only"]
pub struct Receipt {
    promise: Arc<Promise>,
    /// The message's place among those of the promise.
    index: u32,
    /// Where its waker is.
    place: Place,
}

impl Receipt {
    /// Makes the receipt of the `index`th message of a promise.
    pub(crate) const fn new(promise: Arc<Promise>, index: u32) -> Self {
        Self {
            promise,
            index,
            place: None,
        }
    }

    /// Returns the outcome if there is one already.
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
        this.promise.waiting.register(&mut this.place, cx.waker());
        // Once more: an outcome that is not there yet will find the waker.
        this.try_outcome().map_or(Poll::Pending, Poll::Ready)
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

    fn accepted() -> Arc<Accepted> {
        Arc::new(Accepted {
            topic: TopicName::new("t").unwrap(),
            base: Offset(100),
            time: Timestamp(5),
        })
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
        stored.stored(accepted(), 0);
        let messages = ["a", "b", "c"].map(Message::from).to_vec();
        let error = SendError::new(SendErrorKind::Expired, Fate::NotStored);
        failed.failed(error, messages.clone());
        for (i, receipt) in of_stored.into_iter().enumerate() {
            let ack = receipt.now_or_never().unwrap().unwrap();
            assert_eq!(ack.offset(), Some(Offset(100 + i as u64)));
            assert_eq!(ack.to_string(), format!("t@{}", 100 + i));
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

    #[tokio::test]
    async fn the_only_receipt_of_a_message_is_woken_wherever_it_was_polled_last() {
        let promise = Arc::new(Promise::of_one());
        let mut receipt = Receipt::new(Arc::clone(&promise), 0);
        assert!(futures_util::poll!(&mut receipt).is_pending());
        let waiting = crate::tasks::Tasks::new().spawn(receipt);
        tokio::task::yield_now().await;
        promise.stored(accepted(), 7);
        assert_eq!(waiting.await.unwrap().unwrap().offset(), Some(Offset(107)));
    }

    #[test]
    fn a_receipt_that_is_polled_often_waits_once() {
        let promise = Arc::new(Promise::default());
        let mut receipts = receipts(&promise, 2);
        for _ in 0..5 {
            for receipt in &mut receipts {
                let polled = Pin::new(receipt).poll(&mut Context::from_waker(&noop_waker()));
                assert!(polled.is_pending());
            }
        }
        let Waiters::Many(waiting) = &promise.waiting else {
            panic!("it is a promise of many");
        };
        assert_eq!(waiting.len(), 2);
    }

    #[test]
    fn an_outcome_waits_for_the_caller_who_comes_late_and_can_be_read_again() {
        let promise = Arc::new(Promise::default());
        let receipt = Receipt::new(Arc::clone(&promise), 1);
        assert!(receipt.try_outcome().is_none());
        promise.stored(accepted(), 3);
        assert_eq!(
            receipt.try_outcome().unwrap().unwrap().offset(),
            Some(Offset(104))
        );
        assert!(receipt.now_or_never().unwrap().is_ok());
    }
}
