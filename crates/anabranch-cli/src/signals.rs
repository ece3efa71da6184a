//! Ctrl-C and SIGTERM: the first one asks for a graceful shutdown, the second one ends the process at once.

use std::io;

use tokio_util::sync::CancellationToken;

/// Plus the signal's number, this is the exit code of a process that a signal ended.
const SIGNALLED: i32 = 128;

/// Returns a token that the first signal cancels. The second signal calls `before_exit` and ends the process.
pub(crate) fn watch(before_exit: impl FnOnce() + Send + 'static) -> io::Result<CancellationToken> {
    let mut signals = Signals::new()?;
    let first = CancellationToken::new();
    let cancelled = first.clone();
    tokio::spawn(async move {
        signals.next().await;
        cancelled.cancel();
        let number = signals.next().await;
        before_exit();
        std::process::exit(SIGNALLED + number);
    });
    Ok(first)
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next signal, and returns its number.
    async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.interrupt.recv() => 2,
            _ = self.terminate.recv() => 15,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> i32 {
        match tokio::signal::ctrl_c().await {
            Ok(()) => 2,
            Err(_) => std::future::pending().await,
        }
    }
}
