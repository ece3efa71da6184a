//! The secret that authenticates a client, and where it is read.

use std::{fmt, fs, io, path::PathBuf, sync::Arc};

use bytes::Bytes;

/// The most bytes of a token.
pub(super) const MAX_TOKEN: usize = 65_535;

/// A secret that authenticates the client to the broker. `Debug` does not print it.
///
/// ```
/// # use anabranch::conn::Token;
/// let fixed = Token::from("s3cret");
/// let renewed = Token::file("/run/secrets/broker-token"); // read before each attempt to connect
/// let made = Token::from_fn(|| Ok(format!("token of {}", std::process::id()).into()));
/// ```
#[derive(Clone, Default)]
pub struct Token(Source);

#[derive(Clone)]
enum Source {
    Fixed(Bytes),
    File(PathBuf),
    Call(Arc<Secret>),
}

/// A function that returns the secret.
type Secret = dyn Fn() -> io::Result<Bytes> + Send + Sync;

impl Default for Source {
    fn default() -> Self {
        Self::Fixed(Bytes::new())
    }
}

impl Token {
    /// Reads the token from a file before each attempt to connect, without line breaks at its end. So a token that is
    /// renewed in the file is used without a restart.
    #[must_use]
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Source::File(path.into()))
    }

    /// Asks `secret` for the token before each attempt to connect. It is called on a thread of the runtime, so it must not
    /// wait.
    #[must_use]
    pub fn from_fn(secret: impl Fn() -> io::Result<Bytes> + Send + Sync + 'static) -> Self {
        Self(Source::Call(Arc::new(secret)))
    }

    /// Returns the length of a token that is not read anew; 0 for any other.
    pub(super) fn fixed_len(&self) -> usize {
        match &self.0 {
            Source::Fixed(secret) => secret.len(),
            Source::File(_) | Source::Call(_) => 0,
        }
    }

    /// Reads the secret.
    ///
    /// # Errors
    ///
    /// The file cannot be read, the function failed, or the secret has more than 65,535 bytes.
    pub(crate) fn read(&self) -> io::Result<Bytes> {
        let secret = match &self.0 {
            Source::Fixed(secret) => secret.clone(),
            Source::File(path) => {
                let mut text = fs::read(path)?;
                while text
                    .last()
                    .is_some_and(|byte| matches!(byte, b'\n' | b'\r'))
                {
                    text.pop();
                }
                text.into()
            }
            Source::Call(secret) => secret()?,
        };
        match secret.len() <= MAX_TOKEN {
            true => Ok(secret),
            false => Err(io::Error::other(format!(
                "it has {} bytes, more than {MAX_TOKEN}",
                secret.len()
            ))),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Fixed(secret) if secret.is_empty() => f.write_str("Token(none)"),
            Source::File(path) => f.debug_tuple("Token").field(path).finish(),
            Source::Fixed(_) | Source::Call(_) => f.write_str("Token(..)"),
        }
    }
}

impl<T: Into<Bytes>> From<T> for Token {
    fn from(secret: T) -> Self {
        Self(Source::Fixed(secret.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_in_a_file_is_read_anew_and_without_the_line_break_at_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let token = Token::file(&path);
        assert_eq!(token.read().unwrap_err().kind(), io::ErrorKind::NotFound);
        for (text, secret) in [("one\n", "one"), ("two\r\n", "two"), ("th ree", "th ree")] {
            fs::write(&path, text).unwrap();
            assert_eq!(token.read().unwrap(), secret);
        }
        fs::write(&path, vec![b'x'; MAX_TOKEN + 1]).unwrap();
        assert!(token.read().is_err());
    }

    #[test]
    fn a_token_never_shows() {
        let tokens = [
            Token::from("s3cret"),
            Token::from_fn(|| Ok("s3cret".into())),
        ];
        for token in tokens {
            assert_eq!(token.read().unwrap(), "s3cret");
            assert_eq!(format!("{token:?}"), "Token(..)");
        }
        assert_eq!(format!("{:?}", Token::default()), "Token(none)");
    }
}
