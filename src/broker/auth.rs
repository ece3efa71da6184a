//! Sans-I/O: tokens, and what the bearer of each may do with which topics.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    str::FromStr,
};

use crate::{TopicName, conn::tls::Fingerprint, wire::Connect};

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

/// The tokens and client certificates that a broker accepts, and what each may do.
///
/// As text, each line has a token and then its permissions. Without permissions, the bearer may do everything. With
/// permissions, the bearer may do only that. A line that begins with `certificate:` and the SHA-256 fingerprint of a client
/// certificate gives these permissions to the client that shows the certificate and no token. `#` begins a comment.
///
/// ```text
/// # token      permissions
/// 8f2b1c64     produce:orders.* consume:orders.eu
/// 55ab90e1     admin:orders.*
/// 0d93aa17     # everything
/// certificate:5f1d…64 digits…09 produce:orders.*
/// ```
///
/// The names of producers and consumers do not belong to a token: bearers who may produce can take over each other's
/// producer names, and consumers of one topic each other's positions.
///
/// Of a token only its SHA-256 is kept, and a token that is shown is looked up by it: the time does not depend on the number
/// of tokens, nor on how much of one is right. `Debug` shows the number of entries, never a token.
#[derive(Clone, Default)]
pub struct Tokens {
    tokens: HashMap<[u8; 32], Permissions>,
    certificates: HashMap<Fingerprint, Permissions>,
}

impl Tokens {
    /// The longest token, in bytes.
    pub const MAX_LEN: usize = Connect::MAX_TOKEN;
    /// The most tokens and certificates together.
    pub const MAX_ENTRIES: usize = 100_000;

    /// Creates an empty set, which accepts no client.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a token.
    ///
    /// # Errors
    /// [`TokensError`] if `secret` is empty, too long, or already in the set, or the set is full.
    pub fn add(
        &mut self,
        secret: impl Into<Vec<u8>>,
        permissions: Permissions,
    ) -> Result<(), TokensError> {
        let secret = secret.into();
        if secret.is_empty() || secret.len() > Self::MAX_LEN {
            return Err(TokensError::Length(secret.len()));
        }
        self.check_room()?;
        match self.tokens.entry(digest(&secret)) {
            Entry::Occupied(_) => Err(TokensError::Twice),
            Entry::Vacant(vacant) => {
                vacant.insert(permissions);
                Ok(())
            }
        }
    }

    /// Adds a client certificate, by its fingerprint. TLS verifies that an accepted authority has signed it.
    ///
    /// # Errors
    /// [`TokensError`] if it is already in the set, or the set is full.
    pub fn add_certificate(
        &mut self,
        fingerprint: Fingerprint,
        permissions: Permissions,
    ) -> Result<(), TokensError> {
        self.check_room()?;
        match self.certificates.entry(fingerprint) {
            Entry::Occupied(_) => Err(TokensError::Twice),
            Entry::Vacant(vacant) => {
                vacant.insert(permissions);
                Ok(())
            }
        }
    }

    fn check_room(&self) -> Result<(), TokensError> {
        match self.len() < Self::MAX_ENTRIES {
            true => Ok(()),
            false => Err(TokensError::Full),
        }
    }

    /// Returns the permissions of the token `shown`, or `None` if it is not in the set.
    #[must_use]
    pub fn permissions(&self, shown: &[u8]) -> Option<&Permissions> {
        if shown.is_empty() || shown.len() > Self::MAX_LEN {
            return None;
        }
        self.tokens.get(&digest(shown))
    }

    /// Returns the permissions of a client certificate, or `None` if it is not in the set.
    #[must_use]
    pub fn certificate(&self, shown: &Fingerprint) -> Option<&Permissions> {
        self.certificates.get(shown)
    }

    /// Returns the number of tokens and certificates.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tokens.len() + self.certificates.len()
    }

    /// Returns whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Returns the SHA-256 of a token.
fn digest(token: &[u8]) -> [u8; 32] {
    *Fingerprint::of(&token.into()).as_bytes()
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
    let permissions = if any { permissions } else { Permissions::all() };
    match secret.strip_prefix("certificate:") {
        Some(fingerprint) => {
            let fingerprint = fingerprint.parse().map_err(|_| TokensError::Fingerprint)?;
            tokens.add_certificate(fingerprint, permissions)
        }
        None => tokens.add(secret, permissions),
    }
}

/// Why a token was refused. Does not contain the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokensError {
    /// The token is empty or longer than [`Tokens::MAX_LEN`].
    #[error("a token has 1 to 1024 bytes, this one has {0}")]
    Length(usize),
    /// The token or certificate is in the set already.
    #[error("it is there already")]
    Twice,
    /// The set has [`Tokens::MAX_ENTRIES`] entries.
    #[error("there are 100000 tokens and certificates already")]
    Full,
    /// What follows `certificate:` is not a fingerprint.
    #[error(
        "a certificate is written certificate:FINGERPRINT, 64 hexadecimal digits of its SHA-256"
    )]
    Fingerprint,
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
    fn a_certificate_has_the_permissions_of_its_line_and_others_have_none() {
        let hex = "ab".repeat(32);
        let text = format!("certificate:{hex} consume:bills\n");
        let tokens: Tokens = text.parse().unwrap();
        let permitted = tokens.certificate(&hex.parse().unwrap()).unwrap();
        assert!(permitted.may_consume(&topic("bills")));
        assert!(!permitted.may_produce(&topic("bills")));
        let other = "cd".repeat(32).parse().unwrap();
        assert_eq!(tokens.certificate(&other), None);
        assert_eq!(
            tokens.permissions(format!("certificate:{hex}").as_bytes()),
            None
        );
        let wrong = "certificate:abc".parse::<Tokens>().unwrap_err();
        assert_eq!(wrong.0, [(1, TokensError::Fingerprint)]);
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
        fn only_the_token_itself_is_the_same(a in ".{1,6}", b in ".{0,6}") {
            let mut tokens = Tokens::new();
            tokens.add(a.as_str(), Permissions::all()).unwrap();
            prop_assert_eq!(tokens.permissions(b.as_bytes()).is_some(), a == b);
        }
    }
}
