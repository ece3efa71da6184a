//! Sans-I/O: what is wrong with options, all of it at once.

use std::fmt;

/// One wrong field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The path to the field from the options that were checked, such as `pool.max` or `connection.connect_timeout`.
    pub field: String,
    /// The value of the field.
    pub value: String,
    /// The rule that the value breaks.
    pub rule: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}: {}", self.field, self.value, self.rule)
    }
}

/// Options that cannot be used: every wrong field with its value and the rule it breaks, in one line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

impl ConfigError {
    /// Returns every wrong field, in the order of the fields; at least one.
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
pub(crate) struct Problems {
    found: Vec<Problem>,
    /// The path to the part that is being checked, with a dot at its end.
    path: String,
}

impl Problems {
    /// Notes that `field` is wrong unless `holds`.
    pub(crate) fn expect(
        &mut self,
        holds: bool,
        field: &str,
        value: &dyn fmt::Debug,
        rule: impl Into<String>,
    ) {
        if !holds {
            self.found.push(Problem {
                field: format!("{}{field}", self.path),
                value: format!("{value:?}"),
                rule: rule.into(),
            });
        }
    }

    /// Checks a part of the options, whose fields have `name.` before their own names.
    pub(crate) fn nested(&mut self, name: &str, check: impl FnOnce(&mut Self)) {
        let len = self.path.len();
        self.path.push_str(name);
        self.path.push('.');
        check(self);
        self.path.truncate(len);
    }

    /// Adds what is wrong with a part that was checked on its own and knows its path.
    #[cfg(feature = "producer")]
    pub(crate) fn extend(&mut self, part: Result<(), ConfigError>) {
        if let Err(error) = part {
            self.found.extend(error.problems);
        }
    }

    /// Returns all problems as an error, if there are any.
    pub(crate) fn into_result(self) -> Result<(), ConfigError> {
        match self.found.is_empty() {
            true => Ok(()),
            false => Err(ConfigError {
                problems: self.found,
            }),
        }
    }
}

/// Checks fields of `$config`: each line has a field, its range or a condition, and the rule in words.
macro_rules! rules {
    ($problems:expr, $config:expr;) => {};
    ($problems:expr, $config:expr; $field:ident in $range:expr => $rule:expr; $($rest:tt)*) => {
        let holds = ($range).contains(&$config.$field);
        $problems.expect(holds, stringify!($field), &$config.$field, $rule);
        $crate::config::rules!($problems, $config; $($rest)*);
    };
    ($problems:expr, $config:expr; $field:ident where $holds:expr => $rule:expr; $($rest:tt)*) => {
        $problems.expect($holds, stringify!($field), &$config.$field, $rule);
        $crate::config::rules!($problems, $config; $($rest)*);
    };
}
pub(crate) use rules;

#[cfg(test)]
mod tests {
    use super::*;

    struct Options {
        size: u32,
        name: &'static str,
    }

    impl Options {
        fn problems(&self, problems: &mut Problems) {
            rules!(problems, self;
                size in 1..=8 => "must be 1 to 8";
                name where !self.name.is_empty() => "must not be empty";
            );
        }
    }

    #[test]
    fn every_broken_rule_is_told_with_the_path_the_value_and_the_rule() {
        let mut problems = Problems::default();
        let wrong = Options { size: 9, name: "" };
        wrong.problems(&mut problems);
        problems.nested("outer", |problems| {
            problems.nested("inner", |problems| wrong.problems(problems));
        });
        let text = problems.into_result().unwrap_err().to_string();
        assert_eq!(
            text,
            "size = 9: must be 1 to 8; name = \"\": must not be empty; \
             outer.inner.size = 9: must be 1 to 8; outer.inner.name = \"\": must not be empty"
        );
        let mut problems = Problems::default();
        Options { size: 8, name: "a" }.problems(&mut problems);
        problems.into_result().unwrap();
    }
}
