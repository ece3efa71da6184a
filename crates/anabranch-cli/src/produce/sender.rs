//! Sends the lines that were read.

use std::sync::Arc;

use anabranch::{Message, Producer};
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::{
    Mode,
    lines::{self, Lines, Piece},
    reader::{Item, ReaderHandle},
    tally::{Origin, Tally},
    window::{Outcome, Window},
};
use crate::progress;

/// How lines become messages.
#[derive(Debug, Clone)]
pub(super) struct Conversion {
    pub(super) mode: Mode,
    /// Text that ends the key of a line.
    pub(super) key_delimiter: Option<Bytes>,
    /// Whether the producer has a spool. A message may have to wait for the disk then.
    pub(super) spool: bool,
}

/// Sends lines and awaits their outcomes. Its state survives when [`Sender::run`] is dropped.
pub(super) struct Sender<'a> {
    producer: &'a Producer,
    conversion: Conversion,
    reader: ReaderHandle,
    tally: Arc<Tally>,
    window: Window,
    /// File and number of the last line.
    origin: Origin,
    /// The rest of the current block.
    lines: Lines,
    /// Whether an input could not be read to its end.
    read_error: bool,
}

impl<'a> Sender<'a> {
    pub(super) fn new(
        producer: &'a Producer,
        conversion: Conversion,
        reader: ReaderHandle,
        tally: Arc<Tally>,
        window: Window,
    ) -> Self {
        Self {
            producer,
            conversion,
            reader,
            tally,
            window,
            origin: Origin {
                file: Arc::from(""),
                line: 0,
            },
            lines: Lines::default(),
            read_error: false,
        }
    }

    /// Returns whether an input could not be read to its end.
    pub(super) const fn has_read_error(&self) -> bool {
        self.read_error
    }

    /// Sends everything that is read, and waits for every outcome. After `stop`, sends what was read and reads no more. Ends
    /// early when every further message would fail.
    pub(super) async fn run(&mut self, stop: &CancellationToken) {
        let mut stopping = false;
        while !self.window.has_failed() {
            self.send_lines().await;
            self.window.record_ready();
            tokio::select! {
                biased;
                () = stop.cancelled(), if !stopping => {
                    stopping = true;
                    self.reader.stop();
                }
                item = self.reader.next() => match item {
                    Some(item) => self.take(item),
                    None => break,
                },
                () = self.window.record_oldest() => {}
            }
        }
        while !self.window.is_empty() {
            self.window.record_oldest().await;
        }
    }

    /// Counts what was read and not sent as failed. Must be called after the producer is closed, when every outcome is known.
    pub(super) fn fail_unsent(&mut self) {
        self.window.record_ready();
        self.reader.close();
        loop {
            while self.next_line().is_some() {
                if !self.window.has_failed() {
                    let why = "not sent before the time limit; it is not stored";
                    self.tally.on_failed(&self.origin, why);
                }
            }
            match self.reader.try_next() {
                Some(item) => self.take(item),
                None => return,
            }
        }
    }

    fn take(&mut self, item: Item) {
        match item {
            Item::File(file) => self.origin = Origin { file, line: 0 },
            Item::Piece(Piece::Lines(block)) => self.lines = Lines::of(block),
            Item::Piece(Piece::TooLong { bytes }) => {
                self.origin.line += 1;
                let why = format!(
                    "the message has {bytes} bytes, more than max_message_bytes; it is not stored"
                );
                self.tally.on_failed(&self.origin, why);
            }
            Item::Failed(file, error) => {
                progress::error(format_args!("cannot read the rest of {file}: {error}"));
                self.read_error = true;
            }
        }
    }

    fn next_line(&mut self) -> Option<Bytes> {
        let line = self.lines.next()?;
        self.origin.line += 1;
        Some(line)
    }

    /// Sends the rest of the current block.
    async fn send_lines(&mut self) {
        while !self.window.has_failed() {
            while self.window.is_full() {
                self.window.record_some().await;
            }
            let Some(line) = self.next_line() else {
                return;
            };
            self.send(line);
        }
    }

    fn send(&mut self, line: Bytes) {
        let message = message(line, self.conversion.key_delimiter.as_deref());
        let content = message.content_len();
        let outcome = match self.conversion.mode {
            Mode::Ordered => Outcome::Ordered(self.producer.send(message)),
            Mode::Async if self.conversion.spool => {
                Outcome::Accepting(self.producer.send_async(message))
            }
            Mode::Async => match self.producer.try_send_async(message) {
                Ok(receipt) => Outcome::Receipt(receipt),
                Err(error) => return self.window.record_failure(&self.origin, &error),
            },
        };
        self.window.push(self.origin.clone(), content, outcome);
    }
}

/// Converts a line to a message.
fn message(line: Bytes, key_delimiter: Option<&[u8]>) -> Message {
    let Some(delimiter) = key_delimiter else {
        return Message::new(line);
    };
    let (key, payload) = lines::keyed(line, delimiter);
    let message = Message::new(payload);
    match key {
        Some(key) => message.with_key(key),
        None => message,
    }
}
