//! Delivery deadlines: every request gets its last outcome when `delivery_timeout` has passed since the call.
//!
//! One timer serves all requests. It is set to the earliest deadline in flight, and not at all while there is none. A
//! message that no lane has taken yet is checked when a lane takes it; lanes take messages with or without a connection.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::requests::Requests;
use crate::time;

/// Expires the requests of one producer until it is stopped.
pub(crate) async fn expire_loop(
    requests: Arc<Requests>,
    delivery_timeout: Duration,
    stopped: CancellationToken,
) {
    loop {
        let earliest = requests.watch_earliest_call();
        let due = async {
            match earliest {
                Some(at) => time::sleep_until(at + delivery_timeout).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! { biased;
            () = due => expire(&requests, delivery_timeout, time::now()),
            () = requests.earlier_call() => {}
            () = stopped.cancelled() => return,
        }
    }
}

fn expire(requests: &Requests, delivery_timeout: Duration, now: Instant) {
    let late: Vec<_> = requests
        .in_flight()
        .iter()
        .filter(|(_, r)| r.at + delivery_timeout <= now)
        .map(|(id, _)| id)
        .collect();
    late.into_iter().for_each(|id| requests.expire(id));
}
