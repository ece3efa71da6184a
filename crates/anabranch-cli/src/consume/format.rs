//! Sans-I/O: how a message is printed.

use std::str::FromStr;

use anabranch::{TopicName, consumer::Received};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::json;
use crate::terminal;

/// The verbs of a text format, for errors and help.
const VERBS: &str = "%t %o %k %K %v %V %h %H %T %D %n %%";

/// The output format of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Format {
    /// The payload as it is, and a newline.
    Raw,
    /// A JSON object, and a newline.
    Json,
    /// These parts, one after the other.
    Parts(Vec<Part>),
}

/// A part of a text format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Text(Vec<u8>),
    Topic,
    Offset,
    Key,
    KeyLength,
    Payload,
    PayloadLength,
    Headers,
    HeaderCount,
    Time,
    Date,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "raw" => Ok(Self::Raw),
            "json" => Ok(Self::Json),
            text if text.contains('%') => parts(text).map(Self::Parts),
            _ => Err(format!(
                "must be raw, json or a text with verbs, such as '%o %k %v%n'; the verbs are {VERBS}"
            )),
        }
    }
}

/// Reads a text with verbs and escapes.
fn parts(text: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut literal = Vec::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let part = match c {
            '%' => match chars.next() {
                Some('%') => Err(b'%'),
                Some('n') => Err(b'\n'),
                Some('t') => Ok(Part::Topic),
                Some('o') => Ok(Part::Offset),
                Some('k') => Ok(Part::Key),
                Some('K') => Ok(Part::KeyLength),
                Some('v') => Ok(Part::Payload),
                Some('V') => Ok(Part::PayloadLength),
                Some('h') => Ok(Part::Headers),
                Some('H') => Ok(Part::HeaderCount),
                Some('T') => Ok(Part::Time),
                Some('D') => Ok(Part::Date),
                Some(other) => return Err(format!("%{other} is no verb; the verbs are {VERBS}")),
                None => return Err("a verb is missing after the last %".into()),
            },
            '\\' => Err(escaped(&mut chars)?),
            c => {
                literal.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
        };
        match part {
            Err(byte) => literal.push(byte),
            Ok(part) => {
                if !literal.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut literal)));
                }
                parts.push(part);
            }
        }
    }
    if !literal.is_empty() {
        parts.push(Part::Text(literal));
    }
    Ok(parts)
}

/// Reads what follows a backslash.
fn escaped(chars: &mut std::str::Chars<'_>) -> Result<u8, String> {
    match chars.next() {
        Some('n') => Ok(b'\n'),
        Some('t') => Ok(b'\t'),
        Some('r') => Ok(b'\r'),
        Some('0') => Ok(0),
        Some('\\') => Ok(b'\\'),
        Some('x') => {
            let mut digit = || chars.next()?.to_digit(16);
            digit()
                .zip(digit())
                .and_then(|(high, low)| u8::try_from(high * 16 + low).ok())
                .ok_or_else(|| "\\x needs two hexadecimal digits".to_owned())
        }
        _ => Err("the escapes are \\n \\t \\r \\0 \\\\ and \\xHH".into()),
    }
}

/// Prints messages.
#[derive(Debug)]
pub(super) struct Printer {
    pub(super) format: Format,
    pub(super) topic: TopicName,
    /// Whether a person reads: control characters that a message brings are escaped.
    pub(super) to_terminal: bool,
}

impl Printer {
    /// Appends a message to `out`.
    pub(super) fn print(&self, received: &Received, out: &mut Vec<u8>) -> serde_json::Result<()> {
        let record = &received.record;
        match &self.format {
            Format::Raw => {
                self.bytes(&record.payload, out);
                out.push(b'\n');
            }
            Format::Json if self.to_terminal => {
                let mut object = Vec::new();
                json::json(received, &mut object)?;
                terminal::escape_json(&object, out);
                out.push(b'\n');
            }
            Format::Json => {
                json::json(received, out)?;
                out.push(b'\n');
            }
            Format::Parts(parts) => {
                for part in parts {
                    self.part(part, received, out);
                }
            }
        }
        Ok(())
    }

    fn part(&self, part: &Part, received: &Received, out: &mut Vec<u8>) {
        let record = &received.record;
        let key = record.key.as_deref().unwrap_or_default();
        let text = match part {
            Part::Text(text) => return out.extend_from_slice(text),
            Part::Key => return self.bytes(key, out),
            Part::Payload => return self.bytes(&record.payload, out),
            Part::Headers => {
                for (i, header) in record.headers.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    self.bytes(header.name.as_bytes(), out);
                    out.push(b'=');
                    self.bytes(&header.value, out);
                }
                return;
            }
            Part::Topic => self.topic.to_string(),
            Part::Offset => received.offset.to_string(),
            Part::KeyLength => key.len().to_string(),
            Part::PayloadLength => record.payload.len().to_string(),
            Part::HeaderCount => record.headers.len().to_string(),
            Part::Time => received.time.0.to_string(),
            Part::Date => date(received.time.0),
        };
        out.extend_from_slice(text.as_bytes());
    }

    fn bytes(&self, bytes: &[u8], out: &mut Vec<u8>) {
        match self.to_terminal {
            true => terminal::escape(bytes, out),
            false => out.extend_from_slice(bytes),
        }
    }
}

/// Returns a time in milliseconds since 1970 as a date of RFC 3339, in UTC. A time beyond the year 9999 stays a number.
fn date(millis: u64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| millis.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_a_word_or_a_text_with_verbs() {
        assert_eq!("raw".parse(), Ok(Format::Raw));
        assert_eq!("json".parse(), Ok(Format::Json));
        let text = |text: &[u8]| Part::Text(text.to_vec());
        assert_eq!(
            r"%o\t%k: %v%n".parse(),
            Ok(Format::Parts(vec![
                Part::Offset,
                text(b"\t"),
                Part::Key,
                text(b": "),
                Part::Payload,
                text(b"\n"),
            ]))
        );
        assert_eq!(
            r"100%% \x00\\é%t".parse(),
            Ok(Format::Parts(vec![
                text("100% \0\\é".as_bytes()),
                Part::Topic
            ]))
        );
        for (wrong, why) in [
            ("yaml", "must be raw, json"),
            ("%q", "%q is no verb"),
            ("%v%", "a verb is missing"),
            (r"%v\q", "the escapes are"),
            (r"%v\x1", "two hexadecimal digits"),
        ] {
            let error = wrong.parse::<Format>().unwrap_err();
            assert!(error.contains(why), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_date_is_in_utc() {
        assert_eq!(date(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(date(u64::MAX), u64::MAX.to_string());
    }
}
