//! The turn to write: what is handed to QUIC is capped near two congestion windows, first come first served.
//!
//! quinn buffers up to its send window (10 MB by default) whatever the path carries: on a path that loses, that is
//! half a minute of backlog which neither the queue, nor the scaler, nor a deadline would see. So the send
//! window follows the congestion window, and one lane at a time writes, in the order in which they asked: quinn
//! wakes blocked writers last in first out, and with a single writer there is no order to get wrong.

use std::{
    pin::pin,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    task::Poll,
};

use bytes::Bytes;
use quinn::{SendStream, WriteError};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::conn::Session;

/// Bytes in QUIC's hands, in congestion windows: one in flight, one ready to follow.
const WINDOWS: u64 = 2;
/// Never less than this, so that a first write is not cut into packets.
const LEAST: u64 = 16 * 1024;
/// Nor less than this by the number of streams. What came and lies behind a lost packet of its stream counts as unanswered in
/// quinn: all that is behind it with one stream, and a part of it with more.
const BEHIND_A_LOSS: u64 = 64 * 1024;

#[derive(Debug)]
pub(crate) struct WriteGate {
    writers: Semaphore,
    /// The send window that was set last, and on which connection.
    window: AtomicU64,
    link: AtomicU64,
    /// Who has the turn waits for QUIC, which takes no more.
    blocked: AtomicBool,
}

/// The turn, for as long as it lives.
#[derive(Debug)]
pub(crate) struct WritePermit<'a> {
    blocked: &'a AtomicBool,
    _permit: Option<SemaphorePermit<'a>>,
}

/// Says that QUIC takes no more, while it lives.
struct Blocked<'a>(&'a AtomicBool);

impl WriteGate {
    pub(crate) fn new() -> Self {
        Self {
            writers: Semaphore::new(1),
            window: AtomicU64::new(0),
            link: AtomicU64::new(0),
            blocked: AtomicBool::new(false),
        }
    }

    /// Waits for the turn to write on `link`, of which there are so many `streams`. It is held until the permit is dropped.
    ///
    /// Cancel safe: who gives up leaves the line.
    pub(crate) async fn take(&self, link: &Session, streams: usize) -> WritePermit<'_> {
        // It is never closed.
        let permit = self.writers.acquire().await.ok();
        self.follow(link, streams);
        WritePermit {
            blocked: &self.blocked,
            _permit: permit,
        }
    }

    /// Whether QUIC takes no more from any lane at this moment.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed)
    }

    /// Sets the send window anew where the congestion window has moved by an eighth.
    fn follow(&self, link: &Session, streams: usize) {
        let wanted = send_window(link.path_stats().cwnd, streams);
        let set = self.window.load(Ordering::Relaxed);
        let same_link = self.link.swap(link.number(), Ordering::Relaxed) == link.number();
        if !same_link || wanted.abs_diff(set) > set / 8 {
            self.window.store(wanted, Ordering::Relaxed);
            link.connection().set_send_window(wanted);
        }
    }
}

impl WritePermit<'_> {
    /// Hands `chunks` to QUIC, when it takes them.
    ///
    /// Not cancel safe: what was dropped half-way is half written.
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

/// The send window for a congestion window.
///
/// What quinn has and has not sent goes out stream by stream, and not in the order in which it was written: the more of it there
/// is beyond the congestion window, the later comes what was written last to a stream whose turn is late.
fn send_window(cwnd: u64, streams: usize) -> u64 {
    let least = BEHIND_A_LOSS / (streams.max(1) as u64);
    cwnd.saturating_mul(WINDOWS).max(least).max(LEAST)
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
