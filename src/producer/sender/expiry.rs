//! Delivery deadlines: every request gets its last outcome when `delivery_timeout` has passed since the call.
//!
//! One timer for all: it stands at the earliest deadline of the requests in flight, and nowhere while there are none.
//! Messages that no lane has taken yet are looked at when one takes them; lanes take messages whether there is
//! a connection or not.

use std::{sync::Arc, time::Instant};

use tokio_util::sync::CancellationToken;

use crate::producer::shared::Shared;
use crate::time;

/// Keeps the deadlines of one producer until it is stopped.
pub(crate) async fn expire_loop(shared: Arc<Shared>, stopped: CancellationToken) {
    let shared = &*shared;
    loop {
        let earliest = shared.inflight().iter().map(|(_, r)| r.at).min();
        shared.watch_deadline(earliest);
        let due = async {
            match earliest {
                Some(at) => time::sleep_until(shared.deadline(at)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! { biased;
            () = due => expire(shared, time::now()),
            () = shared.deadline_notify.notified() => {}
            () = stopped.cancelled() => return,
        }
    }
}

fn expire(shared: &Shared, now: Instant) {
    let late: Vec<_> = shared
        .inflight()
        .iter()
        .filter(|(_, r)| shared.deadline(r.at) <= now)
        .map(|(id, _)| id)
        .collect();
    late.into_iter().for_each(|id| shared.expired(id));
}
