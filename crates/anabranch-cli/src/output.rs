//! Standard output: text for people, or JSON for programs.

use std::{
    fmt,
    io::{self, Write},
};

use clap::ValueEnum;
use serde::Serialize;

/// In which form results are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Output {
    /// Sentences.
    #[default]
    Text,
    /// One JSON object or array on one line.
    Json,
}

/// Whoever read our output has gone, as `head` does when it has seen enough.
#[derive(Debug)]
pub struct Gone;

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody reads the output any more")
    }
}

impl std::error::Error for Gone {}

/// Writes bytes as they are, and flushes.
///
/// # Errors
/// [`Gone`], or what the system said.
pub fn bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let written = out.write_all(bytes).and_then(|()| out.flush());
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Gone.into(),
        _ => anyhow::Error::new(error).context("cannot write to standard output"),
    })
}

/// Writes a line.
///
/// # Errors
/// As [`bytes`].
pub fn line(line: impl fmt::Display) -> anyhow::Result<()> {
    bytes(format!("{line}\n").as_bytes())
}

/// Writes a value as one line of JSON.
///
/// # Errors
/// As [`bytes`].
pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    line(serde_json::to_string(value)?)
}

/// Ends the output of a command: a result as JSON to standard output, or a sentence to standard error.
///
/// # Errors
/// As [`bytes`].
pub fn summary(output: Output, value: &(impl Serialize + fmt::Display)) -> anyhow::Result<()> {
    match output {
        Output::Json => json(value),
        Output::Text => {
            crate::progress::say(value);
            Ok(())
        }
    }
}

/// A figure to three places, which is as exact as these are.
pub fn rounded(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}
