//! Pure: what is wrong with options, all of it at once.

use std::fmt;

/// One wrong field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which field, with the path to it: `pool.max`.
    pub field: &'static str,
    /// What it is set to.
    pub value: String,
    /// What it has to be.
    pub rule: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}: {}", self.field, self.value, self.rule)
    }
}

/// Options that cannot be used: every wrong field with its value and the rule it breaks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

impl ConfigError {
    /// Every wrong field, in the order of the fields; at least one.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Collects problems.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<Problem>);

impl Problems {
    /// Notes that `field` is wrong unless `holds`.
    pub(crate) fn expect(
        &mut self,
        holds: bool,
        field: &'static str,
        value: &dyn fmt::Debug,
        rule: impl Into<String>,
    ) {
        if !holds {
            self.0.push(Problem {
                field,
                value: format!("{value:?}"),
                rule: rule.into(),
            });
        }
    }

    /// Takes over what is wrong with a part.
    #[cfg(feature = "producer")]
    pub(crate) fn part(&mut self, part: Result<(), ConfigError>) {
        if let Err(error) = part {
            self.0.extend(error.problems);
        }
    }

    /// Fine, or all problems.
    pub(crate) fn into_result(self) -> Result<(), ConfigError> {
        match self.0.is_empty() {
            true => Ok(()),
            false => Err(ConfigError { problems: self.0 }),
        }
    }
}
