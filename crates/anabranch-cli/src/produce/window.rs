//! Messages handed to the producer whose outcome has not been recorded yet.
//!
//! Outcomes are recorded in the order of the messages. When the window is full, the oldest one is awaited.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use anabranch::{
    Ack, Receipt, SendError,
    producer::{self, FailureCode, Fate, SendErrorKind},
};
use futures_util::FutureExt;

use super::tally::{Origin, Tally};
use crate::progress;

/// Bytes the producer counts for a message besides its content.
const OVERHEAD: u64 = 256;

/// A future outcome of a message.
pub(super) enum Outcome {
    Receipt(Receipt),
    /// Waits to be accepted, and then for the outcome.
    Accepting(producer::SendAsyncFuture),
    Ordered(producer::SendFuture),
}

impl Future for Outcome {
    type Output = Result<Ack, SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Self::Accepting(accepting) = &mut *self {
            *self = Self::Receipt(ready!(Pin::new(accepting).poll(cx))?);
        }
        match &mut *self {
            Self::Receipt(receipt) => Pin::new(receipt).poll(cx),
            Self::Accepting(_) => Poll::Pending,
            Self::Ordered(send) => Pin::new(send).poll(cx),
        }
    }
}

struct Pending {
    origin: Origin,
    cost: u64,
    outcome: Outcome,
}

/// The messages without a recorded outcome, oldest first.
pub(super) struct Window {
    pending: VecDeque<Pending>,
    /// Bytes these messages take in the producer's buffer.
    cost: u64,
    max_messages: usize,
    max_cost: u64,
    tally: Arc<Tally>,
    /// Whether every further message would fail too.
    failed: bool,
    /// Whether later messages may have their outcome before earlier ones, as with a spool.
    out_of_order: bool,
}

impl Window {
    /// Limits the window to half of the producer's buffer, so that there is always room for the next message. With a spool
    /// the limit is the whole buffer, because further messages go to disk.
    pub(super) fn new(config: &producer::Config, tally: Arc<Tally>) -> Self {
        let part = if config.spool.is_some() { 1 } else { 2 };
        Self {
            pending: VecDeque::new(),
            cost: 0,
            max_messages: config.buffer_messages / part,
            max_cost: config.buffer_bytes / part as u64,
            out_of_order: config.spool.is_some(),
            tally,
            failed: false,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.pending.len() >= self.max_messages || self.cost >= self.max_cost
    }

    /// Returns whether every further message would fail too.
    pub(super) const fn has_failed(&self) -> bool {
        self.failed
    }

    /// Hands a message to the producer, behind those that were pushed before.
    pub(super) fn push(&mut self, origin: Origin, content: usize, mut outcome: Outcome) {
        // The first poll hands the message over, so the order of the messages is decided here.
        if !matches!(outcome, Outcome::Receipt(_))
            && let Some(outcome) = (&mut outcome).now_or_never()
        {
            return self.record(&origin, outcome);
        }
        let cost = content as u64 + OVERHEAD;
        self.cost += cost;
        self.pending.push_back(Pending {
            origin,
            cost,
            outcome,
        });
    }

    /// Waits for the oldest outcome and records it. Waits forever when the window is empty. Cancel safe.
    pub(super) async fn record_oldest(&mut self) {
        match self.pending.front_mut() {
            Some(oldest) => {
                let outcome = (&mut oldest.outcome).await;
                self.pop_oldest(outcome);
            }
            None => std::future::pending().await,
        }
    }

    /// Waits for at least one outcome and records it. Cancel safe.
    pub(super) async fn record_some(&mut self) {
        if !self.out_of_order {
            return self.record_oldest().await;
        }
        let mut ready = Vec::new();
        std::future::poll_fn(|cx| {
            self.pending.retain_mut(|pending| {
                let Poll::Ready(outcome) = Pin::new(&mut pending.outcome).poll(cx) else {
                    return true;
                };
                self.cost -= pending.cost;
                ready.push((pending.origin.clone(), outcome));
                false
            });
            match ready.is_empty() {
                true => Poll::Pending,
                false => Poll::Ready(()),
            }
        })
        .await;
        for (origin, outcome) in ready {
            self.record(&origin, outcome);
        }
    }

    /// Records the outcomes that are known.
    pub(super) fn record_ready(&mut self) {
        while let Some(outcome) = self
            .pending
            .front_mut()
            .and_then(|oldest| (&mut oldest.outcome).now_or_never())
        {
            self.pop_oldest(outcome);
        }
    }

    /// Removes the oldest message and records its outcome.
    fn pop_oldest(&mut self, outcome: Result<Ack, SendError>) {
        let Some(oldest) = self.pending.pop_front() else {
            return;
        };
        self.cost -= oldest.cost;
        self.record(&oldest.origin, outcome);
    }

    fn record(&mut self, origin: &Origin, outcome: Result<Ack, SendError>) {
        match outcome {
            Ok(ack) if ack.is_spooled() => self.tally.on_spooled(),
            Ok(_) => self.tally.on_delivered(),
            Err(error) if error.fate() == Fate::Spooled => self.tally.on_spooled(),
            Err(error) => self.record_failure(origin, &error),
        }
    }

    /// Records a failure. After one that every further message would share, later failures are not printed.
    pub(super) fn record_failure(&mut self, origin: &Origin, error: &SendError) {
        if self.failed {
            return;
        }
        self.tally.on_failed(origin, error);
        self.failed = is_final(error.kind());
        if self.failed {
            progress::error("every further message would fail too; nothing more is sent");
        }
    }
}

/// Returns whether every further message will fail for the same reason.
const fn is_final(kind: SendErrorKind) -> bool {
    matches!(
        kind,
        SendErrorKind::Disconnected
            | SendErrorKind::Closed
            | SendErrorKind::Refused(
                FailureCode::Unauthorised
                    | FailureCode::Forbidden
                    | FailureCode::Fenced
                    | FailureCode::UnknownTopic
            )
    )
}
