//! Sans-I/O: figures, and their goals.

use std::fmt;

/// How long the trials of a case run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// As long as the goals require: minutes of virtual time.
    Full,
    /// Just long enough for the goals, for tests.
    Short,
}

/// The goal of a figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// At most this value.
    AtMost(f64),
    /// At least this value.
    AtLeast(f64),
    /// No goal: the figure is for information.
    None,
}

/// A figure of a case.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Figure {
    /// Name of the figure.
    pub name: &'static str,
    /// Value of the figure. Infinite for the time of an event that never happened.
    pub value: f64,
    /// Goal of the figure.
    pub goal: Goal,
}

impl Figure {
    pub(super) fn new(name: &'static str, value: f64, goal: Goal) -> Self {
        Self { name, value, goal }
    }

    /// Returns whether the figure reaches its goal.
    #[must_use]
    pub fn holds(&self) -> bool {
        match self.goal {
            Goal::AtMost(most) => self.value <= most,
            Goal::AtLeast(least) => self.value >= least,
            Goal::None => true,
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value {
            value if value.is_infinite() => f.write_str("never"),
            value if value >= 100.0 => write!(f, "{value:.0}"),
            value if value >= 10.0 => write!(f, "{value:.1}"),
            value => write!(f, "{value:.3}"),
        }
    }
}
