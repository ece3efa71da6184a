//! The only clock: tokio's, which the simulation moves.
#![allow(clippy::disallowed_methods, reason = "this file is the only clock")]

use std::time::Instant;

pub(crate) use tokio::time::timeout;

/// Returns the monotonic time of the simulation.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
