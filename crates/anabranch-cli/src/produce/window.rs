//! Messages that are out: handed to the producer, their outcome not seen yet.
//!
//! Outcomes are looked at in the order of the messages. At the bound the oldest one is awaited.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use anabranch::{
    Ack, Receipt, SendError,
    producer::{self, Fate, SendErrorKind},
    wire::FailureCode,
};
use futures_util::FutureExt;

use super::tally::{Origin, Tally};
use crate::progress;

/// What the producer counts for a message beside its content.
const OVERHEAD: u64 = 256;

/// The outcome of a message, some time.
pub(super) enum Outcome<'a> {
    Receipt(Receipt),
    /// Waits for room, and then for the outcome.
    Entering(producer::SendAsync<'a>),
    Ordered(producer::Send<'a>),
}

impl Future for Outcome<'_> {
    type Output = Result<Ack, SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Self::Entering(entering) = &mut *self {
            *self = Self::Receipt(ready!(Pin::new(entering).poll(cx))?);
        }
        match &mut *self {
            Self::Receipt(receipt) => Pin::new(receipt).poll(cx),
            Self::Entering(_) => Poll::Pending,
            Self::Ordered(send) => Pin::new(send).poll(cx),
        }
    }
}

struct Pending<'a> {
    origin: Origin,
    cost: u64,
    outcome: Outcome<'a>,
}

/// The messages that are out, oldest first.
pub(super) struct Window<'a> {
    pending: VecDeque<Pending<'a>>,
    /// What they cost the producer's buffer.
    cost: u64,
    most_messages: usize,
    most_cost: u64,
    tally: Arc<Tally>,
    /// No message to this topic will be taken any more.
    hopeless: bool,
    /// Messages go to disk too: later ones may have their outcome before earlier ones.
    out_of_order: bool,
}

impl<'a> Window<'a> {
    /// At most half of what `config` lets the producer hold: so there is always room for the next message. With a spool
    /// all of it: what memory has no room for goes to disk.
    pub(super) fn new(config: &producer::Config, tally: Arc<Tally>) -> Self {
        let part = if config.spool.is_some() { 1 } else { 2 };
        Self {
            pending: VecDeque::new(),
            cost: 0,
            most_messages: usize::try_from(config.buffer_messages / part).unwrap_or(usize::MAX),
            most_cost: config.buffer_bytes / u64::from(part),
            out_of_order: config.spool.is_some(),
            tally,
            hopeless: false,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.pending.len() >= self.most_messages || self.cost >= self.most_cost
    }

    /// Whether sending more is pointless.
    pub(super) const fn is_hopeless(&self) -> bool {
        self.hopeless
    }

    /// A message is out.
    pub(super) fn push(&mut self, origin: Origin, content: usize, outcome: Outcome<'a>) {
        let cost = content as u64 + OVERHEAD;
        self.cost += cost;
        self.pending.push_back(Pending {
            origin,
            cost,
            outcome,
        });
    }

    /// Waits for the oldest outcome; for ever where nothing is out. May be dropped and begun again.
    pub(super) async fn settle_oldest(&mut self) {
        match self.pending.front_mut() {
            Some(oldest) => {
                let outcome = (&mut oldest.outcome).await;
                self.settle(outcome);
            }
            None => std::future::pending().await,
        }
    }

    /// Waits until there is room. May be dropped and begun again.
    pub(super) async fn settle_some(&mut self) {
        if !self.out_of_order {
            return self.settle_oldest().await;
        }
        let mut settled = Vec::new();
        std::future::poll_fn(|cx| {
            self.pending.retain_mut(|pending| {
                let Poll::Ready(outcome) = Pin::new(&mut pending.outcome).poll(cx) else {
                    return true;
                };
                self.cost -= pending.cost;
                settled.push((pending.origin.clone(), outcome));
                false
            });
            match settled.is_empty() {
                true => Poll::Pending,
                false => Poll::Ready(()),
            }
        })
        .await;
        for (origin, outcome) in settled {
            self.note(&origin, outcome);
        }
    }

    /// Looks at the outcomes that are there.
    pub(super) fn settle_what_is_there(&mut self) {
        while let Some(outcome) = self
            .pending
            .front_mut()
            .and_then(|oldest| (&mut oldest.outcome).now_or_never())
        {
            self.settle(outcome);
        }
    }

    /// The oldest message has this outcome.
    fn settle(&mut self, outcome: Result<Ack, SendError>) {
        let Some(settled) = self.pending.pop_front() else {
            return;
        };
        self.cost -= settled.cost;
        self.note(&settled.origin, outcome);
    }

    fn note(&mut self, origin: &Origin, outcome: Result<Ack, SendError>) {
        match outcome {
            Ok(_) => self.tally.on_delivered(),
            Err(error) if error.fate() == Fate::Spooled => self.tally.on_spooled(),
            Err(error) => self.failed(origin, &error),
        }
    }

    /// A message has failed. Where all others will, the rest is silence.
    pub(super) fn failed(&mut self, origin: &Origin, error: &SendError) {
        if self.hopeless {
            return;
        }
        self.tally.on_failed(origin, error);
        self.hopeless = is_final(error.kind());
        if self.hopeless {
            progress::say("error: so will every other message; nothing more is sent");
        }
    }
}

/// Whether every further message will fail for the same reason.
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
