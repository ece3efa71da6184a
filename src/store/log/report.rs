//! What a check or a repair of a log found.

use std::fmt;

/// What [`check`](super::super::check) or [`repair`](super::super::repair) found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The number of segments.
    pub segments: usize,
    /// The number of frames that are whole.
    pub frames: u64,
    /// The number of messages in them, trimmed ones included.
    pub messages: u64,
    /// What is damaged or missing, a sentence each. An index or a snapshot that can be done without is not among them.
    pub problems: Vec<String>,
    /// What is not as it should be and does no harm, a sentence each.
    pub notes: Vec<String>,
    /// What [`repair`](super::super::repair) did, a sentence each.
    pub repairs: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (segments, frames, messages) = (self.segments, self.frames, self.messages);
        writeln!(
            f,
            "{segments} segments, {frames} frames, {messages} messages"
        )?;
        for (what, list) in [
            ("damaged", &self.problems),
            ("note", &self.notes),
            ("repaired", &self.repairs),
        ] {
            for line in list {
                writeln!(f, "{what}: {line}")?;
            }
        }
        match self.problems.is_empty() {
            true => write!(f, "the log is whole"),
            false => write!(f, "the log is damaged"),
        }
    }
}
