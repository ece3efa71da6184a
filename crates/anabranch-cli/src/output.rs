//! Standard output: text for people, or JSON for programs.

use std::{
    fmt,
    io::{self, Write},
};

use clap::ValueEnum;
use serde::Serialize;

/// The output format of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Output {
    /// Sentences and tables.
    #[default]
    Text,
    /// One JSON object or array on one line.
    Json,
}

/// Standard output was closed by its reader, as `head` does. Not a failure of the command.
#[derive(Debug)]
pub(crate) struct StdoutClosed;

impl fmt::Display for StdoutClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("standard output is closed")
    }
}

impl std::error::Error for StdoutClosed {}

/// Writes bytes as they are, and flushes.
///
/// # Errors
/// When standard output cannot be written. When it is closed, the command ends without a message and with exit code 0.
pub(crate) fn bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let written = out.write_all(bytes).and_then(|()| out.flush());
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => StdoutClosed.into(),
        _ => anyhow::Error::new(error).context("cannot write to standard output"),
    })
}

/// Writes a line.
///
/// # Errors
/// When standard output cannot be written. When it is closed, the command ends without a message and with exit code 0.
pub fn line(line: impl fmt::Display) -> anyhow::Result<()> {
    bytes(format!("{line}\n").as_bytes())
}

/// Writes a value as one line of JSON.
///
/// # Errors
/// When standard output cannot be written. When it is closed, the command ends without a message and with exit code 0.
pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    line(serde_json::to_string(value)?)
}

/// Writes the result of a command to standard output, in the format that was asked for.
///
/// # Errors
/// When standard output cannot be written. When it is closed, the command ends without a message and with exit code 0.
pub fn result(output: Output, value: &(impl Serialize + fmt::Display)) -> anyhow::Result<()> {
    match output {
        Output::Json => json(value),
        Output::Text => line(value),
    }
}

/// Writes the summary of a command: JSON to standard output, or a sentence to standard error.
pub(crate) fn summary(
    output: Output,
    value: &(impl Serialize + fmt::Display),
) -> anyhow::Result<()> {
    match output {
        Output::Json => json(value),
        Output::Text => {
            crate::progress::say(value);
            Ok(())
        }
    }
}
