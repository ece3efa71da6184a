//! Standard error: live progress lines on a terminal, and messages.
//!
//! The live lines exist only where standard error is a terminal. Messages and logs are written above them.

use std::{
    fmt,
    io::{self, IsTerminal, Write},
    sync::{LazyLock, OnceLock},
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::task::JoinHandle;

use crate::terminal;

/// Time from one update of a live line to the next.
const TICK: Duration = Duration::from_millis(100);

/// The live lines of this process.
static LINES: LazyLock<MultiProgress> =
    LazyLock::new(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10)));

/// How messages are told.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Style {
    /// Only errors are told.
    pub(crate) quiet: bool,
    /// Each message is a JSON object of the log.
    pub(crate) json: bool,
}

static STYLE: OnceLock<Style> = OnceLock::new();

/// Sets how messages are told. The first call counts.
pub(crate) fn set_style(style: Style) {
    STYLE.get_or_init(|| style);
}

fn style() -> Style {
    STYLE.get().copied().unwrap_or_default()
}

/// Returns whether standard error is a terminal.
pub fn is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Returns whether the log has colours: on a terminal, unless `NO_COLOR` is set.
pub(crate) fn has_colours() -> bool {
    is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Tells something that is no error. With `--quiet` it is not told.
pub fn say(line: impl fmt::Display) {
    match style() {
        Style { json: true, .. } => tracing::info!(target: "anabranch_cli", "{line}"),
        Style { quiet: true, .. } => {}
        Style { .. } => write_line(line),
    }
}

/// Tells of something that works and should be different. With `--quiet` it is not told.
pub(crate) fn warn(line: impl fmt::Display) {
    match style() {
        Style { json: true, .. } => tracing::warn!(target: "anabranch_cli", "{line}"),
        Style { quiet: true, .. } => {}
        Style { .. } => write_line(format_args!("warning: {line}")),
    }
}

/// Tells of something that failed.
pub(crate) fn error(line: impl fmt::Display) {
    match style() {
        Style { json: true, .. } => tracing::error!(target: "anabranch_cli", "{line}"),
        Style { .. } => write_line(format_args!("error: {line}")),
    }
}

/// Writes a line to standard error, above the live lines, with control characters escaped: a broker may have said them. A
/// closed standard error is ignored.
fn write_line(line: impl fmt::Display) {
    let mut escaped = Vec::new();
    terminal::escape(format!("{line}\n").as_bytes(), &mut escaped);
    let _ = stderr().write_all(&escaped);
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
    /// Adds a line that shows what `now` returns. Without a terminal, with `--quiet` and with a log in JSON there is no
    /// line, and `now` is never called.
    pub(crate) fn begin(now: impl Fn() -> String + Send + 'static) -> Self {
        let Style { quiet, json } = style();
        if quiet || json || !is_terminal() {
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
