//! Sans-I/O: the summary of the demo.

use std::fmt;

use anabranch::producer::Lanes;
use indicatif::HumanCount;
use serde::Serialize;

use super::{bursts::Sent, check::Check, compare::Comparison};
use crate::stats::{counted, rounded};

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
    /// How long messages took over a link that loses packets.
    over_a_lossy_link: Comparison,
}

impl Summary {
    pub(super) fn new(check: &Check, sent: &Sent, lanes: &Lanes, comparison: Comparison) -> Self {
        Self {
            sent: sent.acknowledged,
            stored: check.received(),
            lost: check.lost(),
            duplicated: check.duplicated(),
            identical: check.is_identical(),
            lanes_max: lanes.peak,
            lanes_final: lanes.open,
            seconds: rounded(sent.took.as_secs_f64()),
            over_a_lossy_link: comparison,
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
        writeln!(
            f,
            "lanes: {} at most, {} at the end; {:.1} s",
            self.lanes_max, self.lanes_final, self.seconds
        )?;
        let Comparison { one_lane, lanes } = self.over_a_lossy_link;
        write!(
            f,
            "over the lossy link, 99 of 100 messages were stored within {:.0} ms with up to {}, and {:.0} ms with one lane",
            lanes.p99_ms,
            counted(lanes.lanes_max, "lane"),
            one_lane.p99_ms
        )
    }
}
