//! Sans-I/O: splits bytes into lines, without an allocation per line.
//!
//! Input arrives in blocks that end anywhere. Output is blocks of whole lines, and each line is a slice of its block.

use bytes::{Bytes, BytesMut};

/// A part of the input, split at line ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// Whole lines, each with its newline. The last line of a file may have none.
    Lines(Bytes),
    /// A line that exceeds the limit. Its bytes are dropped.
    TooLong {
        /// Length of the line.
        bytes: u64,
    },
}

impl Piece {
    /// Returns the number of lines.
    pub(super) fn lines(&self) -> u64 {
        match self {
            Self::Lines(block) => {
                let newlines = block.iter().filter(|b| **b == b'\n').count() as u64;
                newlines + u64::from(!block.ends_with(b"\n"))
            }
            Self::TooLong { .. } => 1,
        }
    }

    /// Returns the number of bytes.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Lines(block) => len(block),
            Self::TooLong { bytes } => *bytes,
        }
    }
}

/// Splits each block of input at its last newline, and keeps the rest for the next block.
#[derive(Debug)]
pub(super) struct Splitter {
    /// Limit of a line, in bytes.
    max_line: usize,
    /// The start of a line whose end has not arrived.
    rest: BytesMut,
    /// Bytes dropped so far of a line that is too long.
    dropped: Option<u64>,
}

impl Splitter {
    pub(super) fn new(max_line: usize) -> Self {
        Self {
            max_line,
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
        if let Some(dropped) = self.dropped {
            let Some(end) = bytes.iter().position(|b| *b == b'\n') else {
                self.dropped = Some(dropped + len(bytes));
                return Ok(());
            };
            self.dropped = None;
            emit(Piece::TooLong {
                bytes: dropped + len(&bytes[..end]),
            })?;
            bytes = &bytes[end + 1..];
        }
        if let Some(last) = bytes.iter().rposition(|b| *b == b'\n') {
            self.rest.extend_from_slice(&bytes[..=last]);
            emit(Piece::Lines(std::mem::take(&mut self.rest).freeze()))?;
            bytes = &bytes[last + 1..];
        }
        if self.rest.len() + bytes.len() > self.max_line {
            self.dropped = Some(len(&self.rest) + len(bytes));
            self.rest = BytesMut::new();
        } else {
            self.rest.extend_from_slice(bytes);
        }
        Ok(())
    }

    /// Ends a file, and returns its last line if that has no newline.
    pub(super) fn end(&mut self) -> Option<Piece> {
        let rest = std::mem::take(&mut self.rest).freeze();
        match self.dropped.take() {
            Some(bytes) => Some(Piece::TooLong { bytes }),
            None if rest.is_empty() => None,
            None => Some(Piece::Lines(rest)),
        }
    }
}

fn len(bytes: &[u8]) -> u64 {
    bytes.len() as u64
}

/// Iterates over the lines of a block, without their newlines.
#[derive(Debug, Default)]
pub(super) struct Lines(Bytes);

impl Lines {
    pub(super) const fn of(block: Bytes) -> Self {
        Self(block)
    }
}

impl Iterator for Lines {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.0.is_empty() {
            return None;
        }
        match self.0.iter().position(|b| *b == b'\n') {
            Some(end) => {
                let line = self.0.split_to(end);
                let _newline = self.0.split_to(1);
                Some(line)
            }
            None => Some(std::mem::take(&mut self.0)),
        }
    }
}

/// Splits a line at the first `delimiter` into key and payload. A line without one has no key.
pub(super) fn keyed(line: Bytes, delimiter: &[u8]) -> (Option<Bytes>, Bytes) {
    let at = line
        .windows(delimiter.len())
        .position(|window| window == delimiter);
    match at {
        Some(at) => (Some(line.slice(..at)), line.slice(at + delimiter.len()..)),
        None => (None, line),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns the lines of `text`, pushed in blocks of these sizes.
    fn lines_of(text: &[u8], sizes: &[usize], max_line: usize) -> Vec<Result<Bytes, u64>> {
        let mut splitter = Splitter::new(max_line);
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
        let mut lines = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Lines(block) => lines.extend(Lines::of(block).map(Ok)),
                Piece::TooLong { bytes } => lines.push(Err(bytes)),
            }
        }
        lines
    }

    fn line(text: &'static str) -> Result<Bytes, u64> {
        Ok(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn the_newline_is_no_part_of_a_line_and_the_last_line_needs_none() {
        let whole = [usize::MAX];
        assert_eq!(lines_of(b"a\nb\n", &whole, 10), [line("a"), line("b")]);
        assert_eq!(lines_of(b"a\nb", &whole, 10), [line("a"), line("b")]);
        assert_eq!(lines_of(b"\n\n", &whole, 10), [line(""), line("")]);
        assert_eq!(lines_of(b"a\r\n", &whole, 10), [line("a\r")]);
        assert_eq!(lines_of(b"", &whole, 10), []);
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

    #[test]
    fn a_piece_counts_its_lines() {
        for (text, lines) in [("a\n", 1), ("a", 1), ("\n\n", 2), ("a\nb", 2)] {
            assert_eq!(
                Piece::Lines(Bytes::from_static(text.as_bytes())).lines(),
                lines
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_split_gives_the_same_lines(
            text in prop::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..200),
            sizes in prop::collection::vec(1..20usize, 1..20),
        ) {
            let mut expected: Vec<_> = text.split(|b| *b == b'\n').collect();
            if expected.last().is_some_and(|last| last.is_empty()) {
                expected.pop();
            }
            let lines: Vec<_> = lines_of(&text, &sizes, usize::MAX)
                .into_iter()
                .map(Result::unwrap)
                .collect();
            prop_assert_eq!(lines, expected);
        }
    }
}
