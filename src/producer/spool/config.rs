//! Pure: what a spool is told, and what it says of itself.

use std::path::PathBuf;

use crate::config::{ConfigError, Problems};

/// When the receipt of a message that went to the spool resolves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Receipts {
    /// When the broker has stored it, as for any message. Where that takes longer than `delivery_timeout`, the receipt
    /// says [`Expired`](super::super::SendErrorKind::Expired) with the fate [`Spooled`](super::super::Fate::Spooled):
    /// the message is on disk and will still be delivered.
    #[default]
    WhenStored,
    /// As soon as it is on disk, with an [`Ack`](super::super::Ack) that [is spooled](super::super::Ack::is_spooled).
    WhenSpooled,
}

/// Where a producer spools, and how much.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// The folder, made where there is none. One producer at a time has it.
    pub folder: PathBuf,
    /// The most bytes of messages on disk that were not delivered yet. Default 1 GiB, at least 1 MiB. The files take more: up
    /// to twice this, and about 200 MB.
    pub max_bytes: u64,
    /// The most messages on disk that were not delivered yet. Default 16 777 216, at least 1.
    pub max_messages: u64,
    /// When receipts resolve. Default: when the broker has stored the message.
    pub receipts: Receipts,
    /// The most receipts that wait for the outcome of a message on disk. Default 262 144, about 50 MB of memory. The receipt
    /// of a message beyond it resolves as soon as the message is on disk.
    pub max_pending_receipts: usize,
    /// So many bytes of the disk are left free. Default 256 MiB. With less, the spool takes nothing more.
    pub min_free_bytes: u64,
}

impl Config {
    /// The defaults, in this folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            max_bytes: 1 << 30,
            max_messages: 1 << 24,
            receipts: Receipts::default(),
            max_pending_receipts: 262_144,
            min_free_bytes: 256 << 20,
        }
    }

    /// Checks every field.
    ///
    /// # Errors
    /// All that are wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut problems = Problems::default();
        problems.expect(
            !self.folder.as_os_str().is_empty(),
            "spool.folder",
            &self.folder,
            "must not be empty",
        );
        problems.expect(
            self.max_bytes >= 1 << 20,
            "spool.max_bytes",
            &self.max_bytes,
            "must be at least 1048576",
        );
        problems.expect(
            self.max_messages >= 1,
            "spool.max_messages",
            &self.max_messages,
            "must be at least 1",
        );
        problems.into_result()
    }
}

/// The defaults, in this folder.
impl<P: Into<PathBuf>> From<P> for Config {
    fn from(folder: P) -> Self {
        Self::new(folder)
    }
}

/// What a spool does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// Nothing is on disk; messages go the usual way.
    #[default]
    Memory,
    /// Every new message goes to disk.
    Spooling,
    /// What is on disk goes out, in order; every new message goes behind it.
    Draining,
}

/// How it stands with a spool.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct State {
    /// What it does.
    pub phase: Phase,
    /// Messages on disk that were not delivered yet.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Why it could not write or deliver when it last tried; `None` where it could.
    pub last_error: Option<String>,
}

#[cfg(feature = "serde")]
crate::de::text_option!(Receipts, |text| match text {
    "when-stored" => Ok(Receipts::WhenStored),
    "when-spooled" => Ok(Receipts::WhenSpooled),
    _ => Err("must be when-stored or when-spooled"),
});
#[cfg(feature = "serde")]
crate::de::table_of_options! {
    Config = Config::new("");
    folder, max_bytes, max_messages, receipts, max_pending_receipts, min_free_bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_defaults_are_the_real_ones_and_wrong_fields_are_named() {
        let config = Config::new("here");
        assert_eq!(config.max_bytes, 1024 * 1024 * 1024);
        assert_eq!(config.max_messages, 16_777_216);
        assert_eq!(config.max_pending_receipts, 262_144);
        assert_eq!(config.min_free_bytes, 256 * 1024 * 1024);
        assert_eq!(config.receipts, Receipts::WhenStored);
        config.check().unwrap();
        let wrong = Config {
            max_bytes: 5,
            max_messages: 0,
            ..Config::new("")
        };
        assert_eq!(wrong.check().unwrap_err().problems().len(), 3);
    }
}
