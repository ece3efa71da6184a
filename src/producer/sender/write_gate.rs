//! Who may write: what is handed to QUIC is limited to about two congestion windows, in the order in which lanes asked.
//!
//! quinn buffers up to its send window (10 MB by default) whatever the path carries. On a path that loses, that is half a
//! minute of backlog which the queue, the scaler and the deadlines would not see. So the send window follows the
//! congestion window, and one lane at a time writes. quinn wakes blocked writers last in, first out; with a single writer
//! that order does not matter.

use std::{
    pin::pin,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    task::Poll,
};

use bytes::Bytes;
use quinn::{SendStream, WriteError};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::conn::Session;

/// The send window in congestion windows: one in flight, one ready to follow.
const SEND_WINDOW_CWNDS: u64 = 2;
/// The lower bound of the send window. With less, a first write would be cut into packets.
const MIN_SEND_WINDOW: u64 = 16 * 1024;
/// Another lower bound, divided by the number of streams. quinn counts data that arrived after a lost packet of its stream as
/// unacknowledged; with one stream that is everything after the gap.
const MIN_SEND_WINDOW_TOTAL: u64 = 64 * 1024;

/// Lets one lane at a time write.
#[derive(Debug)]
pub(crate) struct WriteGate {
    writers: Semaphore,
    /// The send window that was set last.
    window: AtomicU64,
    /// The number of the connection that it was set on.
    session: AtomicU64,
    /// Whether the lane that writes waits for QUIC to take more.
    blocked: AtomicBool,
}

/// The right to write, while it lives.
#[derive(Debug)]
pub(crate) struct WritePermit<'a> {
    blocked: &'a AtomicBool,
    _permit: Option<SemaphorePermit<'a>>,
}

/// Marks that QUIC takes no more, while it lives.
struct Blocked<'a>(&'a AtomicBool);

impl WriteGate {
    pub(crate) fn new() -> Self {
        Self {
            writers: Semaphore::new(1),
            window: AtomicU64::new(0),
            session: AtomicU64::new(0),
            blocked: AtomicBool::new(false),
        }
    }

    /// Waits until this lane may write on `session`, whose lanes have `streams` streams. Lanes get the right in the order in
    /// which they asked, and hold it until the permit is dropped.
    ///
    /// # Cancel safety
    /// Cancel safe: a dropped call leaves the line.
    pub(crate) async fn acquire(&self, session: &Session, streams: usize) -> WritePermit<'_> {
        // It is never closed.
        let permit = self.writers.acquire().await.ok();
        self.update_send_window(session, streams);
        WritePermit {
            blocked: &self.blocked,
            _permit: permit,
        }
    }

    /// Returns whether QUIC takes no more from any lane at present.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    /// Updates the send window if the congestion window has changed by more than an eighth.
    fn update_send_window(&self, session: &Session, streams: usize) {
        let wanted = send_window(session.path_stats().cwnd, streams);
        let set = self.window.load(Ordering::Relaxed);
        let same_session =
            self.session.swap(session.number(), Ordering::Relaxed) == session.number();
        if !same_session || wanted.abs_diff(set) > set / 8 {
            self.window.store(wanted, Ordering::Relaxed);
            session.connection().set_send_window(wanted);
        }
    }
}

impl WritePermit<'_> {
    /// Waits until QUIC has taken all `chunks`.
    ///
    /// # Cancel safety
    /// Not cancel safe: a dropped call may have written a part.
    pub(crate) async fn write(
        &self,
        stream: &mut SendStream,
        chunks: &mut [Bytes],
    ) -> Result<(), WriteError> {
        let mut write = pin!(stream.write_all_chunks(chunks));
        if let Poll::Ready(written) = futures_util::poll!(write.as_mut()) {
            return written;
        }
        let _blocked = Blocked::new(self.blocked);
        write.await
    }
}

impl<'a> Blocked<'a> {
    fn new(blocked: &'a AtomicBool) -> Self {
        blocked.store(true, Ordering::Relaxed);
        Self(blocked)
    }
}

impl Drop for Blocked<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Returns the send window for a congestion window.
///
/// quinn sends what it holds stream by stream, not in the order in which it was written. The more it holds beyond the
/// congestion window, the longer the newest data of a late stream waits.
fn send_window(cwnd: u64, streams: usize) -> u64 {
    let least = MIN_SEND_WINDOW_TOTAL / (streams.max(1) as u64);
    cwnd.saturating_mul(SEND_WINDOW_CWNDS)
        .max(least)
        .max(MIN_SEND_WINDOW)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_stream_may_have_more_than_a_small_window_holds_and_many_no_more_than_two_windows() {
        assert_eq!(send_window(12_000, 1), 64 * 1024);
        assert_eq!(send_window(12_000, 2), 32 * 1024);
        assert_eq!(send_window(12_000, 64), 24_000);
        assert_eq!(send_window(3_000, 64), 16 * 1024);
        assert_eq!(send_window(1_000_000, 1), 2_000_000);
    }
}
