//! Standard error: live progress lines on a terminal, and messages.
//!
//! The live lines exist only where standard error is a terminal. Messages and logs are written above them.

use std::{
    fmt,
    io::{self, IsTerminal, Write},
    sync::LazyLock,
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::task::JoinHandle;

/// Time from one update of a live line to the next.
const TICK: Duration = Duration::from_millis(100);

/// The live lines of this process.
static LINES: LazyLock<MultiProgress> =
    LazyLock::new(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10)));

/// Returns whether standard error is a terminal.
pub fn is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Writes a line to standard error, above the live lines. A closed standard error is ignored.
pub fn say(line: impl fmt::Display) {
    let _ = stderr().write_all(format!("{line}\n").as_bytes());
}

/// Returns a writer to standard error, above the live lines.
pub(crate) fn stderr() -> impl Write {
    Above
}

struct Above;

impl Write for Above {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        LINES.suspend(|| io::stderr().lock().write_all(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A live line: shows the current text of a closure ten times a second, until it is dropped.
#[derive(Debug)]
pub(crate) struct Live {
    bar: ProgressBar,
    ticker: Option<JoinHandle<()>>,
}

impl Live {
    /// Adds a line that shows what `now` returns. Without a terminal there is no line, and `now` is never called.
    pub(crate) fn begin(now: impl Fn() -> String + Send + 'static) -> Self {
        if !is_terminal() {
            return Self {
                bar: ProgressBar::hidden(),
                ticker: None,
            };
        }
        let bar = LINES.add(ProgressBar::no_length());
        let style = ProgressStyle::with_template("{spinner} {wide_msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        let shown = bar.clone();
        let ticker = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(TICK);
            loop {
                ticks.tick().await;
                shown.set_message(now());
                shown.tick();
            }
        });
        Self {
            bar,
            ticker: Some(ticker),
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(ticker) = &self.ticker {
            ticker.abort();
        }
        self.bar.finish_and_clear();
    }
}
