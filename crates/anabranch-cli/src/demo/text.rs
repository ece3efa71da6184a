//! What is sent: real text, line by line.

use std::{fs, path::Path};

use anyhow::{Context, ensure};
use bytes::Bytes;

/// The source of this program.
const OWN: [&str; 2] = [
    include_str!("../lib.rs"),
    include_str!("../produce/lines.rs"),
];

/// The lines of a text.
pub(super) struct Text(Vec<Bytes>);

impl Text {
    /// The file's lines, or those of this program.
    ///
    /// # Errors
    /// Where the file cannot be read or is empty.
    pub(super) fn load(path: Option<&Path>) -> anyhow::Result<Self> {
        let text = match path {
            None => Bytes::from(OWN.concat()),
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

    /// The line of the `number`th message: they are taken in turn, again and again.
    pub(super) fn line(&self, number: u64) -> Bytes {
        let place = number % self.0.len() as u64;
        self.0[usize::try_from(place).unwrap_or_default()].clone()
    }
}
