//! The futures of `send` and `send_async`.
//!
//! Both take the message in when they are called, not when they are first polled: the order of the calls is the
//! order of the messages, whoever polls what when. Where there is no room, the message waits in its place in the
//! line and enters even if its task is polled late.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use tokio::{sync::oneshot, time::Sleep};

use super::{
    Ack, Fate, Message, Receipt, SendError, SendErrorKind, WhenFull,
    accumulator::accept::{Route, Submitted},
    accumulator::budget::WaiterId,
    shared::Shared,
};
use crate::time;

/// Resolves to a [`Receipt`] once there is room for the message.
///
/// # Errors
/// [`SendErrorKind::TooLarge`], [`SendErrorKind::Full`] (only with a bounded [`WhenFull`]),
/// [`SendErrorKind::Expired`] where there was no room within `delivery_timeout`, [`SendErrorKind::Closed`] and
/// [`SendErrorKind::Disconnected`]. In each case the message was not accepted and comes back in the error.
///
/// # Cancel safety
/// Dropped before it is ready, the message is withdrawn, unless it was accepted in the meantime: then it
/// will be delivered, and only its receipt is lost.
#[derive(Debug)]
#[must_use = "the message is withdrawn when this is dropped before there was room for it"]
pub struct SendAsync<'a> {
    shared: &'a Shared,
    state: State,
}

#[derive(Debug)]
enum State {
    Ready(Result<Receipt, SendError>),
    Waiting(Waiting),
    Done,
}

/// A message in the waiting room.
#[derive(Debug)]
pub(crate) struct Waiting {
    waiter: WaiterId,
    /// Comes when the message is accepted.
    receipt: oneshot::Receiver<Receipt>,
    until: Pin<Box<Sleep>>,
    /// What it is told when the time is up.
    late: SendErrorKind,
}

impl Waiting {
    /// The place of a message that waits for room since `now`.
    pub(crate) fn new(
        shared: &Shared,
        waiter: WaiterId,
        receipt: oneshot::Receiver<Receipt>,
        now: Instant,
    ) -> Self {
        let delivery = shared.config.delivery_timeout;
        let (patience, late) = match shared.config.when_full {
            WhenFull::WaitFor(patience) if patience < delivery => (patience, SendErrorKind::Full),
            _ => (delivery, SendErrorKind::Expired),
        };
        Self {
            waiter,
            receipt,
            until: Box::pin(time::until(now + patience)),
            late,
        }
    }

    /// Ready once the message was accepted, or is given back.
    pub(crate) fn poll(
        &mut self,
        shared: &Shared,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Receipt, SendError>> {
        match shared.poll_entered(self.waiter, cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => {
                ready!(self.until.as_mut().poll(cx));
                if let Some(message) = shared.leave(self.waiter) {
                    return Poll::Ready(Err(shared.rejected(self.late).message(message)));
                }
            }
        }
        // Who let it in is about to accept it.
        let receipt = ready!(Pin::new(&mut self.receipt).poll(cx));
        Poll::Ready(receipt.map_err(|_| shared.rejected(SendErrorKind::Closed)))
    }

    pub(crate) fn leave(&self, shared: &Shared) {
        shared.leave(self.waiter);
    }
}

impl<'a> SendAsync<'a> {
    pub(super) fn new(shared: &'a Shared, message: Message, route: Route) -> Self {
        let state = match shared.config.when_full {
            WhenFull::Error => State::Ready(shared.enter_now(message, route)),
            WhenFull::Wait | WhenFull::WaitFor(_) => match shared.enter(message, route) {
                Ok(Submitted::Accepted(receipt)) => State::Ready(Ok(receipt)),
                Ok(Submitted::Waiting(waiter, receipt)) => {
                    State::Waiting(Waiting::new(shared, waiter, receipt, time::now()))
                }
                Err(error) => State::Ready(Err(error)),
            },
        };
        Self { shared, state }
    }
}

impl Future for SendAsync<'_> {
    type Output = Result<Receipt, SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let shared = self.shared;
        if let State::Waiting(waiting) = &mut self.state {
            let entered = ready!(waiting.poll(shared, cx));
            self.state = State::Done;
            return Poll::Ready(entered);
        }
        Poll::Ready(match std::mem::replace(&mut self.state, State::Done) {
            State::Ready(result) => result,
            State::Waiting(_) | State::Done => {
                Err(SendError::new(SendErrorKind::Closed, Fate::Unknown)
                    .detail("the future was polled after it was ready"))
            }
        })
    }
}

impl Drop for SendAsync<'_> {
    fn drop(&mut self) {
        if let State::Waiting(waiting) = &self.state {
            waiting.leave(self.shared);
        }
    }
}

/// Resolves to the [`Ack`] of a message that was sent in order.
///
/// # Errors
/// Those of [`SendAsync`], and what may become of an accepted message: [`SendErrorKind::Expired`] and
/// [`SendErrorKind::Refused`]. [`SendError::fate`] tells what is known of it.
///
/// # Cancel safety
/// Dropped before there was room, the message is withdrawn; dropped later, it will be delivered all the same.
#[derive(Debug)]
#[must_use = "the message is withdrawn when this is dropped before there was room for it"]
pub struct Send<'a> {
    entering: SendAsync<'a>,
    receipt: Option<Receipt>,
}

impl<'a> Send<'a> {
    pub(super) fn new(shared: &'a Shared, message: Message) -> Self {
        Self {
            entering: SendAsync::new(shared, message, Route::Ordered),
            receipt: None,
        }
    }
}

impl Future for Send<'_> {
    type Output = Result<Ack, SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            if let Some(receipt) = &mut self.receipt {
                return Pin::new(receipt).poll(cx);
            }
            let receipt = ready!(Pin::new(&mut self.entering).poll(cx))?;
            self.receipt = Some(receipt);
        }
    }
}
