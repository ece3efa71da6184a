//! Sans-I/O: splits bytes into messages, without an allocation per message.
//!
//! Input arrives in blocks that end anywhere. Output is blocks of whole messages, and each message is a slice of its block.

use bytes::{Bytes, BytesMut};

/// Where a message ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Framing {
    /// At a newline, or at the end of the file.
    #[default]
    Line,
    /// At a carriage return and a newline, or a newline, or the end of the file.
    CrLf,
    /// At a byte of 0, or at the end of the file.
    Null,
    /// At the end of the file. A file without bytes is a message without bytes.
    Whole,
}

impl Framing {
    /// Returns the byte after which a message has ended. It is no part of the message.
    const fn end(self) -> Option<u8> {
        match self {
            Self::Line | Self::CrLf => Some(b'\n'),
            Self::Null => Some(0),
            Self::Whole => None,
        }
    }

    /// Returns what a message is called in errors.
    pub(super) const fn unit(self) -> &'static str {
        match self {
            Self::Line | Self::CrLf => "line",
            Self::Null | Self::Whole => "message",
        }
    }
}

/// A part of the input, split where messages end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// Whole messages, each with its end. The last message of a file may have none.
    Messages(Bytes),
    /// A message that exceeds the limit. Its bytes are dropped.
    TooLong {
        /// Length of the message.
        bytes: u64,
    },
}

impl Piece {
    /// Returns the number of messages.
    pub(super) fn messages(&self, framing: Framing) -> u64 {
        match (self, framing.end()) {
            (Self::Messages(block), Some(end)) => {
                let ends = block.iter().filter(|b| **b == end).count() as u64;
                ends + u64::from(block.last() != Some(&end))
            }
            (Self::Messages(_), None) | (Self::TooLong { .. }, _) => 1,
        }
    }

    /// Returns the number of bytes.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Messages(block) => len(block),
            Self::TooLong { bytes } => *bytes,
        }
    }
}

/// Splits each block of input after its last whole message, and keeps the rest for the next block.
#[derive(Debug)]
pub(super) struct Splitter {
    framing: Framing,
    /// Limit of a message, in bytes.
    max_message: usize,
    /// The start of a message whose end has not arrived.
    rest: BytesMut,
    /// Bytes dropped so far of a message that is too long.
    dropped: Option<u64>,
}

impl Splitter {
    pub(super) fn new(framing: Framing, max_message: usize) -> Self {
        Self {
            framing,
            max_message,
            rest: BytesMut::new(),
            dropped: None,
        }
    }

    /// Takes a block, and passes what it completes to `emit`. After an error of `emit`, no more may be pushed.
    pub(super) fn push<E>(
        &mut self,
        mut bytes: &[u8],
        mut emit: impl FnMut(Piece) -> Result<(), E>,
    ) -> Result<(), E> {
        let is_end = |byte: &u8| Some(*byte) == self.framing.end();
        if let Some(dropped) = self.dropped {
            let Some(end) = bytes.iter().position(is_end) else {
                self.dropped = Some(dropped + len(bytes));
                return Ok(());
            };
            self.dropped = None;
            emit(Piece::TooLong {
                bytes: dropped + len(&bytes[..end]),
            })?;
            bytes = &bytes[end + 1..];
        }
        if let Some(last) = bytes.iter().rposition(is_end) {
            self.rest.extend_from_slice(&bytes[..=last]);
            emit(Piece::Messages(std::mem::take(&mut self.rest).freeze()))?;
            bytes = &bytes[last + 1..];
        }
        if self.rest.len() + bytes.len() > self.max_message {
            self.dropped = Some(len(&self.rest) + len(bytes));
            self.rest = BytesMut::new();
        } else {
            self.rest.extend_from_slice(bytes);
        }
        Ok(())
    }

    /// Ends a file, and returns its last message if that has no end of its own.
    pub(super) fn end(&mut self) -> Option<Piece> {
        let rest = std::mem::take(&mut self.rest).freeze();
        match self.dropped.take() {
            Some(bytes) => Some(Piece::TooLong { bytes }),
            None if rest.is_empty() && self.framing != Framing::Whole => None,
            None => Some(Piece::Messages(rest)),
        }
    }
}

fn len(bytes: &[u8]) -> u64 {
    bytes.len() as u64
}

/// Iterates over the messages of a block, without their ends.
#[derive(Debug, Default)]
pub(super) struct Messages {
    framing: Framing,
    /// `None` when no message is left.
    rest: Option<Bytes>,
}

impl Messages {
    pub(super) fn of(block: Bytes, framing: Framing) -> Self {
        let is_none = block.is_empty() && framing != Framing::Whole;
        Self {
            framing,
            rest: (!is_none).then_some(block),
        }
    }
}

impl Iterator for Messages {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut message = self.rest.take()?;
        let end = self.framing.end();
        if let Some(at) = message.iter().position(|b| Some(*b) == end) {
            let rest = message.split_off(at + 1);
            self.rest = (!rest.is_empty()).then_some(rest);
            message.truncate(at);
        }
        if self.framing == Framing::CrLf && message.ends_with(b"\r") {
            message.truncate(message.len() - 1);
        }
        Some(message)
    }
}

/// Splits a message at the first `delimiter` into key and payload. A message without one has no key.
pub(super) fn keyed(message: Bytes, delimiter: &[u8]) -> (Option<Bytes>, Bytes) {
    let at = message
        .windows(delimiter.len())
        .position(|window| window == delimiter);
    match at {
        Some(at) => (
            Some(message.slice(..at)),
            message.slice(at + delimiter.len()..),
        ),
        None => (None, message),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns the messages of `text`, pushed in blocks of these sizes.
    fn split(
        text: &[u8],
        framing: Framing,
        sizes: &[usize],
        max_message: usize,
    ) -> Vec<Result<Bytes, u64>> {
        let mut splitter = Splitter::new(framing, max_message);
        let mut pieces = Vec::new();
        let mut rest = text;
        let mut sizes = sizes.iter().copied().cycle();
        while !rest.is_empty() {
            let size = sizes.next().unwrap_or(1).clamp(1, rest.len());
            let pushed = splitter.push(&rest[..size], |piece| {
                pieces.push(piece);
                Ok::<_, ()>(())
            });
            assert_eq!(pushed, Ok(()));
            rest = &rest[size..];
        }
        pieces.extend(splitter.end());
        let mut messages = Vec::new();
        for piece in pieces {
            let before = messages.len();
            let counted = piece.messages(framing);
            match piece {
                Piece::Messages(block) => {
                    messages.extend(Messages::of(block, framing).map(Ok));
                }
                Piece::TooLong { bytes } => messages.push(Err(bytes)),
            }
            assert_eq!(counted, (messages.len() - before) as u64);
        }
        messages
    }

    fn lines_of(text: &[u8], sizes: &[usize], max_message: usize) -> Vec<Result<Bytes, u64>> {
        split(text, Framing::Line, sizes, max_message)
    }

    fn line(text: &'static str) -> Result<Bytes, u64> {
        Ok(Bytes::from_static(text.as_bytes()))
    }

    const WHOLE: [usize; 1] = [usize::MAX];

    #[test]
    fn the_newline_is_no_part_of_a_line_and_the_last_line_needs_none() {
        assert_eq!(lines_of(b"a\nb\n", &WHOLE, 10), [line("a"), line("b")]);
        assert_eq!(lines_of(b"a\nb", &WHOLE, 10), [line("a"), line("b")]);
        assert_eq!(lines_of(b"\n\n", &WHOLE, 10), [line(""), line("")]);
        assert_eq!(lines_of(b"a\r\n", &WHOLE, 10), [line("a\r")]);
        assert_eq!(lines_of(b"", &WHOLE, 10), []);
    }

    #[test]
    fn a_message_ends_where_its_framing_says() {
        let text = b"a\r\nb\0c\n";
        let split = |framing| split(text, framing, &[2], 10);
        assert_eq!(split(Framing::Line), [line("a\r"), line("b\0c")]);
        assert_eq!(split(Framing::CrLf), [line("a"), line("b\0c")]);
        assert_eq!(split(Framing::Null), [line("a\r\nb"), line("c\n")]);
        assert_eq!(split(Framing::Whole), [line("a\r\nb\0c\n")]);
    }

    #[test]
    fn a_whole_file_without_bytes_is_a_message_and_one_that_is_too_long_is_told() {
        assert_eq!(split(b"", Framing::Whole, &WHOLE, 10), [line("")]);
        assert_eq!(split(b"too long", Framing::Whole, &[3], 4), [Err(8)]);
    }

    #[test]
    fn a_line_that_is_too_long_is_told_with_its_length_and_the_next_ones_are_whole() {
        let text = b"one\nfar too long\nthree\n";
        let expected = [line("one"), Err(12), line("three")];
        assert_eq!(lines_of(text, &[3], 6), expected);
        assert_eq!(lines_of(b"too long", &[3], 4), [Err(8)]);
    }

    #[test]
    fn a_key_ends_at_the_first_delimiter() {
        let line = Bytes::from_static(b"k::v::w");
        let (key, payload) = keyed(line.clone(), b"::");
        assert_eq!((key.as_deref(), &*payload), (Some(&b"k"[..]), &b"v::w"[..]));
        assert_eq!(keyed(line.clone(), b"|"), (None, line));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_split_gives_the_same_messages(
            text in prop::collection::vec(prop_oneof![Just(b'\n'), Just(0), any::<u8>()], 0..200),
            sizes in prop::collection::vec(1..20usize, 1..20),
        ) {
            for (framing, end) in [(Framing::Line, b'\n'), (Framing::Null, 0)] {
                let mut expected: Vec<_> = text.split(|b| *b == end).collect();
                if expected.last().is_some_and(|last| last.is_empty()) {
                    expected.pop();
                }
                let messages: Vec<_> = split(&text, framing, &sizes, usize::MAX)
                    .into_iter()
                    .map(Result::unwrap)
                    .collect();
                prop_assert_eq!(messages, expected);
            }
        }
    }
}
