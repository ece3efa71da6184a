//! Sans-I/O: the summary of a run.

use std::{fmt, time::Duration};

use indicatif::HumanCount;
use serde::Serialize;

use super::tally::Tally;
use crate::stats::{counted, per_second, rounded, whole};

/// What happened to the messages.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    /// Messages read.
    sent: u64,
    /// Messages stored by the broker.
    delivered: u64,
    /// Messages written to the spool, whether or not they have been sent from there.
    spooled: u64,
    /// Messages in the spool at the end, including those of earlier runs.
    in_spool: u64,
    /// Messages that the broker has stored from the spool, including those of earlier runs.
    spool_delivered: u64,
    /// Messages that were in the spool and are lost: damaged on disk, or refused by the broker for good.
    spool_lost: u64,
    /// Messages not stored, or with an unknown outcome.
    failed: u64,
    /// Batches resent.
    batches_retried: u64,
    /// Time from the connection to the last outcome.
    seconds: f64,
    messages_per_second: f64,
    /// Largest number of lanes open at once.
    lanes_max: usize,
}

/// What became of the messages in the spool.
#[derive(Debug, Default)]
pub(super) struct SpoolCounts {
    pub(super) left: u64,
    pub(super) delivered: u64,
    pub(super) lost: u64,
}

impl Summary {
    pub(super) fn new(
        tally: &Tally,
        batches_retried: u64,
        spool: SpoolCounts,
        took: Duration,
        lanes_max: usize,
    ) -> Self {
        Self {
            sent: tally.read(),
            delivered: tally.delivered(),
            spooled: tally.spooled(),
            in_spool: spool.left,
            spool_delivered: spool.delivered,
            spool_lost: spool.lost,
            failed: tally.undelivered(),
            batches_retried,
            seconds: rounded(took.as_secs_f64()),
            messages_per_second: rounded(per_second(tally.delivered(), took)),
            lanes_max,
        }
    }

    /// Returns whether every message is stored by the broker or in the spool, and none of the spool is lost.
    pub(super) const fn is_success(&self) -> bool {
        self.failed == 0 && self.spool_lost == 0
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} messages delivered in {:.2} s, {} per second",
            HumanCount(self.delivered),
            HumanCount(self.sent),
            self.seconds,
            HumanCount(whole(self.messages_per_second))
        )?;
        if self.spooled > 0 || self.in_spool > 0 {
            let (spooled, left) = (HumanCount(self.spooled), HumanCount(self.in_spool));
            write!(f, ", {spooled} spooled, {left} left in the spool")?;
        }
        if self.spool_delivered > 0 {
            let delivered = HumanCount(self.spool_delivered);
            write!(f, ", {delivered} delivered from the spool")?;
        }
        if self.spool_lost > 0 {
            write!(f, ", {} of the spool lost", HumanCount(self.spool_lost))?;
        }
        if self.failed > 0 {
            write!(f, ", {} failed", HumanCount(self.failed))?;
        }
        if self.batches_retried > 0 {
            write!(f, ", {} batches resent", HumanCount(self.batches_retried))?;
        }
        if self.lanes_max > 1 {
            write!(f, ", at most {}", counted(self.lanes_max, "lane"))?;
        }
        Ok(())
    }
}
