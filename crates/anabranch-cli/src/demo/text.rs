//! The lines that the demo sends.

use std::{fs, path::Path};

use anyhow::{Context, ensure};
use bytes::Bytes;

/// Source code of this program.
const SOURCE: [&str; 2] = [
    include_str!("../lib.rs"),
    include_str!("../produce/lines.rs"),
];

/// The lines of a text.
pub(super) struct Text(Vec<Bytes>);

impl Text {
    /// Loads the lines of a file, or without one those of this program's source code.
    ///
    /// # Errors
    /// When the file cannot be read or has no lines.
    pub(super) fn load(path: Option<&Path>) -> anyhow::Result<Self> {
        let text = match path {
            None => Bytes::from(SOURCE.concat()),
            Some(path) => fs::read(path)
                .with_context(|| format!("cannot read {}", path.display()))?
                .into(),
        };
        let lines: Vec<Bytes> = text
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| text.slice_ref(line))
            .collect();
        ensure!(!lines.is_empty(), "there are no lines to send");
        Ok(Self(lines))
    }

    /// Returns the line of the `number`th message. The lines repeat in order.
    pub(super) fn line(&self, number: u64) -> Bytes {
        let place = number % self.0.len() as u64;
        self.0[usize::try_from(place).unwrap_or_default()].clone()
    }
}
