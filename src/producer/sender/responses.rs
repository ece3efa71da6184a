//! The broker's answers on one stream: each settles what it is about, and says what it means for the stream.

use std::{
    future::poll_fn,
    pin::pin,
    sync::atomic::{AtomicBool, Ordering},
    task::Poll,
};

use futures_util::StreamExt;

use crate::producer::{sender::streams::Answers, shared::Shared};
use crate::wire::{FailureCode, Packet};

/// Rung by the half of a lane that reads answers, heard by the half that writes. They are one task, and the second is
/// polled behind the first: waking that task for it would only have it polled once more, perhaps by another thread.
#[derive(Debug, Default)]
pub(in crate::producer) struct ResponseFlag(AtomicBool);

impl ResponseFlag {
    fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Ends with `wait`, or at once when it was rung since the last time.
    pub(in crate::producer) async fn until_set_or(&self, wait: impl Future<Output = ()>) {
        let mut wait = pin!(wait);
        poll_fn(|cx| match self.0.swap(false, Ordering::Relaxed) {
            true => Poll::Ready(()),
            false => wait.as_mut().poll(cx),
        })
        .await;
    }
}

/// Reads the answers of lane `here` until its stream is of no more use, and says why.
pub(in crate::producer) async fn read(
    shared: &Shared,
    answers: &mut Answers,
    here: usize,
    flag: &ResponseFlag,
) -> &'static str {
    loop {
        match answers.next().await {
            Some(Ok(answer)) => match hear(shared, answer, Some(here)) {
                ResponseEffect::Continue => flag.set(),
                ResponseEffect::StreamFailed => return "the broker refused a batch of it",
                ResponseEffect::Unexpected => return "the broker sent what makes no sense here",
            },
            Some(Err(_)) => return "the stream cannot be read",
            None => return "the broker ended the stream",
        }
    }
}

/// What an answer means for the stream that it came on.
pub(in crate::producer) enum ResponseEffect {
    /// It goes on.
    Continue,
    /// The broker stores nothing more of it: a batch was refused, and none may be stored behind that before it is
    /// known here, which it is now.
    StreamFailed,
    /// This is no answer.
    Unexpected,
}

/// Settles what an answer is about, which is known to lane `here`.
pub(in crate::producer) fn hear(
    shared: &Shared,
    answer: Packet,
    here: Option<usize>,
) -> ResponseEffect {
    match answer {
        Packet::Stored(stored) => {
            shared.stored(&stored, here);
            ResponseEffect::Continue
        }
        Packet::Refused(refused) => {
            match refused.failure.code {
                // What a closing broker refuses goes to the next connection, what lies behind a refused batch to
                // the next stream, both within their deadlines.
                FailureCode::Closing | FailureCode::AfterRejected => {}
                _ => shared.refused(refused),
            }
            ResponseEffect::StreamFailed
        }
        _ => ResponseEffect::Unexpected,
    }
}
