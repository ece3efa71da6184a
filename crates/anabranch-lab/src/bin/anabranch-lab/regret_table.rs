//! Sans-I/O: a table in Markdown of many comparisons: adaptive against the best static number of lanes in hindsight.

use std::fmt::Write as _;

use anabranch_lab::{Comparison, Outcome};

/// Largest regret without a mark.
const CLOSE: f64 = 0.10;
/// Regret above which a row has two marks.
const FAR: f64 = 0.25;

const HEAD: &str = "\
| scenario | best | lanes, mean | max | p50 | p90 | p99 | Mbit/s | worst | |
|---|---|---|---|---|---|---|---|---|---|
";

/// A row: one scenario.
struct Row<'a> {
    name: &'a str,
    adaptive: &'a Outcome,
    best: &'a Outcome,
    /// Smallest number of lanes that is the best.
    fewest: usize,
    /// Largest number of lanes that is equally good.
    most: usize,
    worst: f64,
}

impl<'a> Row<'a> {
    fn of(comparison: &'a Comparison) -> Option<Self> {
        let adaptive = comparison.of("adaptive")?;
        let best = &comparison.outcomes[comparison.best_static?];
        let widest = &comparison.outcomes[comparison.best_static_widest?];
        Some(Self {
            name: &comparison.scenario.name,
            adaptive,
            best,
            fewest: best.strategy.lanes()?,
            most: widest.strategy.lanes()?,
            worst: adaptive.regret?.worst(),
        })
    }

    /// Returns whether adaptive had at some time more than twice `lanes` plus one.
    fn exceeds(&self, lanes: usize) -> bool {
        self.adaptive.lanes.max > 2 * lanes + 1
    }

    fn write(&self, text: &mut String) {
        let (mine, its) = (&self.adaptive.delivery_ms, &self.best.delivery_ms);
        let best = match self.fewest == self.most {
            true => self.fewest.to_string(),
            false => format!("{} to {}", self.fewest, self.most),
        };
        let mark = match self.worst {
            worst if worst > FAR => "!!",
            worst if worst > CLOSE => "!",
            _ => "",
        };
        let many = if self.exceeds(self.most) { " *" } else { "" };
        let _ = writeln!(
            text,
            "| {} | {best} | {:.1} | {}{many} | {} | {} | {} | {:.1} / {:.1} | {:+.0} % | {mark} |",
            self.name,
            self.adaptive.lanes.mean,
            self.adaptive.lanes.max,
            pair(mine.p50, its.p50),
            pair(mine.p90, its.p90),
            pair(mine.p99, its.p99),
            self.adaptive.throughput_mbit,
            self.best.throughput_mbit,
            self.worst.max(0.0) * 100.0,
        );
    }
}

fn pair(mine: f64, its: f64) -> String {
    let figure = |ms: f64| match ms {
        ms if ms < 1000.0 => format!("{ms:.1}"),
        ms => format!("{ms:.0}"),
    };
    format!("{} / {}", figure(mine), figure(its))
}

/// Returns a row per scenario, and a summary.
pub(crate) fn table(comparisons: &[Comparison]) -> String {
    let rows: Vec<_> = comparisons.iter().filter_map(Row::of).collect();
    let mut text = HEAD.to_owned();
    for row in &rows {
        row.write(&mut text);
    }
    let count = |is: &dyn Fn(&Row<'_>) -> bool| rows.iter().filter(|row| is(row)).count();
    let _ = write!(
        text,
        "\nEach pair is adaptive / best static. In {} of {} scenarios, adaptive is within 10 % of the best static number of lanes \
         in hindsight, in p50, p90, p99 and throughput (otherwise !); in {} it is worse by more than 25 % (!!). In {} scenarios \
         it had at some time more than twice the lanes of the best plus one (*), counted against the largest number that is \
         equally good (within 2 %); against the smallest such number, in {}.",
        count(&|row| row.worst <= CLOSE),
        rows.len(),
        count(&|row| row.worst > FAR),
        count(&|row| row.exceeds(row.most)),
        count(&|row| row.exceeds(row.fewest)),
    );
    text
}
