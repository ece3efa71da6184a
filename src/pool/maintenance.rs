//! The pool's maintenance task, and the short tasks that it starts.
//!
//! [`PoolState::poll_work`](super::state::PoolState::poll_work) decides what is opened and what is probed. This file starts
//! each open and each probe as a task of its own. So one that hangs delays no other, and a caller that gives up cancels none.
//!
//! The maintenance task sleeps until it is notified or until the time that
//! [`PoolState::schedule`](super::state::PoolState::schedule) returned. It sets no timer while nothing can become due.

use std::{future::Future, sync::Arc, time::Instant};

use tracing::debug;

use super::{
    error::PoolError,
    manage::ManageStream,
    shared::Shared,
    slot::{Permit, Probing},
    state::{OpenFailure, Work},
    status::EvictReason,
};
use crate::time;

/// Runs until the pool is closed.
pub(super) async fn run<M: ManageStream>(pool: CloseOnDrop<M>) {
    let shared = &pool.0;
    loop {
        let (work, wake) = shared.take_work();
        for work in work {
            match work {
                Work::Open(permit) => shared
                    .tasks
                    .spawn(open(OpenTask::new(Arc::clone(shared), permit))),
                Work::Probe(probing) => shared
                    .tasks
                    .spawn(probe(ProbeTask::new(Arc::clone(shared), probing))),
            };
        }
        tokio::select! {
            biased;
            () = shared.tasks.stopped().cancelled() => return,
            () = shared.maintenance_notify.notified() => {}
            () = sleep_until(wake) => {}
        }
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(at) => time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Closes the pool when the maintenance task ends, since no caller could be served after that. The task also ends when its
/// runtime is shut down, even before its first poll.
pub(super) struct CloseOnDrop<M: ManageStream>(pub(super) Arc<Shared<M>>);

impl<M: ManageStream> Drop for CloseOnDrop<M> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Opens one stream, probes it, and enters it into the pool.
async fn open<M: ManageStream>(mut task: OpenTask<M>) {
    let shared = Arc::clone(&task.shared);
    let limit = shared.config.open_timeout;
    match unless_stopped(&shared, time::timeout(limit, shared.manager.open())).await {
        None => return task.fail(OpenFailure::NotOpened, PoolError::Closed),
        Some(Err(_elapsed)) => return task.fail(OpenFailure::NotOpened, PoolError::OpenTimedOut),
        Some(Ok(Err(error))) => {
            let failure = match shared.manager.at_limit(&error) {
                true => OpenFailure::AtPeerLimit,
                false => OpenFailure::NotOpened,
            };
            return task.fail(failure, PoolError::Open(error));
        }
        Some(Ok(Ok(stream))) => task.stream = Some(stream),
    }
    let Some(stream) = task.stream.as_mut() else {
        return;
    };
    match probe_once(&shared, stream).await {
        Ok(()) => task.succeed(),
        Err(ProbeError::Stopped) => {
            let failure = OpenFailure::Unproven(EvictReason::Closed);
            task.fail(failure, PoolError::Closed);
        }
        Err(ProbeError::TimedOut) => {
            let failure = OpenFailure::Unproven(EvictReason::ProbeTimedOut);
            task.fail(failure, PoolError::ProbeTimedOut);
        }
        Err(ProbeError::Failed(error)) => {
            let failure = OpenFailure::Unproven(EvictReason::ProbeFailed);
            task.fail(failure, PoolError::Probe(error));
        }
    }
}

/// Probes one stream of the pool.
async fn probe<M: ManageStream>(mut task: ProbeTask<M>) {
    let shared = Arc::clone(&task.shared);
    let Some(probing) = task.probing.as_mut() else {
        return;
    };
    if shared.manager.is_broken(probing.stream()) {
        return task.fail(EvictReason::Broken);
    }
    match probe_once(&shared, probing.stream()).await {
        Ok(()) => task.succeed(),
        Err(ProbeError::Stopped) => task.fail(EvictReason::Closed),
        Err(ProbeError::TimedOut) => task.fail(EvictReason::ProbeTimedOut),
        Err(ProbeError::Failed(error)) => {
            debug!(stream = %probing.id(), error = &error as &dyn std::error::Error, "probe failed");
            task.fail(EvictReason::ProbeFailed);
        }
    }
}

/// Why a probe was not answered.
enum ProbeError<E> {
    Stopped,
    TimedOut,
    Failed(E),
}

async fn probe_once<M: ManageStream>(
    shared: &Shared<M>,
    stream: &mut M::Stream,
) -> Result<(), ProbeError<M::Error>> {
    let limit = shared.config.probe_timeout;
    let answer = time::timeout(limit, shared.manager.probe(stream));
    match unless_stopped(shared, answer).await {
        None => Err(ProbeError::Stopped),
        Some(Err(_elapsed)) => Err(ProbeError::TimedOut),
        Some(Ok(Err(error))) => Err(ProbeError::Failed(error)),
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

/// An open under way. Its drop returns the permit and discards the stream, however the task ends.
struct OpenTask<M: ManageStream> {
    shared: Arc<Shared<M>>,
    permit: Option<Permit>,
    stream: Option<M::Stream>,
}

impl<M: ManageStream> OpenTask<M> {
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
                .change(|state, now| state.on_opened(permit, stream, now));
        }
    }

    fn fail(mut self, failure: OpenFailure, error: PoolError<M::Error>) {
        self.end(failure, error);
    }

    fn end(&mut self, failure: OpenFailure, error: PoolError<M::Error>) {
        let Some(permit) = self.permit.take() else {
            return;
        };
        debug!(
            error = &error as &dyn std::error::Error,
            ?failure,
            "no stream opened"
        );
        if let (Some(stream), OpenFailure::Unproven(reason)) = (self.stream.take(), failure) {
            self.shared.manager.discard(stream, reason);
        }
        let waiter = self
            .shared
            .change(|state, now| state.on_open_failed(permit, failure, now));
        if let Some(waiter) = waiter {
            // Sending fails when the caller has gone, and then it needs no answer.
            let _ = waiter.send(Err(error));
        }
    }
}

impl<M: ManageStream> Drop for OpenTask<M> {
    fn drop(&mut self) {
        let failure = match self.stream {
            Some(_) => OpenFailure::Unproven(EvictReason::ProbeFailed),
            None => OpenFailure::NotOpened,
        };
        self.end(failure, PoolError::Aborted);
    }
}

/// A probe under way. Its drop returns the stream to the pool's state, however the task ends.
struct ProbeTask<M: ManageStream> {
    shared: Arc<Shared<M>>,
    probing: Option<Probing<M::Stream>>,
}

impl<M: ManageStream> ProbeTask<M> {
    const fn new(shared: Arc<Shared<M>>, probing: Probing<M::Stream>) -> Self {
        Self {
            shared,
            probing: Some(probing),
        }
    }

    fn succeed(mut self) {
        if let Some(probing) = self.probing.take() {
            self.shared
                .change(|state, now| state.on_probe_passed(probing, now));
        }
    }

    fn fail(mut self, reason: EvictReason) {
        self.end(reason);
    }

    fn end(&mut self, reason: EvictReason) {
        if let Some(probing) = self.probing.take() {
            debug!(stream = %probing.id(), %reason, "a stream failed its probe");
            self.shared
                .change(|state, _| state.on_probe_failed(probing, reason));
        }
    }
}

impl<M: ManageStream> Drop for ProbeTask<M> {
    fn drop(&mut self) {
        self.end(EvictReason::ProbeFailed);
    }
}
