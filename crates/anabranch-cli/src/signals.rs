//! Signals: Ctrl-C (SIGINT), SIGTERM and SIGHUP.
//!
//! The first Ctrl-C or SIGTERM asks a command to stop in order. SIGHUP does the same, or asks it to read its files again.
//! Only a second Ctrl-C ends the process at once: programs that supervise others send SIGTERM more than once, and mean the
//! same each time.

use std::{
    io,
    ops::Deref,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Plus the signal's number, this is the exit code of a process that a signal ended.
const SIGNALLED: i32 = 128;
/// Ctrl-C within this time of the first one is the same one: `timeout` and the terminal may both pass it on.
const SAME: Duration = Duration::from_millis(100);

/// A signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signal {
    Interrupt,
    Terminate,
    Hangup,
}

impl Signal {
    const fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "Ctrl-C",
            Self::Terminate => "SIGTERM",
            Self::Hangup => "SIGHUP",
        }
    }
}

/// What SIGHUP asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnHangup {
    Stop,
    Reload,
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    /// To stop in order. A repeated wish changes nothing.
    Stop,
    /// To read files again.
    Reload,
    /// To end at once.
    Leave,
}

/// Decides what each signal asks for.
#[derive(Debug)]
struct Wishes {
    on_hangup: OnHangup,
    /// When the first Ctrl-C came.
    interrupted: Option<Instant>,
}

impl Wishes {
    fn on_signal(&mut self, now: Instant, signal: Signal) -> Wish {
        match (signal, self.interrupted) {
            (Signal::Hangup, _) if self.on_hangup == OnHangup::Reload => Wish::Reload,
            (Signal::Hangup | Signal::Terminate, _) => Wish::Stop,
            (Signal::Interrupt, None) => {
                self.interrupted = Some(now);
                Wish::Stop
            }
            (Signal::Interrupt, Some(first)) if now.duration_since(first) < SAME => Wish::Stop,
            (Signal::Interrupt, Some(_)) => Wish::Leave,
        }
    }
}

/// The wish to stop in order: a token that is cancelled, and the signal that asked for it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop {
    token: CancellationToken,
    signal: Arc<OnceLock<&'static str>>,
}

impl Stop {
    /// Returns the name of the signal that asked, or an empty text before.
    pub(crate) fn signal(&self) -> &'static str {
        self.signal.get().copied().unwrap_or_default()
    }
}

impl Deref for Stop {
    type Target = CancellationToken;

    fn deref(&self) -> &CancellationToken {
        &self.token
    }
}

/// Returns the wish to stop: Ctrl-C, SIGTERM or SIGHUP. A second Ctrl-C calls `before_exit` and ends the process.
pub(crate) fn watch(before_exit: impl FnOnce() + Send + 'static) -> io::Result<Stop> {
    start(OnHangup::Stop, before_exit).map(|(stop, _)| stop)
}

/// Returns the wish to stop, and the wish to read files again, which is SIGHUP. A second Ctrl-C calls `before_exit` and
/// ends the process.
pub(crate) fn watch_with_reload(
    before_exit: impl FnOnce() + Send + 'static,
) -> io::Result<(Stop, Arc<Notify>)> {
    start(OnHangup::Reload, before_exit)
}

fn start(
    on_hangup: OnHangup,
    before_exit: impl FnOnce() + Send + 'static,
) -> io::Result<(Stop, Arc<Notify>)> {
    let mut signals = Signals::new()?;
    let stop = Stop::default();
    let reload = Arc::new(Notify::new());
    let (stopping, reloading) = (stop.clone(), Arc::clone(&reload));
    let mut wishes = Wishes {
        on_hangup,
        interrupted: None,
    };
    tokio::spawn(async move {
        loop {
            let signal = signals.next().await;
            match wishes.on_signal(Instant::now(), signal) {
                Wish::Stop => {
                    stopping.signal.get_or_init(|| signal.name());
                    stopping.token.cancel();
                }
                Wish::Reload => reloading.notify_one(),
                Wish::Leave => break,
            }
        }
        before_exit();
        std::process::exit(SIGNALLED + 2);
    });
    Ok((stop, reload))
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    /// `None` where SIGHUP is ignored, as `nohup` asks for.
    hangup: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let hangup = match is_hangup_ignored() {
            true => None,
            false => Some(signal(SignalKind::hangup())?),
        };
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup,
        })
    }

    /// Waits for the next signal.
    async fn next(&mut self) -> Signal {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
            _ = hangup => Signal::Hangup,
        }
    }
}

/// Returns whether this process was started with SIGHUP ignored. Always false on systems other than Linux.
#[cfg(unix)]
fn is_hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignores_hangup(&status)
}

/// Returns whether SIGHUP, signal 1, is in the mask of ignored signals of a `/proc/PID/status`.
#[cfg(unix)]
fn ignores_hangup(status: &str) -> bool {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 == 1)
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> Signal {
        match tokio::signal::ctrl_c().await {
            Ok(()) => Signal::Interrupt,
            Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wishes(on_hangup: OnHangup, signals: &[(u64, Signal)]) -> Vec<Wish> {
        let began = Instant::now();
        let mut wishes = Wishes {
            on_hangup,
            interrupted: None,
        };
        signals
            .iter()
            .map(|(millis, signal)| {
                wishes.on_signal(began + Duration::from_millis(*millis), *signal)
            })
            .collect()
    }

    #[test]
    fn only_a_second_ctrl_c_leaves_at_once() {
        use Signal::{Hangup, Interrupt, Terminate};
        use Wish::{Leave, Stop};
        let stop = |signals: &[(u64, Signal)]| wishes(OnHangup::Stop, signals);
        assert_eq!(
            stop(&[(0, Terminate), (0, Terminate), (9000, Terminate)]),
            [Stop, Stop, Stop]
        );
        assert_eq!(
            stop(&[(0, Terminate), (500, Hangup), (900, Interrupt)]),
            [Stop, Stop, Stop]
        );
        assert_eq!(stop(&[(0, Interrupt), (500, Interrupt)]), [Stop, Leave]);
        assert_eq!(
            stop(&[(0, Interrupt), (1, Interrupt), (100, Interrupt)]),
            [Stop, Stop, Leave],
            "the second is the first, passed on twice"
        );
    }

    #[test]
    fn a_hangup_reloads_where_files_can_be_read_again() {
        use Signal::{Hangup, Interrupt};
        use Wish::{Reload, Stop};
        let signals = [(0, Hangup), (1, Hangup), (2, Interrupt), (3, Hangup)];
        assert_eq!(
            wishes(OnHangup::Reload, &signals),
            [Reload, Reload, Stop, Reload]
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_hangup_that_is_ignored_from_the_start_is_left_so() {
        assert!(ignores_hangup("Name:\tx\nSigIgn:\t0000000000001001\n"));
        assert!(!ignores_hangup("SigIgn:\t0000000000001000\n"));
        assert!(!ignores_hangup(""));
    }
}
