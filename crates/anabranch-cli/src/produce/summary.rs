//! Pure: how a run ended, in figures.

use std::{fmt, time::Duration};

use indicatif::HumanCount;
use serde::Serialize;

use super::tally::Tally;
use crate::{output::rounded, units};

/// What became of the messages.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    /// Messages that were read.
    sent: u64,
    /// Messages that are stored.
    delivered: u64,
    /// Messages that went to the spool on disk, and from there to the broker or not yet.
    spooled: u64,
    /// Messages that are in the spool now, those of earlier runs counted too.
    in_spool: u64,
    /// Messages that are not stored, or of which nobody knows.
    failed: u64,
    /// Batches that were sent again.
    retried: u64,
    /// From the connection to the last outcome.
    seconds: f64,
    messages_per_second: f64,
    /// The most lanes that were open at once.
    lanes_max: usize,
}

impl Summary {
    pub(super) fn new(
        tally: &Tally,
        retried: u64,
        in_spool: u64,
        took: Duration,
        lanes_max: usize,
    ) -> Self {
        Self {
            sent: tally.read(),
            delivered: tally.delivered(),
            spooled: tally.spooled(),
            in_spool,
            failed: tally.undelivered(),
            retried,
            seconds: rounded(took.as_secs_f64()),
            messages_per_second: rounded(units::per_second(tally.delivered(), took)),
            lanes_max,
        }
    }

    /// Whether every message is stored, or on disk.
    pub(super) const fn is_success(&self) -> bool {
        self.failed == 0
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} messages delivered in {:.2} s, {:.0} a second",
            HumanCount(self.delivered),
            HumanCount(self.sent),
            self.seconds,
            self.messages_per_second
        )?;
        if self.spooled > 0 || self.in_spool > 0 {
            let (spooled, left) = (HumanCount(self.spooled), HumanCount(self.in_spool));
            write!(f, ", {spooled} by way of the spool, {left} are in it now")?;
        }
        if self.failed > 0 {
            write!(f, ", {} failed", HumanCount(self.failed))?;
        }
        if self.retried > 0 {
            write!(f, ", {} batches sent again", HumanCount(self.retried))?;
        }
        write!(f, ", at most {} lanes", self.lanes_max)
    }
}
