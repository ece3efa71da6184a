//! The keeper: the one background task of a pool, and the short tasks that it starts.
//!
//! It opens what is wanted, probes what came back, checks what is idle, and sends away what is too old or no
//! longer needed. What is to be done is the books' decision ([`Slots::poll_work`](super::slots::Slots::poll_work));
//! this file only does it, each open and each probe in a task of its own, so that one that hangs stalls
//! nothing else and a caller who gives up cancels nothing.
//!
//! It sleeps until the bell rings or until the time that the books named. They name none while no stream is idle or
//! nothing can fall due, so an idle pool without a background check sets no timer.

use std::{future::Future, sync::Arc, time::Instant};

use tracing::debug;

use super::{
    error::PoolError,
    manage::ManageStream,
    shared::Shared,
    slot::{Permit, Trial},
    slots::{Failure, Work},
    status::EvictReason,
};
use crate::time;

/// Runs until the pool is closed.
pub(super) async fn keep<M: ManageStream>(keeping: Keeping<M>) {
    let shared = &keeping.0;
    loop {
        let (work, wake) = shared.take_work();
        for work in work {
            match work {
                Work::Open(permit) => shared
                    .tasks
                    .spawn(open(Opening::new(Arc::clone(shared), permit))),
                Work::Test(trial) => shared
                    .tasks
                    .spawn(test(Testing::new(Arc::clone(shared), trial))),
            };
        }
        tokio::select! {
            biased;
            () = shared.tasks.stopped().cancelled() => return,
            () = shared.bell.notified() => {}
            () = sleep_until(wake) => {}
        }
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(at) => time::until(at).await,
        None => std::future::pending().await,
    }
}

/// Without a keeper nothing would ever be served again, so the pool closes with it, even when a runtime that is
/// torn down drops it before it ran at all.
pub(super) struct Keeping<M: ManageStream>(pub(super) Arc<Shared<M>>);

impl<M: ManageStream> Drop for Keeping<M> {
    fn drop(&mut self) {
        self.0.shut();
    }
}

/// Opens one stream, proves it, and enters it into the books.
async fn open<M: ManageStream>(mut opening: Opening<M>) {
    let shared = Arc::clone(&opening.shared);
    let limit = shared.config.open_timeout;
    match unless_stopped(&shared, time::timeout(limit, shared.manager.open())).await {
        None => return opening.fail(Failure::NotOpened, PoolError::Closed),
        Some(Err(_elapsed)) => return opening.fail(Failure::NotOpened, PoolError::OpenTimedOut),
        Some(Ok(Err(error))) => {
            let failure = match shared.manager.at_limit(&error) {
                true => Failure::Refused,
                false => Failure::NotOpened,
            };
            return opening.fail(failure, PoolError::Open(error));
        }
        Some(Ok(Ok(stream))) => opening.stream = Some(stream),
    }
    let Some(stream) = opening.stream.as_mut() else {
        return;
    };
    match probe(&shared, stream).await {
        Ok(()) => opening.succeed(),
        Err(Flaw::Stopped) => {
            opening.fail(Failure::Unproved(EvictReason::Closed), PoolError::Closed);
        }
        Err(Flaw::Late) => {
            let failure = Failure::Unproved(EvictReason::ProbeTimedOut);
            opening.fail(failure, PoolError::ProbeTimedOut);
        }
        Err(Flaw::Failed(error)) => {
            let failure = Failure::Unproved(EvictReason::ProbeFailed);
            opening.fail(failure, PoolError::Probe(error));
        }
    }
}

/// Tests one stream that is in the pool.
async fn test<M: ManageStream>(mut testing: Testing<M>) {
    let shared = Arc::clone(&testing.shared);
    let Some(trial) = testing.trial.as_mut() else {
        return;
    };
    if shared.manager.is_broken(trial.stream()) {
        return testing.fail(EvictReason::Broken);
    }
    match probe(&shared, trial.stream()).await {
        Ok(()) => testing.succeed(),
        Err(Flaw::Stopped) => testing.fail(EvictReason::Closed),
        Err(Flaw::Late) => testing.fail(EvictReason::ProbeTimedOut),
        Err(Flaw::Failed(error)) => {
            debug!(stream = %trial.id(), error = &error as &dyn std::error::Error, "probe failed");
            testing.fail(EvictReason::ProbeFailed);
        }
    }
}

/// Why a probe proved nothing.
enum Flaw<E> {
    Stopped,
    Late,
    Failed(E),
}

async fn probe<M: ManageStream>(
    shared: &Shared<M>,
    stream: &mut M::Stream,
) -> Result<(), Flaw<M::Error>> {
    let limit = shared.config.probe_timeout;
    let answer = time::timeout(limit, shared.manager.probe(stream));
    match unless_stopped(shared, answer).await {
        None => Err(Flaw::Stopped),
        Some(Err(_elapsed)) => Err(Flaw::Late),
        Some(Ok(Err(error))) => Err(Flaw::Failed(error)),
        Some(Ok(Ok(()))) => Ok(()),
    }
}

async fn unless_stopped<M: ManageStream, F: Future>(
    shared: &Shared<M>,
    future: F,
) -> Option<F::Output> {
    tokio::select! {
        biased;
        () = shared.tasks.stopped().cancelled() => None,
        output = future => Some(output),
    }
}

/// A permit being used. However its task ends, the permit goes back to the books and the stream to the manager.
struct Opening<M: ManageStream> {
    shared: Arc<Shared<M>>,
    permit: Option<Permit>,
    stream: Option<M::Stream>,
}

impl<M: ManageStream> Opening<M> {
    const fn new(shared: Arc<Shared<M>>, permit: Permit) -> Self {
        Self {
            shared,
            permit: Some(permit),
            stream: None,
        }
    }

    fn succeed(mut self) {
        if let (Some(permit), Some(stream)) = (self.permit.take(), self.stream.take()) {
            self.shared
                .change(|books, now| books.on_opened(permit, stream, now));
        }
    }

    fn fail(mut self, failure: Failure, error: PoolError<M::Error>) {
        self.end(failure, error);
    }

    fn end(&mut self, failure: Failure, error: PoolError<M::Error>) {
        let Some(permit) = self.permit.take() else {
            return;
        };
        debug!(
            error = &error as &dyn std::error::Error,
            ?failure,
            "no stream opened"
        );
        if let (Some(stream), Failure::Unproved(why)) = (self.stream.take(), failure) {
            self.shared.manager.discard(stream, why);
        }
        let waiter = self
            .shared
            .change(|books, now| books.on_open_failed(permit, failure, now));
        if let Some(waiter) = waiter {
            // A caller who is gone needs no answer.
            let _ = waiter.send(Err(error));
        }
    }
}

impl<M: ManageStream> Drop for Opening<M> {
    fn drop(&mut self) {
        let failure = match self.stream {
            Some(_) => Failure::Unproved(EvictReason::ProbeFailed),
            None => Failure::NotOpened,
        };
        self.end(failure, PoolError::Aborted);
    }
}

/// A trial under way. However its task ends, the stream goes back to the books.
struct Testing<M: ManageStream> {
    shared: Arc<Shared<M>>,
    trial: Option<Trial<M::Stream>>,
}

impl<M: ManageStream> Testing<M> {
    const fn new(shared: Arc<Shared<M>>, trial: Trial<M::Stream>) -> Self {
        Self {
            shared,
            trial: Some(trial),
        }
    }

    fn succeed(mut self) {
        if let Some(trial) = self.trial.take() {
            self.shared.change(|books, now| books.on_passed(trial, now));
        }
    }

    fn fail(mut self, why: EvictReason) {
        self.end(why);
    }

    fn end(&mut self, why: EvictReason) {
        if let Some(trial) = self.trial.take() {
            debug!(stream = %trial.id(), reason = %why, "stream failed its test");
            self.shared.change(|books, _| books.on_failed(trial, why));
        }
    }
}

impl<M: ManageStream> Drop for Testing<M> {
    fn drop(&mut self) {
        self.end(EvictReason::ProbeFailed);
    }
}
