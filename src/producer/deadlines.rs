//! Delivery deadlines: every request gets its last outcome when `delivery_timeout` has passed since the call.
//!
//! One timer for all: it stands at the earliest deadline of the requests in flight, and nowhere while there are none.
//! Messages that no lane has taken yet are looked at when one takes them; lanes take messages whether there is
//! a connection or not.

use std::{sync::Arc, time::Instant};

use tokio_util::sync::CancellationToken;

use super::core::Core;
use crate::time;

/// Keeps the deadlines of one producer until it is stopped.
pub(crate) async fn keep(core: Arc<Core>, stopped: CancellationToken) {
    let core = &*core;
    loop {
        let earliest = core.inflight().iter().map(|(_, r)| r.at).min();
        core.watch_deadline(earliest);
        let due = async {
            match earliest {
                Some(at) => time::until(core.deadline(at)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! { biased;
            () = due => expire(core, time::now()),
            () = core.deadline_door.notified() => {}
            () = stopped.cancelled() => return,
        }
    }
}

fn expire(core: &Core, now: Instant) {
    let late: Vec<_> = core
        .inflight()
        .iter()
        .filter(|(_, r)| core.deadline(r.at) <= now)
        .map(|(id, _)| id)
        .collect();
    late.into_iter().for_each(|id| core.expired(id));
}
