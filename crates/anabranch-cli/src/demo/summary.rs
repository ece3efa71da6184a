//! Sans-I/O: the summary of the demo.

use std::fmt;

use anabranch::producer::Lanes;
use indicatif::HumanCount;
use serde::Serialize;

use super::{bursts::Sent, check::Check};
use crate::stats::rounded;

/// What happened to the messages, and how many lanes carried them.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    /// Messages sent and acknowledged.
    sent: u64,
    /// Messages read back from the topic.
    stored: u64,
    /// Messages missing in the topic.
    lost: u64,
    /// Messages stored more than once.
    duplicated: u64,
    /// Whether the checksums over everything sent and everything read are equal.
    identical: bool,
    /// Largest number of lanes open at once.
    lanes_max: usize,
    /// Number of lanes at the end.
    lanes_final: usize,
    /// Time from the first message to the last acknowledgement, including pauses.
    seconds: f64,
}

impl Summary {
    pub(super) fn new(check: &Check, sent: &Sent, lanes: &Lanes) -> Self {
        Self {
            sent: sent.acknowledged,
            stored: check.received(),
            lost: check.lost(),
            duplicated: check.duplicated(),
            identical: check.is_identical(),
            lanes_max: lanes.peak,
            lanes_final: lanes.open,
            seconds: rounded(sent.took.as_secs_f64()),
        }
    }

    /// Returns whether every message was read back once and unchanged.
    pub(super) const fn is_whole(&self) -> bool {
        self.lost == 0 && self.duplicated == 0 && self.identical
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "sent {}, stored {}, lost {}, duplicated {}, checksums {}",
            HumanCount(self.sent),
            HumanCount(self.stored),
            HumanCount(self.lost),
            HumanCount(self.duplicated),
            if self.identical { "agree" } else { "differ" }
        )?;
        write!(
            f,
            "lanes: {} at most, {} at the end; {:.1} s",
            self.lanes_max, self.lanes_final, self.seconds
        )
    }
}
