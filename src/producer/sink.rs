//! `Sink<Message>` for a producer, for `stream.forward(producer)`.
//!
//! A sink returns no receipts, so it keeps them: the next call returns the first failure of a message that was sent through
//! it. Each handle of a producer is a sink of its own. It keeps the receipts of messages without an outcome, whose number the
//! producer's buffer bounds, and those that no call has looked at yet.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_sink::Sink;

use super::{
    Message, Producer, Receipt, SendError, WhenFull,
    accumulator::{Route, Submitted},
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

impl Producer {
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        let accumulator = &self.inner.context.accumulator;
        if let Some(waiting) = &mut self.sink.waiting {
            let entered = ready!(waiting.poll(accumulator, cx));
            self.sink.waiting = None;
            self.sink.receipts.push_back(entered?);
        }
        Poll::Ready(Ok(()))
    }

    /// Removes the receipts at the front that are resolved, up to the first failure.
    fn poll_receipts(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        while let Some(receipt) = self.sink.receipts.front_mut() {
            let outcome = ready!(Pin::new(receipt).poll(cx));
            self.sink.receipts.pop_front();
            outcome?;
        }
        Poll::Ready(Ok(()))
    }
}

/// Sends by [`Producer::send_async`]. `poll_flush` waits for the outcome of everything sent through this handle;
/// `poll_close` does the same and leaves the producer open.
impl Sink<Message> for Producer {
    type Error = SendError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        ready!(self.poll_room(cx))?;
        match self.poll_receipts(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(())),
        }
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), SendError> {
        let accumulator = &self.inner.context.accumulator;
        let entered = match accumulator.config().when_full {
            WhenFull::Error => {
                Submitted::Accepted(accumulator.try_submit(message, Route::Unordered)?)
            }
            WhenFull::Wait | WhenFull::WaitFor(_) => {
                accumulator.submit(message, Route::Unordered)?
            }
        };
        match entered {
            Submitted::Accepted(receipt) => self.sink.receipts.push_back(receipt),
            Submitted::Waiting(waiter, receipt) => {
                let waiting = Waiting::new(accumulator, waiter, receipt, time::now());
                self.sink.waiting = Some(waiting);
            }
        }
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        ready!(self.poll_room(cx))?;
        self.poll_receipts(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        self.poll_flush(cx)
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        if let Some(waiting) = self.sink.waiting.take() {
            waiting.leave(&self.inner.context.accumulator);
        }
    }
}
