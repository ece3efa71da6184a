//! The turn to write: what is handed to QUIC is capped near two congestion windows, first come first served.
//!
//! quinn buffers up to its send window (10 MB by default) whatever the path carries: on a path that loses, that is
//! half a minute of backlog which neither the queue, nor the scaler, nor a deadline would see. So the send
//! window follows the congestion window, and one lane at a time writes, in the order in which they asked: quinn
//! wakes blocked writers last in first out, and with a single writer there is no order to get wrong.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::conn::Link;

/// Bytes in QUIC's hands, in congestion windows: one in flight, one ready to follow.
const WINDOWS: u64 = 2;
/// Never less than this, so that a first write is not cut into packets.
const LEAST: u64 = 64 * 1024;

#[derive(Debug)]
pub(crate) struct Turn {
    writers: Semaphore,
    /// The send window that was set last, and on which connection.
    window: AtomicU64,
    link: AtomicU64,
}

impl Turn {
    pub(crate) fn new() -> Self {
        Self {
            writers: Semaphore::new(1),
            window: AtomicU64::new(0),
            link: AtomicU64::new(0),
        }
    }

    /// Waits for the turn to write on `link`. It is held until the permit is dropped.
    ///
    /// Cancel safe: who gives up leaves the line.
    pub(crate) async fn take(&self, link: &Link) -> Option<SemaphorePermit<'_>> {
        let permit = self.writers.acquire().await.ok();
        self.follow(link);
        permit
    }

    /// Sets the send window anew where the congestion window has moved by an eighth.
    fn follow(&self, link: &Link) {
        let wanted = link.path().cwnd.saturating_mul(WINDOWS).max(LEAST);
        let set = self.window.load(Ordering::Relaxed);
        let same_link = self.link.swap(link.number(), Ordering::Relaxed) == link.number();
        if !same_link || wanted.abs_diff(set) > set / 8 {
            self.window.store(wanted, Ordering::Relaxed);
            link.connection().set_send_window(wanted);
        }
    }
}
