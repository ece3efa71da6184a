//! The accept loop: from a datagram of a stranger to a connection with a task of its own.
//!
//! Nothing that arrives can end this loop but the end of the socket or of the broker. What is not QUIC never
//! gets here. What is costs a bounded number of handshakes, each of bounded time; while many are under way, a
//! new client must first prove by a round trip that its address is its own.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{session, shared::Shared};

/// At so many times [`Limits::pending_handshakes`](super::Limits::pending_handshakes), new ones are refused.
const REFUSE_AT: usize = 4;

/// Accepts until the broker is told to drain or to stop. `false`: the socket has failed.
pub(super) async fn run(endpoint: quinn::Endpoint, shared: Arc<Shared>) -> bool {
    let limits = &shared.config.limits;
    let connections = Arc::new(Semaphore::new(limits.connections));
    let most_pending = limits.pending_handshakes.saturating_mul(REFUSE_AT);
    let pending = Arc::new(Semaphore::new(most_pending.min(Semaphore::MAX_PERMITS)));
    loop {
        let incoming = tokio::select! {
            () = shared.drain.cancelled() => return true,
            () = shared.connections.stopped().cancelled() => return true,
            incoming = endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else {
            tracing::error!("the socket failed: no more connections are accepted");
            return false;
        };
        let peer = incoming.remote_address();
        let under_way = most_pending - pending.available_permits();
        if under_way >= limits.pending_handshakes && incoming.may_retry() {
            tracing::debug!(%peer, under_way, "address validation asked for");
            // An error means that the address is validated, which was ruled out.
            let _ = incoming.retry();
            continue;
        }
        match admit(&connections, &pending) {
            Some(admitted) => {
                let task = session::serve(incoming, admitted, Arc::clone(&shared));
                shared.connections.spawn(task);
            }
            None => {
                tracing::debug!(%peer, "connection refused: the limit is reached");
                incoming.refuse();
            }
        }
    }
}

/// A connection's places.
#[derive(Debug)]
pub(super) struct Admitted {
    /// Among the handshakes; given back when the session stands.
    pub(super) handshake: OwnedSemaphorePermit,
    /// Among the connections.
    pub(super) connection: OwnedSemaphorePermit,
}

fn admit(connections: &Arc<Semaphore>, pending: &Arc<Semaphore>) -> Option<Admitted> {
    Some(Admitted {
        handshake: Arc::clone(pending).try_acquire_owned().ok()?,
        connection: Arc::clone(connections).try_acquire_owned().ok()?,
    })
}
