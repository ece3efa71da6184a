//! Sans-I/O: the options of a spool.

use std::path::PathBuf;

use crate::config::{ConfigError, Problems, rules};

/// When the receipt of a message in the spool resolves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Receipts {
    /// When the broker has stored the message, as without a spool. If that takes longer than `delivery_timeout`, the
    /// receipt resolves to [`Expired`](super::SendErrorKind::Expired) with the fate
    /// [`Spooled`](super::Fate::Spooled): the message is on disk and will still be delivered.
    #[default]
    WhenStored,
    /// As soon as the message is on disk, with an [`Ack`](super::Ack) that
    /// [is spooled](super::Ack::is_spooled).
    WhenSpooled,
}

/// What goes to disk, and when.
///
/// | | what goes to disk | what the end of the process loses | cost |
/// |---|---|---|---|
/// | [`Overflow`](Self::Overflow) | what memory has no room for while there is no connection | everything in memory: up to the buffer | nothing while memory suffices |
/// | [`Outage`](Self::Outage) | everything that was not sent, once there was no connection for a second | what is sent and not answered; in an outage, what is younger than a second | nothing while there is a connection |
/// | [`Always`](Self::Always) | everything, before it is sent | what is not on disk yet, milliseconds old | each message is written and synced twice, here and by the broker |
///
/// With each of them, a message that was told as stored or as spooled is in its topic once, and in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// Only what memory has no room for while there is no connection. What is in memory is delivered after the outage, or
    /// expires.
    Overflow,
    /// Everything that was not sent yet goes to disk as soon as there was no connection for a second, or as memory is full
    /// without one, and so does everything new until the disk is empty again. So it does not expire. Batches that were sent
    /// and not answered stay in memory, because only the broker knows whether they are stored: they are sent again after the
    /// outage, or expire with the fate [`Unknown`](super::Fate::Unknown). The default.
    #[default]
    Outage,
    /// Every message is written and synced to disk before it is sent (write-ahead). What memory would hold is on disk, and
    /// lanes are not used.
    Always,
}

/// Options of a producer's spool.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// The folder of the spool. It is created if it does not exist. One producer at a time can use it.
    pub folder: PathBuf,
    /// What goes to disk, and when. Default [`Policy::Outage`].
    pub policy: Policy,
    /// The most bytes of undelivered messages on disk. Default 1 GiB, at least 1 MiB. The files take up to 1.5 times
    /// this, about four segments of 4 MiB, and two snapshots.
    pub max_bytes: u64,
    /// The most undelivered messages on disk. Default 16 777 216, at least 1.
    pub max_messages: u64,
    /// When receipts resolve. Default [`Receipts::WhenStored`].
    pub receipts: Receipts,
    /// The most receipts of messages on disk that are kept in memory until the message is stored. Default 262 144, about
    /// 50 MB. A receipt beyond this number resolves as soon as its message is on disk.
    pub max_pending_receipts: usize,
    /// The bytes of the disk that stay free. Default 256 MiB. With less, nothing is written to the spool.
    pub min_free_bytes: u64,
}

impl Config {
    /// Creates a configuration with the default options and this folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            policy: Policy::default(),
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
    /// Names every field that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut problems = Problems::default();
        problems.nested("spool", |problems| {
            rules!(problems, self;
                folder where !self.folder.as_os_str().is_empty() => "must not be empty";
                max_bytes in 1 << 20.. => "must be at least 1048576";
                max_messages in 1.. => "must be at least 1";
            );
        });
        problems.into_result()
    }
}

/// A path becomes a configuration with the default options and this folder.
impl<P: Into<PathBuf>> From<P> for Config {
    fn from(folder: P) -> Self {
        Self::new(folder)
    }
}

#[cfg(feature = "serde")]
crate::de::text_option!(Receipts, |text| match text {
    "when-stored" => Ok(Receipts::WhenStored),
    "when-spooled" => Ok(Receipts::WhenSpooled),
    _ => Err("must be when-stored or when-spooled"),
});
#[cfg(feature = "serde")]
crate::de::text_option!(Policy, |text| match text {
    "overflow" => Ok(Policy::Overflow),
    "outage" => Ok(Policy::Outage),
    "always" => Ok(Policy::Always),
    _ => Err("must be overflow, outage or always"),
});
#[cfg(feature = "serde")]
crate::de::table_of_options! {
    Config = Config::new("");
    folder, policy, max_bytes, max_messages, receipts, max_pending_receipts, min_free_bytes
}
#[cfg(feature = "serde")]
crate::de::where_given!(Config = Config::new(""));

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
        assert_eq!(config.policy, Policy::Outage);
        config.check().unwrap();
        let wrong = Config {
            max_bytes: 5,
            max_messages: 0,
            ..Config::new("")
        };
        assert_eq!(wrong.check().unwrap_err().problems().len(), 3);
    }
}
