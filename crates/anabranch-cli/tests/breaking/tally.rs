//! Sans-I/O: counts of events and violations, and their table.

use std::{collections::BTreeMap, fmt};

use crate::history::Violation;

/// The sections of the table, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Operations,
    Outcomes,
    Faults,
    Kills,
    Packets,
}

impl Part {
    const fn title(self) -> &'static str {
        match self {
            Self::Operations => "operations",
            Self::Outcomes => "outcomes",
            Self::Faults => "faults",
            Self::Kills => "kills",
            Self::Packets => "packets",
        }
    }
}

/// Counts of events by section and kind, and counts of violations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    counts: BTreeMap<(Part, &'static str), u64>,
    pub runs: u64,
    pub losses: u64,
    pub duplicates: u64,
    /// All violations, including losses and duplicates.
    pub violations: u64,
}

impl Tally {
    pub fn add(&mut self, part: Part, kind: &'static str, count: u64) {
        *self.counts.entry((part, kind)).or_default() += count;
    }

    pub fn count(&mut self, part: Part, kind: &'static str) {
        self.add(part, kind, 1);
    }

    pub fn get(&self, part: Part, kind: &'static str) -> u64 {
        self.counts.get(&(part, kind)).copied().unwrap_or(0)
    }

    pub fn add_violations(&mut self, violations: &[Violation]) {
        let count = |what: fn(&Violation) -> bool| violations.iter().filter(|v| what(v)).count();
        self.losses += count(Violation::is_loss) as u64;
        self.duplicates += count(Violation::is_duplicate) as u64;
        self.violations += violations.len() as u64;
    }

    /// Returns the tally of a run that panicked.
    pub fn broken() -> Self {
        Self {
            runs: 1,
            violations: 1,
            ..Self::default()
        }
    }

    pub fn merge(&mut self, other: &Self) {
        for (&(part, kind), &count) in &other.counts {
            self.add(part, kind, count);
        }
        self.runs += other.runs;
        self.losses += other.losses;
        self.duplicates += other.duplicates;
        self.violations += other.violations;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = None;
        for (&(part, kind), &count) in &self.counts {
            let title = if last == Some(part) { "" } else { part.title() };
            last = Some(part);
            writeln!(f, "  {title:<12}{kind:<44}{count:>12}")?;
        }
        let found = [
            ("losses", self.losses),
            ("duplicates", self.duplicates),
            ("all violations", self.violations),
        ];
        for (i, (kind, count)) in found.into_iter().enumerate() {
            let title = if i == 0 { "found" } else { "" };
            writeln!(f, "  {title:<12}{kind:<44}{count:>12}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_add_up_and_print_each_part_once() {
        let (mut one, mut two) = (Tally::default(), Tally::default());
        one.count(Part::Faults, "cut");
        two.add(Part::Faults, "cut", 2);
        two.count(Part::Operations, "send");
        one.merge(&two);
        assert_eq!(one.get(Part::Faults, "cut"), 3);
        let printed = one.to_string();
        assert_eq!(printed.matches("faults").count(), 1);
        assert!(printed.find("send") < printed.find("cut"));
    }
}
