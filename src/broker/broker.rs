//! [`Broker`], and how it ends.

use std::{
    future::Future,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use super::{Tokens, endpoint::server_config, shared::Shared};
use crate::{
    conn::{CloseCode, ServerTls, TlsError},
    store::{StoreError, StoreState},
    tasks::Tasks,
    time,
};

/// How long a shutdown may exceed its deadline, for the store to finish its last group.
const GRACE: Duration = Duration::from_secs(1);

/// A durable broker that serves until it is shut down or dropped.
///
/// Dropping it closes all connections and ends all tasks at once. Batches that were answered are stored, and
/// producers send the others again. [`Broker::shutdown`] also answers what was read and closes the store.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use std::{sync::Arc, time::Duration};
/// use anabranch::{Broker, store::{LogConfig, LogStore}};
///
/// let store = LogStore::open("data", LogConfig::default()).await?;
/// let broker = Broker::builder()
///     .listen("127.0.0.1:4433".parse()?)
///     .development_certificate("certificates")
///     .store(Arc::new(store))
///     .bind()
///     .await?;
/// println!("listening at {}", broker.local_addr());
/// // ... until it is time to stop:
/// broker.shutdown(Duration::from_secs(10)).await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Broker {
    running: Arc<Running>,
}

/// Shuts a broker down from another task. Cheap to clone. Does not keep the broker running.
#[derive(Debug, Clone)]
pub struct Handle {
    running: Arc<Running>,
}

impl Broker {
    pub(super) fn new(running: Arc<Running>) -> Self {
        Self { running }
    }

    /// Returns the address that the broker listens at, with the port that the system chose.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.running.address
    }

    /// Returns a handle that can shut the broker down from another task.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle {
            running: Arc::clone(&self.running),
        }
    }

    /// Returns whether the store takes writes. While it does not, batches are refused with its reason, and consumers
    /// are still served.
    #[must_use]
    pub fn store_state(&self) -> StoreState {
        self.running.shared.store.state()
    }

    /// Returns what is known of damage to stored messages, in a sentence; `None` if nothing is. A damaged batch ends the
    /// subscription that meets it, and everything else is served.
    #[must_use]
    pub fn store_damage(&self) -> Option<String> {
        self.running.shared.store.damage()
    }

    /// Waits until a [`Handle`] has shut the broker down or its socket has failed. The broker serves whether or not
    /// this is called.
    ///
    /// # Errors
    /// [`ServeError`] where the socket has failed.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn serve(&self) -> Result<(), ServeError> {
        tokio::select! {
            biased;
            () = self.running.closed.cancelled() => Ok(()),
            () = self.running.failed.cancelled() => Err(ServeError),
        }
    }

    /// Replaces the certificate, the authorities that sign client certificates, and the tokens, for connections that
    /// begin from now on: files are read again. `tokens`: `None` means that no token is needed. Open connections keep
    /// what they were given when they began.
    ///
    /// # Errors
    /// [`TlsError`]: a file or a part of `tls` cannot be used. Nothing has changed then.
    pub fn reload(&self, tls: &ServerTls, tokens: Option<Tokens>) -> Result<(), TlsError> {
        self.running.reload(tls, tokens)
    }

    /// Shuts the broker down without losing anything it has accepted. It refuses new connections, tells every client,
    /// reads on for a round trip or two, answers everything it has read, closes every connection with
    /// [`CloseCode::GoingAway`], and closes the store. Connections that are still busy after `deadline` are cut off.
    /// The store gets one more second.
    ///
    /// # Errors
    /// [`ShutdownError`]. What was answered is stored nevertheless.
    ///
    /// # Cancel safety
    /// Dropping the future drops the broker, which ends at once.
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
    /// Shuts the broker down; see [`Broker::shutdown`]. If a shutdown is under way already, waits for its end.
    ///
    /// # Errors
    /// [`ShutdownError`]. What was answered is stored nevertheless.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the shutdown unfinished. Another call goes on with it.
    pub async fn shutdown(&self, deadline: Duration) -> Result<(), ShutdownError> {
        self.running.shutdown(deadline).await
    }
}

/// The broker's socket has failed. No client can reach the broker any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the broker's socket failed")]
pub struct ServeError;

/// What went wrong in a shutdown. In every case, what was answered is stored.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ShutdownError {
    /// Connections were still busy at the deadline and were cut off. Their producers send again what is not answered.
    #[error("at the deadline, {connections} connections were still busy")]
    CutOff {
        /// The number of connections cut off.
        connections: usize,
    },
    /// The store did not finish within the deadline and one second.
    #[error("the store did not finish in time")]
    StoreBusy,
    /// The store returned an error when it was closed.
    #[error("the store did not close well")]
    Store(#[source] Arc<StoreError>),
}

/// What a [`Broker`] and its [`Handle`]s share.
#[derive(Debug)]
pub(super) struct Running {
    address: SocketAddr,
    shared: Arc<Shared>,
    background: Tasks,
    /// Taken when the broker ends, so that the socket is closed.
    endpoint: Mutex<Option<quinn::Endpoint>>,
    /// Cancelled when the socket has failed.
    failed: CancellationToken,
    /// Cancelled when the broker has shut down.
    closed: CancellationToken,
    /// The result of the shutdown, which happens once.
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

    /// Starts the accept loop. If it returns `false`, the broker has failed.
    pub(super) fn spawn_accept_loop(&self, accepting: impl Future<Output = bool> + Send + 'static) {
        let failed = self.failed.clone();
        self.background.spawn(async move {
            if !accepting.await {
                failed.cancel();
            }
        });
    }

    /// Starts a task that runs until the broker stops.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stopped = self.background.stopped().clone();
        self.background
            .spawn(stopped.run_until_cancelled_owned(task));
    }

    fn reload(&self, tls: &ServerTls, tokens: Option<Tokens>) -> Result<(), TlsError> {
        let config = server_config(&self.shared.config, tls)?;
        let endpoint = self.endpoint.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(endpoint) = &*endpoint {
            endpoint.set_server_config(Some(config));
        }
        drop(endpoint);
        self.shared.replace_tokens(tokens);
        Ok(())
    }

    fn cut_off(&self) {
        self.shared.drain.cancel();
        self.shared.connections.stop();
        self.background.stop();
        self.close_endpoint();
        self.closed.cancel();
    }

    /// Closes the remaining connections and the socket.
    fn close_endpoint(&self) -> Option<quinn::Endpoint> {
        let mut endpoint = self.endpoint.lock().unwrap_or_else(PoisonError::into_inner);
        let endpoint = endpoint.take()?;
        endpoint.close(CloseCode::GoingAway.into(), b"the broker is closing");
        Some(endpoint)
    }

    async fn shutdown(&self, deadline: Duration) -> Result<(), ShutdownError> {
        let deadline = time::now() + deadline;
        let outcome = self.outcome.get_or_init(|| self.end(deadline));
        outcome.await.clone()
    }

    async fn end(&self, deadline: Instant) -> Result<(), ShutdownError> {
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
            // So that clients learn of it. Clients that do not answer are given up after a while.
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
