//! Pure: how the soak went.

use std::{fmt, time::Duration};

use indicatif::{HumanBytes, HumanCount, HumanDuration};
use serde::Serialize;

use super::{
    growth::{Course, Growth},
    ledger::Counts,
};
use crate::output::rounded;

/// How long it went, what was counted, and what the figures did.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    seconds: f64,
    /// How often the broker was ended and started again.
    reconnects: u64,
    #[serde(flatten)]
    counts: Counts,
    #[serde(flatten)]
    growth: Growth,
    /// Whether nothing grew and nothing was lost, came twice, out of order or without an outcome.
    sound: bool,
}

impl Summary {
    pub(super) fn new(ran: Duration, reconnects: u64, counts: Counts, growth: &Growth) -> Self {
        let Counts {
            lost,
            duplicated,
            disordered,
            without_outcome,
            skipped,
            ..
        } = counts;
        let wrong = lost + duplicated + disordered + without_outcome + skipped;
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
            ("not stored, and said so", counts.not_stored),
            ("fate unknown", counts.unknown),
            ("read", counts.read),
            ("read again by another consumer", counts.redelivered),
            ("lost", counts.lost),
            ("duplicated", counts.duplicated),
            ("out of order", counts.disordered),
            ("without an outcome", counts.without_outcome),
            ("left out for the reader", counts.skipped),
        ];
        for (what, count) in rows {
            writeln!(f, "{what:<32}{:>16}", HumanCount(count).to_string())?;
        }
        writeln!(
            f,
            "{:<12}{:>14}{:>14}{:>14}",
            "", "start", "first half", "second half"
        )?;
        for (what, course) in self.growth.courses() {
            match course {
                Some(course) => line(f, what, course)?,
                None => writeln!(f, "{what:<12}{:>14}", "not told")?,
            }
        }
        f.write_str(match self.sound {
            true => "sound: nothing grew, nothing was lost, nothing came twice",
            false => "NOT SOUND",
        })
    }
}

fn line(f: &mut fmt::Formatter<'_>, what: &str, course: Course) -> fmt::Result {
    let show = |figure: u64| match what {
        "memory" | "disk" => HumanBytes(figure).to_string(),
        _ => figure.to_string(),
    };
    writeln!(
        f,
        "{what:<12}{:>14}{:>14}{:>14}{}",
        show(course.start),
        show(course.first_half),
        show(course.second_half),
        if course.grew { "  grew" } else { "" }
    )
}
