//! Pure: what is wrong with options, all of it at once.

use std::fmt;

/// One wrong field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which field, with the path to it: `settings.send_window`.
    pub field: &'static str,
    /// What it is set to.
    pub value: String,
    /// What it has to be.
    pub rule: &'static str,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}: {}", self.field, self.value, self.rule)
    }
}

/// Options that cannot be used: every wrong field, in the order of the fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

impl ConfigError {
    /// Every wrong field; at least one.
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
        rule: &'static str,
    ) {
        if !holds {
            self.0.push(Problem {
                field,
                value: format!("{value:?}"),
                rule,
            });
        }
    }

    /// Everything that was noted, if anything was.
    pub(crate) fn into_result(self) -> Result<(), ConfigError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(ConfigError { problems: self.0 })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_told_with_field_value_and_rule() {
        let mut problems = Problems::default();
        problems.expect(true, "a", &1, "is fine");
        problems.expect(false, "b", &2, "must be 3");
        problems.expect(false, "c", &"x", "must be y");
        let error = problems.into_result().unwrap_err();
        assert_eq!(error.to_string(), r#"b = 2: must be 3; c = "x": must be y"#);
        assert_eq!(error.problems().len(), 2);
        assert_eq!(Problems::default().into_result(), Ok(()));
    }
}
