//! The futures of `send` and `send_async`.
//!
//! Both are lazy, as futures in Rust are: the first poll hands the message over, and without a poll nothing happens. So
//! what a forgotten `.await` does is the same under any load: nothing. The order of the messages is the order of the first
//! polls. A message for which there is no room keeps its place among those that wait, and is accepted in its turn even if
//! its task is polled late.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use tokio::{sync::oneshot, time::Sleep};

use super::{
    Ack, Fate, Message, Receipt, SendError, SendErrorKind, WhenFull,
    accumulator::{Accumulator, Route, Submitted, WaiterId},
    inner::ProducerInner,
};
use crate::time;

/// Resolves to a [`Receipt`] once there is room for the message. Made by [`Producer::send_async`](super::Producer::send_async).
///
/// The first poll hands the message over; a future that is dropped before does nothing. The future owns what it needs, so
/// it can be given to another task. While it exists, the producer does not end by the drop of its last handle.
///
/// # Errors
/// [`SendErrorKind::TooLarge`], [`SendErrorKind::Full`] (only with a bounded [`WhenFull`]),
/// [`SendErrorKind::Expired`] if there was no room within `delivery_timeout`, [`SendErrorKind::Closed`] and
/// [`SendErrorKind::Disconnected`]. In each case the message was not accepted, and the error returns it.
///
/// # Cancel safety
/// Dropped before it is ready, the message is withdrawn, unless it was accepted at that very moment: then it will be
/// delivered, and only its receipt is lost.
#[must_use = "futures do nothing unless they are awaited: the message is not sent"]
pub struct SendAsyncFuture {
    producer: Arc<ProducerInner>,
    route: Route,
    state: State,
}

enum State {
    /// Not polled yet.
    Unsent(Message),
    Waiting(Waiting),
    Done,
}

/// A message that waits for room.
#[derive(Debug)]
pub(crate) struct Waiting {
    waiter: WaiterId,
    /// Resolves when the message is accepted.
    receipt: oneshot::Receiver<Receipt>,
    until: Pin<Box<Sleep>>,
    /// The kind of the error when `until` has passed.
    late: SendErrorKind,
}

impl Waiting {
    /// Makes the entry of a message that waits for room since `now`.
    pub(crate) fn new(
        accumulator: &Accumulator,
        waiter: WaiterId,
        receipt: oneshot::Receiver<Receipt>,
        now: Instant,
    ) -> Self {
        let delivery = accumulator.config().delivery_timeout;
        let (patience, late) = match accumulator.config().when_full {
            WhenFull::WaitFor(patience) if patience < delivery => (patience, SendErrorKind::Full),
            _ => (delivery, SendErrorKind::Expired),
        };
        Self {
            waiter,
            receipt,
            until: Box::pin(time::sleep_until(now + patience)),
            late,
        }
    }

    /// Returns the receipt once the message is accepted, or an error with the message.
    pub(crate) fn poll(
        &mut self,
        accumulator: &Accumulator,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Receipt, SendError>> {
        match accumulator.poll_admitted(&self.waiter, cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => {
                ready!(self.until.as_mut().poll(cx));
                if let Some(message) = accumulator.withdraw(&self.waiter) {
                    return Poll::Ready(Err(accumulator.rejected(self.late).message(message)));
                }
            }
        }
        // The message has left the queue of waiters: the thread that took it out is about to accept it.
        let receipt = ready!(Pin::new(&mut self.receipt).poll(cx));
        Poll::Ready(receipt.map_err(|_| accumulator.rejected(SendErrorKind::Closed)))
    }

    /// Withdraws the message, unless it was accepted in the meantime.
    pub(crate) fn leave(&self, accumulator: &Accumulator) {
        accumulator.withdraw(&self.waiter);
    }
}

impl SendAsyncFuture {
    pub(super) fn new(producer: &Arc<ProducerInner>, message: Message, route: Route) -> Self {
        Self {
            producer: Arc::clone(producer),
            route,
            state: State::Unsent(message),
        }
    }
}

impl Future for SendAsyncFuture {
    type Output = Result<Receipt, SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let accumulator = &*this.producer.context.accumulator;
        if let State::Waiting(waiting) = &mut this.state {
            let accepted = ready!(waiting.poll(accumulator, cx));
            this.state = State::Done;
            return Poll::Ready(accepted);
        }
        let State::Unsent(message) = std::mem::replace(&mut this.state, State::Done) else {
            let error = SendError::new(SendErrorKind::Closed, Fate::Unknown);
            return Poll::Ready(Err(error.detail("the future was polled after it was ready")));
        };
        if accumulator.config().when_full == WhenFull::Error {
            return Poll::Ready(accumulator.try_submit(message, this.route));
        }
        match accumulator.submit(message, this.route) {
            Ok(Submitted::Accepted(receipt)) => Poll::Ready(Ok(receipt)),
            Ok(Submitted::Waiting(waiter, receipt)) => {
                let mut waiting = Waiting::new(accumulator, waiter, receipt, time::now());
                let accepted = waiting.poll(accumulator, cx);
                if accepted.is_pending() {
                    this.state = State::Waiting(waiting);
                }
                accepted
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl Drop for SendAsyncFuture {
    fn drop(&mut self) {
        if let State::Waiting(waiting) = &self.state {
            waiting.leave(&self.producer.context.accumulator);
        }
    }
}

impl fmt::Debug for SendAsyncFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Unsent(_) => "not polled",
            State::Waiting(_) => "waits for room",
            State::Done => "done",
        };
        f.debug_struct("SendAsyncFuture")
            .field("state", &state)
            .finish_non_exhaustive()
    }
}

/// Resolves to the [`Ack`] of a message that is sent in order. Made by [`Producer::send`](super::Producer::send).
///
/// The first poll hands the message over; a future that is dropped before does nothing. The future owns what it needs, so
/// it can be given to another task. While it exists, the producer does not end by the drop of its last handle.
///
/// # Errors
/// Those of [`SendAsyncFuture`], and those of an accepted message: [`SendErrorKind::Expired`] and
/// [`SendErrorKind::Refused`]. [`SendError::fate`] tells what is known of it.
///
/// # Cancel safety
/// Dropped after its first poll, the message is withdrawn if it still waits for room, and will be delivered otherwise. To
/// know which, use [`Producer::send_async`](super::Producer::send_async), whose receipt says that the message was accepted.
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited: the message is not sent"]
pub struct SendFuture {
    accepting: SendAsyncFuture,
    receipt: Option<Receipt>,
}

impl SendFuture {
    pub(super) fn new(producer: &Arc<ProducerInner>, message: Message) -> Self {
        Self {
            accepting: SendAsyncFuture::new(producer, message, Route::Ordered),
            receipt: None,
        }
    }
}

impl Future for SendFuture {
    type Output = Result<Ack, SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            if let Some(receipt) = &mut self.receipt {
                return Pin::new(receipt).poll(cx);
            }
            let receipt = ready!(Pin::new(&mut self.accepting).poll(cx))?;
            self.receipt = Some(receipt);
        }
    }
}
