//! What a producer's handle keeps as a `Sink<Message>`, for `stream.forward(producer)`.
//!
//! A sink returns no receipts, so it keeps them: the next call returns the first failure of a message that was sent through
//! it. It keeps the receipts of messages without an outcome, whose number the producer's buffer bounds, and those that no
//! call has looked at yet.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use super::{
    Message, Receipt, SendError, WhenFull,
    accumulator::{Accumulator, Route, Submitted},
    send::Waiting,
};
use crate::time;

#[derive(Debug, Default)]
pub(super) struct SinkState {
    /// The receipts of the messages that were sent through this handle, in order, until a call has seen their outcome.
    receipts: VecDeque<Receipt>,
    /// The last message, if it waits for room.
    waiting: Option<Waiting>,
}

impl SinkState {
    /// Waits until the last message has room. Returns the first failure among the outcomes that are known.
    pub(super) fn poll_ready(
        &mut self,
        accumulator: &Accumulator,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendError>> {
        ready!(self.poll_room(accumulator, cx))?;
        match self.poll_receipts(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(())),
        }
    }

    /// Submits a message, which may wait for room after this call.
    pub(super) fn start_send(
        &mut self,
        accumulator: &Accumulator,
        message: Message,
    ) -> Result<(), SendError> {
        let submitted = match accumulator.config().when_full {
            WhenFull::Error => {
                Submitted::Accepted(accumulator.try_submit(message, Route::Unordered)?)
            }
            WhenFull::Wait | WhenFull::WaitFor(_) => {
                accumulator.submit(message, Route::Unordered)?
            }
        };
        match submitted {
            Submitted::Accepted(receipt) => self.receipts.push_back(receipt),
            Submitted::Waiting(waiter, receipt) => {
                let waiting = Waiting::new(accumulator, waiter, receipt, time::now());
                self.waiting = Some(waiting);
            }
        }
        Ok(())
    }

    /// Waits until every message that was sent has its outcome, or one of them has failed.
    pub(super) fn poll_flush(
        &mut self,
        accumulator: &Accumulator,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendError>> {
        ready!(self.poll_room(accumulator, cx))?;
        self.poll_receipts(cx)
    }

    /// Withdraws the last message if it waits for room.
    pub(super) fn leave(&mut self, accumulator: &Accumulator) {
        if let Some(waiting) = self.waiting.take() {
            waiting.leave(accumulator);
        }
    }

    fn poll_room(
        &mut self,
        accumulator: &Accumulator,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendError>> {
        if let Some(waiting) = &mut self.waiting {
            let accepted = ready!(waiting.poll(accumulator, cx));
            self.waiting = None;
            self.receipts.push_back(accepted?);
        }
        Poll::Ready(Ok(()))
    }

    /// Removes the receipts at the front that are resolved, up to the first failure.
    fn poll_receipts(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        while let Some(receipt) = self.receipts.front_mut() {
            let outcome = ready!(Pin::new(receipt).poll(cx));
            self.receipts.pop_front();
            outcome?;
        }
        Poll::Ready(Ok(()))
    }
}
