//! From what was read to the producer.

use std::sync::Arc;

use anabranch::{Message, Producer};
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::{
    Mode,
    lines::{self, Lines, Piece},
    source::{Item, Reading},
    tally::{Origin, Tally},
    window::{Outcome, Window},
};
use crate::progress;

/// How lines become messages.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) mode: Mode,
    /// What ends the key of a line.
    pub(super) key_delimiter: Option<Bytes>,
    /// What memory has no room for goes to disk, and may wait for it.
    pub(super) spool: bool,
}

/// Hands lines to the producer and waits for their outcomes. What it is at stays here when [`Pump::run`] is dropped.
pub(super) struct Pump<'a> {
    producer: &'a Producer,
    rules: Rules,
    reading: Reading,
    tally: Arc<Tally>,
    window: Window<'a>,
    /// Where the last line came from.
    origin: Origin,
    /// What is left of the present block.
    lines: Lines,
    /// Something could not be read.
    unread: bool,
}

impl<'a> Pump<'a> {
    pub(super) fn new(
        producer: &'a Producer,
        rules: Rules,
        reading: Reading,
        tally: Arc<Tally>,
        window: Window<'a>,
    ) -> Self {
        Self {
            producer,
            rules,
            reading,
            tally,
            window,
            origin: Origin {
                file: Arc::from(""),
                line: 0,
            },
            lines: Lines::default(),
            unread: false,
        }
    }

    /// Whether something could not be read.
    pub(super) const fn is_unread(&self) -> bool {
        self.unread
    }

    /// Sends everything that is read and waits for every outcome. From `stop` on nothing more is read; what was read is
    /// still sent. It also ends where sending more is pointless.
    pub(super) async fn run(&mut self, stop: &CancellationToken) {
        let mut stopping = false;
        while !self.window.is_hopeless() {
            self.send_lines().await;
            self.window.settle_what_is_there();
            tokio::select! {
                biased;
                () = stop.cancelled(), if !stopping => {
                    stopping = true;
                    self.reading.stop();
                }
                item = self.reading.next() => match item {
                    Some(item) => self.take(item),
                    None => break,
                },
                () = self.window.settle_oldest() => {}
            }
        }
        while !self.window.is_empty() {
            self.window.settle_oldest().await;
        }
    }

    /// To be called when no message can be sent any more and the producer is closed, so that every outcome is there.
    /// What was read and not sent has failed.
    pub(super) fn give_up(&mut self) {
        self.window.settle_what_is_there();
        self.reading.refuse();
        loop {
            while self.next_line().is_some() {
                if !self.window.is_hopeless() {
                    let why = "there was no time to send it; it is not stored";
                    self.tally.on_failed(&self.origin, why);
                }
            }
            match self.reading.next_there() {
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
                progress::say(format_args!(
                    "error: cannot read {file} any further: {error}"
                ));
                self.unread = true;
            }
        }
    }

    fn next_line(&mut self) -> Option<Bytes> {
        let line = self.lines.next()?;
        self.origin.line += 1;
        Some(line)
    }

    /// Sends what is left of the present block.
    async fn send_lines(&mut self) {
        while !self.window.is_hopeless() {
            while self.window.is_full() {
                self.window.settle_some().await;
            }
            let Some(line) = self.next_line() else {
                return;
            };
            self.send(line);
        }
    }

    fn send(&mut self, line: Bytes) {
        let message = message(line, self.rules.key_delimiter.as_deref());
        let content = message.content_len();
        let outcome = match self.rules.mode {
            Mode::Ordered => Outcome::Ordered(self.producer.send(message)),
            Mode::Async if self.rules.spool => Outcome::Entering(self.producer.send_async(message)),
            Mode::Async => match self.producer.try_send_async(message) {
                Ok(receipt) => Outcome::Receipt(receipt),
                Err(error) => return self.window.failed(&self.origin, &error),
            },
        };
        self.window.push(self.origin.clone(), content, outcome);
    }
}

/// The message of a line.
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
