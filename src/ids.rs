//! Numbers with a meaning, each with a type of its own.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u64);

        impl $name {
            /// Returns the number after this one.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<u64> for $name {
            fn from(n: u64) -> Self {
                Self(n)
            }
        }
    };
}

number! {
    /// The number of a request of one producer. A request that is sent again keeps its id, so that the broker can recognise
    /// it.
    RequestId
}
number! {
    /// The place of a message in its topic, counted from 0 and never used twice.
    Offset
}
number! {
    /// The number of a producer. The broker assigns it when the producer first connects, keeps it across reconnects, and never
    /// assigns it again. Of two producers with the same name, the later one has the greater number.
    ProducerId
}
/// Which topic a name stands for. A topic that was deleted and made again, and one of the same name in a log that began anew,
/// has another identity, and its offsets are offsets of other messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TopicIdentity {
    /// The random number of the log.
    pub log: u64,
    /// The number of the topic in the log, which no other topic of it ever has.
    pub number: u32,
}

number! {
    /// A point in time in milliseconds since the Unix epoch. Converts to and from [`SystemTime`].
    Timestamp
}

/// Rounds down to milliseconds. A time before the epoch becomes the epoch.
impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

/// A time that the system cannot represent becomes the epoch.
impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        let since = Duration::from_millis(time.0);
        UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_convert_to_system_time_and_back() {
        let time = UNIX_EPOCH + Duration::from_micros(1_234_567);
        assert_eq!(Timestamp::from(time), Timestamp(1_234));
        assert_eq!(
            SystemTime::from(Timestamp(1_234)),
            UNIX_EPOCH + Duration::from_millis(1_234)
        );
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(Timestamp::from(before), Timestamp(0));
        let _ = SystemTime::from(Timestamp(u64::MAX));
    }
}
