//! Sends the messages that were read.

use std::sync::Arc;

use anabranch::{Message, Producer, SendError, producer::SendErrorKind};
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::{
    Mode,
    lines::{self, Framing, Messages, Piece},
    reader::{Item, ReaderHandle},
    tally::{Origin, Tally},
    window::{Outcome, Window},
};
use crate::progress;

/// How what is read becomes messages.
#[derive(Debug, Clone)]
pub(super) struct Conversion {
    pub(super) mode: Mode,
    pub(super) framing: Framing,
    pub(super) key: Key,
    /// Headers of every message.
    pub(super) headers: Vec<(String, Bytes)>,
    /// Whether the producer has a spool. A message may have to wait for the disk then.
    pub(super) spool: bool,
}

/// Which key a message has.
#[derive(Debug, Clone)]
pub(super) enum Key {
    None,
    /// Every message has this key.
    Of(Bytes),
    /// The part of the line before this text.
    Before(Bytes),
}

/// Sends messages and awaits their outcomes. Its state survives when [`Sender::run`] is dropped.
pub(super) struct Sender<'a> {
    producer: &'a Producer,
    conversion: Conversion,
    reader: ReaderHandle,
    tally: Arc<Tally>,
    window: Window,
    /// File and number of the last message.
    origin: Origin,
    /// The rest of the current block.
    messages: Messages,
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
            origin: Origin {
                file: Arc::from(""),
                unit: conversion.framing.unit(),
                number: 0,
            },
            conversion,
            reader,
            tally,
            window,
            messages: Messages::default(),
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
            self.send_messages().await;
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
            while self.next_message().is_some() {
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
            Item::File(file) => {
                self.origin.file = file;
                self.origin.number = 0;
            }
            Item::Piece(Piece::Messages(block)) => {
                self.messages = Messages::of(block, self.conversion.framing);
            }
            Item::Piece(Piece::TooLong { bytes }) => {
                self.origin.number += 1;
                let why = format!(
                    "the message has {bytes} bytes, more than --max-message-bytes; it is not stored"
                );
                self.tally.on_failed(&self.origin, why);
            }
            Item::Failed(file, error) => {
                progress::error(format_args!("cannot read the rest of {file}: {error}"));
                self.read_error = true;
            }
        }
    }

    fn next_message(&mut self) -> Option<Bytes> {
        let bytes = self.messages.next()?;
        self.origin.number += 1;
        Some(bytes)
    }

    /// Sends the rest of the current block.
    async fn send_messages(&mut self) {
        while !self.window.has_failed() {
            while self.window.is_full() {
                self.window.record_some().await;
            }
            let Some(bytes) = self.next_message() else {
                return;
            };
            self.send(bytes);
        }
    }

    fn send(&mut self, bytes: Bytes) {
        let message = self.conversion.message(bytes);
        let content = message.content_len();
        let outcome = match self.conversion.mode {
            Mode::Ordered => Outcome::Ordered(self.producer.send(message)),
            Mode::Async if self.conversion.spool => {
                Outcome::Accepting(self.producer.send_async(message))
            }
            Mode::Async => match self.producer.try_send_async(message) {
                Ok(receipt) => Outcome::Receipt(receipt),
                Err(error) => match full(error) {
                    // Waits in line for room. Later messages wait behind it.
                    Ok(message) => Outcome::Accepting(self.producer.send_async(message)),
                    Err(error) => return self.window.record_failure(&self.origin, &error),
                },
            },
        };
        self.window.push(self.origin.clone(), content, outcome);
    }
}

/// Returns the message for which there was no room, or another error.
fn full(error: SendError) -> Result<Message, SendError> {
    match error.kind() {
        SendErrorKind::Full => error.clone().into_message().ok_or(error),
        _ => Err(error),
    }
}

impl Conversion {
    fn message(&self, bytes: Bytes) -> Message {
        let (key, payload) = match &self.key {
            Key::None => (None, bytes),
            Key::Of(key) => (Some(key.clone()), bytes),
            Key::Before(delimiter) => lines::keyed(bytes, delimiter),
        };
        let mut message = Message::new(payload);
        if let Some(key) = key {
            message = message.with_key(key);
        }
        for (name, value) in &self.headers {
            message = message.with_header(name.as_str(), value.clone());
        }
        message
    }
}
