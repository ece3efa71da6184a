//! Sans-I/O: tokens, and what the bearer of each may do with which topics.

use std::{fmt, hint::black_box, str::FromStr};

use crate::TopicName;

/// A pattern of topic names, in which each `*` matches any number of characters, including none.
///
/// `orders.*` matches `orders.eu` and `orders.eu.west`, not `orders`; `*` matches every topic.
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Returns whether the pattern matches `topic`.
    #[must_use]
    pub fn matches(&self, topic: &TopicName) -> bool {
        glob(self.0.as_bytes(), topic.as_str().as_bytes())
    }
}

/// Matches with backtracking to the last star only, so in at most pattern length x text length steps.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut mark: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                mark = Some((p, t));
                p += 1;
            }
            Some(&c) if c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match mark {
                Some((star, taken)) => {
                    mark = Some((star, taken + 1));
                    p = star + 1;
                    t = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '*');
        match text.chars().find(|&c| !allowed(c)) {
            _ if text.is_empty() || text.len() > TopicName::MAX_LEN => {
                Err(PatternError::Length(text.len()))
            }
            Some(c) => Err(PatternError::Character(c)),
            None => Ok(Self(text.to_owned())),
        }
    }
}

/// Why a text is not a [`Pattern`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// The text is empty or longer than a topic name may be.
    #[error("a pattern has 1 to 200 bytes, this one has {0}")]
    Length(usize),
    /// The text has a character that no topic name has.
    #[error("a pattern is made of letters, digits, '.', '_', '-' and '*', not {0:?}")]
    Character(char),
}

/// The topics that a client may use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Permissions {
    /// The topics that the client may produce to.
    pub produce: Vec<Pattern>,
    /// The topics that the client may consume.
    pub consume: Vec<Pattern>,
    /// The topics that the client may create, change, empty and delete.
    pub admin: Vec<Pattern>,
}

impl Permissions {
    /// Returns the permissions for all topics.
    #[must_use]
    pub fn all() -> Self {
        let every = || vec![Pattern("*".to_owned())];
        Self {
            produce: every(),
            consume: every(),
            admin: every(),
        }
    }

    /// Returns whether the client may produce to `topic`.
    #[must_use]
    pub fn may_produce(&self, topic: &TopicName) -> bool {
        self.produce.iter().any(|p| p.matches(topic))
    }

    /// Returns whether the client may consume `topic`.
    #[must_use]
    pub fn may_consume(&self, topic: &TopicName) -> bool {
        self.consume.iter().any(|p| p.matches(topic))
    }

    /// Returns whether the client may create, change, empty and delete `topic`.
    #[must_use]
    pub fn may_administer(&self, topic: &TopicName) -> bool {
        self.admin.iter().any(|p| p.matches(topic))
    }

    /// Returns whether the client sees `topic` in lists: if it may produce to it, consume it or administer it.
    #[must_use]
    pub fn may_see(&self, topic: &TopicName) -> bool {
        self.may_produce(topic) || self.may_consume(topic) || self.may_administer(topic)
    }
}

/// A token and the permissions of its bearer.
#[derive(Clone)]
struct Entry {
    secret: Vec<u8>,
    permissions: Permissions,
}

/// The tokens that a broker accepts.
///
/// As text, each line has a token and then its permissions. Without permissions, the bearer may do everything. With
/// permissions, the bearer may do only that. `#` begins a comment.
///
/// ```text
/// # token      permissions
/// 8f2b1c64     produce:orders.* consume:orders.eu
/// 55ab90e1     admin:orders.*
/// 0d93aa17     # everything
/// ```
///
/// The names of producers and consumers do not belong to a token: bearers who may produce can take over each other's
/// producer names, and consumers of one topic each other's positions.
///
/// `Debug` shows the number of tokens, never a token.
#[derive(Clone, Default)]
pub struct Tokens(Vec<Entry>);

impl Tokens {
    /// The longest token, in bytes.
    pub const MAX_LEN: usize = 1024;

    /// Creates an empty set, which accepts no token.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a token.
    ///
    /// # Errors
    /// [`TokensError`] if `secret` is empty, too long, or already in the set.
    pub fn add(
        &mut self,
        secret: impl Into<Vec<u8>>,
        permissions: Permissions,
    ) -> Result<(), TokensError> {
        let secret = secret.into();
        if secret.is_empty() || secret.len() > Self::MAX_LEN {
            return Err(TokensError::Length(secret.len()));
        }
        if self.permissions(&secret).is_some() {
            return Err(TokensError::Twice);
        }
        self.0.push(Entry {
            secret,
            permissions,
        });
        Ok(())
    }

    /// Returns the permissions of the token `shown`, or `None` if it is not in the set.
    ///
    /// The time depends only on the length of `shown` and the number of tokens, not on which token matches or how much of
    /// one is right.
    #[must_use]
    pub fn permissions(&self, shown: &[u8]) -> Option<&Permissions> {
        let mut found = None;
        for entry in &self.0 {
            if same(shown, &entry.secret) {
                found = Some(&entry.permissions);
            }
        }
        found
    }

    /// Returns the number of tokens.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Compares all bytes of `shown`, even after a difference.
fn same(shown: &[u8], secret: &[u8]) -> bool {
    let mut differs = u8::from(shown.len() != secret.len());
    for (i, byte) in shown.iter().enumerate() {
        differs |= byte ^ secret.get(i).copied().unwrap_or_default();
        differs = black_box(differs);
    }
    differs == 0
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({})", self.len())
    }
}

impl FromStr for Tokens {
    type Err = TokenFileError;

    fn from_str(text: &str) -> Result<Self, TokenFileError> {
        let mut tokens = Self::new();
        let mut wrong = Vec::new();
        for (n, line) in text.lines().enumerate() {
            if let Err(error) = add_line(&mut tokens, line) {
                wrong.push((n + 1, error));
            }
        }
        if wrong.is_empty() {
            Ok(tokens)
        } else {
            Err(TokenFileError(wrong))
        }
    }
}

fn add_line(tokens: &mut Tokens, line: &str) -> Result<(), TokensError> {
    let line = line.split('#').next().unwrap_or_default();
    let mut words = line.split_whitespace();
    let Some(secret) = words.next() else {
        return Ok(());
    };
    let mut permissions = Permissions::default();
    let mut any = false;
    for word in words {
        let (list, pattern) = match word.split_once(':') {
            Some(("produce", pattern)) => (&mut permissions.produce, pattern),
            Some(("consume", pattern)) => (&mut permissions.consume, pattern),
            Some(("admin", pattern)) => (&mut permissions.admin, pattern),
            _ => return Err(TokensError::Permission),
        };
        list.push(pattern.parse()?);
        any = true;
    }
    tokens.add(secret, if any { permissions } else { Permissions::all() })
}

/// Why a token was refused. Does not contain the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokensError {
    /// The token is empty or longer than [`Tokens::MAX_LEN`].
    #[error("a token has 1 to 1024 bytes, this one has {0}")]
    Length(usize),
    /// The token is in the set already.
    #[error("the token is there already")]
    Twice,
    /// A word after the token is not a permission.
    #[error("a permission is written produce:PATTERN, consume:PATTERN or admin:PATTERN")]
    Permission,
    /// The pattern of a permission is wrong.
    #[error(transparent)]
    Pattern(#[from] PatternError),
}

/// The wrong lines of a token file, with their numbers from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFileError(pub Vec<(usize, TokensError)>);

impl fmt::Display for TokenFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (line, error)) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            write!(f, "line {line}: {error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for TokenFileError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn topic(name: &str) -> TopicName {
        TopicName::new(name).unwrap()
    }

    fn matches(pattern: &str, name: &str) -> bool {
        pattern.parse::<Pattern>().unwrap().matches(&topic(name))
    }

    #[test]
    fn a_star_stands_for_any_run_of_characters() {
        assert!(matches("*", "orders.eu"));
        assert!(matches("orders.*", "orders.eu.west"));
        assert!(!matches("orders.*", "orders"));
        assert!(matches("*.eu", "orders.eu"));
        assert!(matches("a*b*c", "a-b-b-c"));
        assert!(!matches("a*b*c", "a-c-b"));
        assert!(!matches("orders", "orders2"));
    }

    #[test]
    fn a_token_file_gives_each_token_what_its_line_says() {
        let tokens: Tokens = "\
            # comment\n\
            \n\
            alpha produce:orders.* consume:orders.eu # trailing\n\
            beta\n\
            gamma consume:*\n"
            .parse()
            .unwrap();
        assert_eq!(tokens.len(), 3);
        let alpha = tokens.permissions(b"alpha").unwrap();
        assert!(alpha.may_produce(&topic("orders.us")));
        assert!(!alpha.may_consume(&topic("orders.us")));
        assert!(alpha.may_consume(&topic("orders.eu")));
        assert!(!alpha.may_see(&topic("bills")));
        assert_eq!(tokens.permissions(b"beta"), Some(&Permissions::all()));
        assert!(
            !tokens
                .permissions(b"gamma")
                .unwrap()
                .may_produce(&topic("x"))
        );
        for wrong in ["", "alph", "alphaa", "Alpha"] {
            assert_eq!(tokens.permissions(wrong.as_bytes()), None, "{wrong:?}");
        }
    }

    #[test]
    fn every_wrong_line_of_a_token_file_is_named_and_no_token_is_shown() {
        let text = "sesame\nsesame\nopen produce=x\nshut consume:a/b\n";
        let error = text.parse::<Tokens>().unwrap_err();
        let lines: Vec<usize> = error.0.iter().map(|(n, _)| *n).collect();
        assert_eq!(lines, [2, 3, 4]);
        for secret in ["sesame", "open", "shut"] {
            assert!(!error.to_string().contains(secret));
            assert!(!format!("{error:?}").contains(secret));
        }
    }

    #[test]
    fn debug_never_shows_a_token() {
        let mut tokens = Tokens::new();
        tokens.add("sesame", Permissions::all()).unwrap();
        assert_eq!(format!("{tokens:?}"), "Tokens(1)");
    }

    proptest! {
        #[test]
        fn a_pattern_matches_as_its_definition_says(
            pattern in "[ab*]{1,8}",
            text in "[ab]{1,8}",
        ) {
            fn defined(p: &[u8], t: &[u8]) -> bool {
                match p.split_first() {
                    None => t.is_empty(),
                    Some((b'*', rest)) => (0..=t.len()).any(|n| defined(rest, &t[n..])),
                    Some((c, rest)) => t.split_first().is_some_and(|(d, t)| c == d && defined(rest, t)),
                }
            }
            prop_assert_eq!(
                matches(&pattern, &text),
                defined(pattern.as_bytes(), text.as_bytes())
            );
        }

        #[test]
        fn only_the_token_itself_is_the_same(a in ".{0,6}", b in ".{0,6}") {
            prop_assert_eq!(same(a.as_bytes(), b.as_bytes()), a == b);
        }
    }
}
