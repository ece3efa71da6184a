//! Sans-I/O: topic names and their rules.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

/// The name of a topic: 1 to 200 ASCII letters, digits, `.`, `_` or `-`, not beginning with `.` or `-`.
///
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

impl TopicName {
    /// The longest name, in bytes.
    pub const MAX_LEN: usize = 200;

    /// Checks `name` against the rules.
    ///
    /// # Errors
    /// [`TopicNameError`] names the rule that does not hold.
    pub fn new(name: &str) -> Result<Self, TopicNameError> {
        check(name)?;
        Ok(Self(Arc::from(name)))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check(name: &str) -> Result<(), TopicNameError> {
    let first = *name.as_bytes().first().ok_or(TopicNameError::Empty)?;
    if name.len() > TopicName::MAX_LEN {
        return Err(TopicNameError::TooLong(name.len()));
    }
    if let Some(c) = name
        .chars()
        .find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')))
    {
        return Err(TopicNameError::Character(c));
    }
    if matches!(first, b'.' | b'-') {
        return Err(TopicNameError::Start(char::from(first)));
    }
    Ok(())
}

/// Why a text is not a topic name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopicNameError {
    /// It has no characters.
    #[error("a topic name must not be empty")]
    Empty,
    /// It has more bytes than [`TopicName::MAX_LEN`].
    #[error("a topic name has at most 200 bytes, this one has {0}")]
    TooLong(usize),
    /// It has a character that is not allowed.
    #[error("a topic name is made of letters, digits, '.', '_' and '-', not {0:?}")]
    Character(char),
    /// It begins with a character that may only come later.
    #[error("a topic name must not begin with {0:?}")]
    Start(char),
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl FromStr for TopicName {
    type Err = TopicNameError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::new(name)
    }
}

impl Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_of_a_topic_name_is_named_when_it_is_broken() {
        assert_eq!(TopicName::new(""), Err(TopicNameError::Empty));
        assert_eq!(
            TopicName::new(&"x".repeat(201)),
            Err(TopicNameError::TooLong(201))
        );
        assert_eq!(TopicName::new("a b"), Err(TopicNameError::Character(' ')));
        assert_eq!(TopicName::new("ä"), Err(TopicNameError::Character('ä')));
        assert_eq!(TopicName::new(".a"), Err(TopicNameError::Start('.')));
        assert_eq!(TopicName::new("-a"), Err(TopicNameError::Start('-')));
    }

    #[test]
    fn ordinary_names_are_topic_names() {
        for name in ["a", "orders.eu-1", "_x", "0", &"x".repeat(200)] {
            assert_eq!(TopicName::new(name).unwrap().as_str(), name);
        }
    }
}
