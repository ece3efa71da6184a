//! The accept loop: gives each connection a task of its own.
//!
//! Only the end of the socket or of the broker ends this loop. quinn drops what is not QUIC. A client that speaks
//! QUIC costs one of a bounded number of handshakes, each of bounded time. While many are under way, a new client
//! must first prove by a round trip that it owns its address.

use std::sync::Arc;

use super::{connection_counter::ConnectionCounter, session, shared::Shared};

/// Accepts connections until the broker stops. From the beginning of a shutdown it refuses them.
///
/// Returns `false` where the socket has failed.
pub(super) async fn run(endpoint: quinn::Endpoint, shared: Arc<Shared>) -> bool {
    let counter = ConnectionCounter::default();
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
        let active = counter.counts(peer);
        let Some(connecting) = shared.config.admission.admit(incoming, active) else {
            tracing::debug!(%peer, ?active, "not admitted");
            continue;
        };
        let counted = counter.add(peer, &shared.config.admission);
        let task = session::serve(connecting, peer, counted, Arc::clone(&shared));
        shared.connections.spawn(task);
    }
}
