//! The broker's answers on one stream: each settles what it is about, and says what it means for the stream.

use std::{
    future::poll_fn,
    pin::pin,
    sync::atomic::{AtomicBool, Ordering},
    task::Poll,
};

use futures_util::StreamExt;

use super::{core::Core, streams::Answers};
use crate::wire::{FailureCode, Packet};

/// Rung by the half of a lane that reads answers, heard by the half that writes. They are one task, and the second is
/// polled behind the first: waking that task for it would only have it polled once more, perhaps by another thread.
#[derive(Debug, Default)]
pub(super) struct Bell(AtomicBool);

impl Bell {
    fn ring(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Ends with `wait`, or at once when it was rung since the last time.
    pub(super) async fn heard_or(&self, wait: impl Future<Output = ()>) {
        let mut wait = pin!(wait);
        poll_fn(|cx| match self.0.swap(false, Ordering::Relaxed) {
            true => Poll::Ready(()),
            false => wait.as_mut().poll(cx),
        })
        .await;
    }
}

/// Reads the answers of lane `here` until its stream is of no more use, and says why.
pub(super) async fn read(
    core: &Core,
    answers: &mut Answers,
    here: usize,
    bell: &Bell,
) -> &'static str {
    loop {
        match answers.next().await {
            Some(Ok(answer)) => match hear(core, answer, Some(here)) {
                Heard::Outcome => bell.ring(),
                Heard::LastWord => return "the broker refused a batch of it",
                Heard::Nonsense => return "the broker sent what makes no sense here",
            },
            Some(Err(_)) => return "the stream cannot be read",
            None => return "the broker ended the stream",
        }
    }
}

/// What an answer means for the stream that it came on.
pub(super) enum Heard {
    /// It goes on.
    Outcome,
    /// The broker stores nothing more of it: a batch was refused, and none may be stored behind that before it is
    /// known here, which it is now.
    LastWord,
    /// This is no answer.
    Nonsense,
}

/// Settles what an answer is about, which is known to lane `here`.
pub(super) fn hear(core: &Core, answer: Packet, here: Option<usize>) -> Heard {
    match answer {
        Packet::Stored(stored) => {
            core.stored(&stored, here);
            Heard::Outcome
        }
        Packet::Refused(refused) => {
            match refused.failure.code {
                // What a closing broker refuses goes to the next connection, what lies behind a refused batch to
                // the next stream, both within their deadlines.
                FailureCode::Closing | FailureCode::AfterRejected => {}
                _ => core.refused(refused),
            }
            Heard::LastWord
        }
        _ => Heard::Nonsense,
    }
}
