//! Sans-I/O: the summary of a soak.

use std::{fmt, time::Duration};

use indicatif::{HumanBytes, HumanCount, HumanDuration};
use serde::Serialize;

use super::{
    growth::{Growth, Trend},
    ledger::Counts,
};
use anabranch_cli::stats::rounded;

/// Duration, counts, and figures of memory, handles, tasks and disk.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    seconds: f64,
    /// Number of restarts of the broker.
    reconnects: u64,
    #[serde(flatten)]
    counts: Counts,
    #[serde(flatten)]
    growth: Growth,
    /// Whether nothing grew, and no message was lost, duplicated, out of order or without an outcome.
    sound: bool,
}

impl Summary {
    pub(super) fn new(ran: Duration, reconnects: u64, counts: Counts, growth: &Growth) -> Self {
        let Counts {
            lost,
            duplicated,
            out_of_order,
            without_outcome,
            skipped,
            ..
        } = counts;
        let wrong = lost + duplicated + out_of_order + without_outcome + skipped;
        Self {
            seconds: rounded(ran.as_secs_f64()),
            reconnects,
            sound: wrong == 0 && !growth.any(),
            counts,
            growth: *growth,
        }
    }

    pub(super) const fn is_sound(&self) -> bool {
        self.sound
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ran = HumanDuration(Duration::from_secs_f64(self.seconds));
        writeln!(f, "{ran}, {} reconnects", self.reconnects)?;
        let counts = &self.counts;
        let rows = [
            ("sent", counts.sent),
            ("acknowledged", counts.acknowledged),
            ("failed, not stored", counts.not_stored),
            ("failed, fate unknown", counts.unknown),
            ("read", counts.read),
            ("redelivered to a later consumer", counts.redelivered),
            ("lost", counts.lost),
            ("duplicated", counts.duplicated),
            ("out of order", counts.out_of_order),
            ("without an outcome", counts.without_outcome),
            ("missing when read", counts.skipped),
        ];
        for (what, count) in rows {
            writeln!(f, "{what:<32}{:>16}", HumanCount(count).to_string())?;
        }
        writeln!(
            f,
            "{:<12}{:>14}{:>14}{:>14}",
            "", "start", "first half", "second half"
        )?;
        for (what, trend) in self.growth.trends() {
            match trend {
                Some(trend) => line(f, what, trend)?,
                None => writeln!(f, "{what:<12}{:>14}", "unknown")?,
            }
        }
        f.write_str(match self.sound {
            true => "sound: nothing grew, no message was lost or duplicated",
            false => "NOT SOUND",
        })
    }
}

fn line(f: &mut fmt::Formatter<'_>, what: &str, trend: Trend) -> fmt::Result {
    let show = |figure: u64| match what {
        "memory" | "disk" => HumanBytes(figure).to_string(),
        _ => figure.to_string(),
    };
    writeln!(
        f,
        "{what:<12}{:>14}{:>14}{:>14}{}",
        show(trend.start),
        show(trend.first_half),
        show(trend.second_half),
        if trend.grew { "  grew" } else { "" }
    )
}
