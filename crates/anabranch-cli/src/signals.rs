//! Ctrl-C and SIGTERM: the first asks for an orderly end, the second one gets it at once.

use std::io;

use tokio_util::sync::CancellationToken;

/// Exit code of a program that a signal ended: 128 and its number.
const SIGNALLED: i32 = 128;

/// A token that the first signal cancels. At the second one `last_words` is called and the program ends.
pub fn watch(last_words: impl FnOnce() + Send + 'static) -> io::Result<CancellationToken> {
    let mut signals = Signals::new()?;
    let first = CancellationToken::new();
    let told = first.clone();
    tokio::spawn(async move {
        signals.next().await;
        told.cancel();
        let number = signals.next().await;
        last_words();
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

    /// The number of the next signal.
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
