//! A broker that serves, and how it ends.

use std::{
    future::Future,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use super::{builder::Builder, shared::Shared};
use crate::{
    conn::CloseCode,
    store::{StoreError, StoreState},
    tasks::Tasks,
    time,
};

/// How long a shutdown may go on behind its deadline, for the store to finish what it is at.
const GRACE: Duration = Duration::from_secs(1);

/// A broker: it serves from [`Builder::bind`] until it is shut down or dropped.
///
/// Dropping it cuts every connection off and ends every task. Nothing that was answered is lost by that, and what
/// was not is sent again by its producer; [`Broker::shutdown`] is kinder to clients and lets go of the store.
#[derive(Debug)]
pub struct Broker {
    running: Arc<Running>,
}

/// Shuts a broker down from elsewhere. Cheap to clone; does not keep the broker going.
#[derive(Debug, Clone)]
pub struct Handle {
    running: Arc<Running>,
}

impl Broker {
    /// A broker to be put together.
    pub fn builder() -> Builder {
        Builder::new()
    }

    pub(super) fn new(running: Arc<Running>) -> Self {
        Self { running }
    }

    /// The address it listens at, with the port that was chosen.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.running.address
    }

    /// A way to shut it down from elsewhere.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle {
            running: Arc::clone(&self.running),
        }
    }

    /// Whether its store takes writes. Where it does not, batches are refused with that sentence, and readers are
    /// served on.
    #[must_use]
    pub fn store_state(&self) -> StoreState {
        self.running.shared.store.state()
    }

    /// Waits until the broker has been shut down by a [`Handle`], or cannot go on. It serves whether somebody waits
    /// here or not.
    ///
    /// # Errors
    /// [`ServeError`] where the socket has failed.
    ///
    /// # Cancel safety
    /// Dropping this changes nothing.
    pub async fn serve(&self) -> Result<(), ServeError> {
        tokio::select! {
            biased;
            () = self.running.closed.cancelled() => Ok(()),
            () = self.running.failed.cancelled() => Err(ServeError),
        }
    }

    /// Ends the broker without losing anything it has accepted: takes no new connections, tells every client, reads
    /// on for a round trip or two, answers everything it has read, closes every connection with
    /// [`CloseCode::GoingAway`], and closes the store. At `deadline` from now, connections that are not done are
    /// cut off; the store is given a second more.
    ///
    /// # Errors
    /// [`ShutdownError`]. What was answered is stored all the same.
    ///
    /// # Cancel safety
    /// Dropping this drops the broker, which ends at once.
    pub async fn shutdown(self, deadline: Duration) -> Result<(), ShutdownError> {
        self.running.shutdown(deadline).await
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.running.cut_off();
    }
}

impl Handle {
    /// As [`Broker::shutdown`]. Where a shutdown is under way, waits for its end.
    ///
    /// # Errors
    /// [`ShutdownError`]. What was answered is stored all the same.
    ///
    /// # Cancel safety
    /// Dropping this leaves a shutdown half done; another call goes on with it.
    pub async fn shutdown(&self, deadline: Duration) -> Result<(), ShutdownError> {
        self.running.shutdown(deadline).await
    }
}

/// The broker's socket has failed, so that no client reaches it any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the broker's socket failed")]
pub struct ServeError;

/// What did not go as it should in a shutdown. Whatever it is, what was answered is stored.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ShutdownError {
    /// Connections were still busy at the deadline and were cut off. Their producers send again what is unanswered.
    #[error("at the deadline, {connections} connections were still busy")]
    CutOff {
        /// How many.
        connections: usize,
    },
    /// The store did not finish within the deadline and a second.
    #[error("the store did not finish in time")]
    StoreBusy,
    /// The store did not close well.
    #[error("the store did not close well")]
    Store(#[source] Arc<StoreError>),
}

/// What a [`Broker`] and its [`Handle`]s share.
#[derive(Debug)]
pub(super) struct Running {
    address: SocketAddr,
    shared: Arc<Shared>,
    background: Tasks,
    /// Taken when the broker ends, so that the socket is let go.
    endpoint: Mutex<Option<quinn::Endpoint>>,
    failed: CancellationToken,
    closed: CancellationToken,
    outcome: OnceCell<Result<(), ShutdownError>>,
}

impl Running {
    pub(super) fn new(
        endpoint: quinn::Endpoint,
        address: SocketAddr,
        shared: Arc<Shared>,
        background: Tasks,
    ) -> Arc<Self> {
        Arc::new(Self {
            address,
            shared,
            background,
            endpoint: Mutex::new(Some(endpoint)),
            failed: CancellationToken::new(),
            closed: CancellationToken::new(),
            outcome: OnceCell::new(),
        })
    }

    /// The accept loop: where it ends by itself, the broker has failed.
    pub(super) fn accepting(&self, accepting: impl Future<Output = bool> + Send + 'static) {
        let failed = self.failed.clone();
        self.background.spawn(async move {
            if !accepting.await {
                failed.cancel();
            }
        });
    }

    /// A task that runs until the broker stops.
    pub(super) fn beside(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stopped = self.background.stopped().clone();
        self.background
            .spawn(stopped.run_until_cancelled_owned(task));
    }

    fn cut_off(&self) {
        self.shared.drain.cancel();
        self.shared.connections.stop();
        self.background.stop();
        self.close_endpoint();
        self.closed.cancel();
    }

    /// Closes what connections are left, and lets go of the socket.
    fn close_endpoint(&self) -> Option<quinn::Endpoint> {
        let mut endpoint = self.endpoint.lock().unwrap_or_else(PoisonError::into_inner);
        let endpoint = endpoint.take()?;
        endpoint.close(CloseCode::GoingAway.into(), b"the broker is closing");
        Some(endpoint)
    }

    async fn shutdown(&self, deadline: Duration) -> Result<(), ShutdownError> {
        let deadline = time::now() + deadline;
        let outcome = self.outcome.get_or_init(|| self.wind_down(deadline));
        outcome.await.clone()
    }

    async fn wind_down(&self, deadline: Instant) -> Result<(), ShutdownError> {
        let left = || deadline.saturating_duration_since(time::now());
        tracing::info!(
            connections = self.shared.connections.len(),
            "shutdown begins"
        );
        self.shared.drain.cancel();
        let joined = time::timeout(left(), self.shared.connections.join()).await;
        let busy = match joined {
            Ok(()) => 0,
            Err(_) => self.shared.connections.len(),
        };
        self.shared.connections.shutdown().await;
        self.background.stop();
        let idle = time::timeout(left() + GRACE, self.background.join()).await;
        if let Some(endpoint) = self.close_endpoint() {
            // So that clients hear of it; one that does not answer is not waited for.
            let _ = time::timeout(GRACE, endpoint.wait_idle()).await;
        }
        let closed = match idle {
            Ok(()) => time::timeout(left() + GRACE, self.shared.store.close()).await,
            Err(elapsed) => Err(elapsed),
        };
        self.closed.cancel();
        tracing::info!(cut_off = busy, "broker closed");
        match closed {
            Err(_) => Err(ShutdownError::StoreBusy),
            Ok(Err(error)) => Err(ShutdownError::Store(Arc::new(error))),
            Ok(Ok(())) if busy > 0 => Err(ShutdownError::CutOff { connections: busy }),
            Ok(Ok(())) => Ok(()),
        }
    }
}
