//! The accept loop: from a datagram of a stranger to a connection with a task of its own.
//!
//! Nothing that arrives can end this loop but the end of the socket or of the broker. What is not QUIC never
//! gets here. What is costs a bounded number of handshakes, each of bounded time; while many are under way, a
//! new client must first prove by a round trip that its address is its own.

use std::sync::Arc;

use super::{session, shared::Shared};
use crate::conn::ActiveCounts;

/// Accepts until the broker is told to stop, and refuses from when it is told to drain. `false`: the socket has
/// failed.
pub(super) async fn run(endpoint: quinn::Endpoint, shared: Arc<Shared>) -> bool {
    let handshakes = Arc::new(());
    let connections = Arc::new(());
    loop {
        let incoming = tokio::select! { biased;
            () = shared.connections.stopped().cancelled() => return true,
            incoming = endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else {
            tracing::error!("the socket failed: no more connections are accepted");
            return false;
        };
        let peer = incoming.remote_address();
        if shared.drain.is_cancelled() {
            incoming.refuse();
            continue;
        }
        let busy = ActiveCounts {
            handshakes: Arc::strong_count(&handshakes) - 1,
            connections: Arc::strong_count(&connections) - 1,
        };
        let Some(connecting) = shared.config.admission.admit(incoming, busy) else {
            tracing::debug!(%peer, ?busy, "not admitted");
            continue;
        };
        let places = Places {
            handshake: Place(Arc::clone(&handshakes)),
            connection: Place(Arc::clone(&connections)),
        };
        let task = session::serve(connecting, peer, places, Arc::clone(&shared));
        shared.connections.spawn(task);
    }
}

/// One that is counted while this lives.
#[derive(Debug)]
pub(super) struct Place(#[expect(dead_code, reason = "counts by being there")] Arc<()>);

/// A connection's places.
#[derive(Debug)]
pub(super) struct Places {
    /// Among the handshakes; given back when the session stands.
    pub(super) handshake: Place,
    /// Among the connections.
    pub(super) connection: Place,
}
