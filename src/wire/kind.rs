//! Sans-I/O: the kind byte of a frame, and the longest body of each kind.

use super::{Connect, DecodeError, Failure, Packet, fields::MAX_NAME};
use crate::TopicName;

macro_rules! kinds {
    ($($name:ident = $byte:literal, $pattern:pat, $body:expr;)*) => {
        /// The kind of a packet.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Kind {
            $($name,)*
        }

        impl Kind {
            /// Returns the kind of a packet.
            pub(super) const fn of(packet: &Packet) -> Self {
                match packet {
                    $($pattern => Self::$name,)*
                }
            }

            /// Returns the byte on the wire.
            pub(super) const fn to_u8(self) -> u8 {
                match self {
                    $(Self::$name => $byte,)*
                }
            }

            /// Returns the kind of a byte.
            pub(super) const fn from_u8(byte: u8) -> Result<Self, DecodeError> {
                match byte {
                    $($byte => Ok(Self::$name),)*
                    kind => Err(DecodeError::UnknownKind { kind }),
                }
            }

            /// Returns the packet's name, for errors and logs.
            pub(super) const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// Returns the longest body in bytes, or `None` if only the longest frame limits it.
            pub(super) const fn max_body(self) -> Option<usize> {
                match self {
                    $(Self::$name => $body,)*
                }
            }
        }
    };
}

const TOPIC: usize = 1 + TopicName::MAX_LEN;
const NAME: usize = 1 + MAX_NAME;
const IDENTITY: usize = 8 + 4;
const RETENTION: usize = 8 + 8;
/// The longest start: one that resumes with a checksum.
const RESUME: usize = 1 + 8 + IDENTITY + 1 + 4;
const FAILURE: usize = 2 + 2 + Failure::MAX_DETAIL;

kinds! {
    Connect = 0x01, Packet::Connect(_), Some(2 + Connect::MAX_TOKEN + NAME + 8 + 1 + 8);
    Ping = 0x02, Packet::Ping { .. }, Some(8);
    Probe = 0x03, Packet::Probe { .. }, Some(8);
    Produce = 0x04, Packet::Produce(_), None;
    Subscribe = 0x05, Packet::Subscribe(_), Some(TOPIC + NAME + RESUME + 8 + 8);
    Credit = 0x06, Packet::Credit { .. }, Some(8);
    Acknowledge = 0x07, Packet::Acknowledge { .. }, Some(8);
    ListTopics = 0x08, Packet::ListTopics { .. }, Some(TOPIC);
    QueryStored = 0x0c, Packet::QueryStored { .. }, Some(8);
    ChangeTopic = 0x0d, Packet::ChangeTopic { .. }, Some(TOPIC + 1 + RETENTION);
    ListPositions = 0x0e, Packet::ListPositions { .. }, Some(TOPIC + NAME);

    Connected = 0x81, Packet::Connected(_), Some(1 + 8 + 4 + 4 + 8);
    Pong = 0x82, Packet::Pong { .. }, Some(8);
    Probed = 0x83, Packet::Probed { .. }, Some(8);
    Stored = 0x84, Packet::Stored(_), Some(8 + 8 + 8 + 4);
    Subscribed = 0x85, Packet::Subscribed(_), Some(8 + 8 + IDENTITY + 8);
    Delivery = 0x86, Packet::Delivery(_), None;
    Acknowledged = 0x87, Packet::Acknowledged { .. }, Some(8);
    Topics = 0x88, Packet::Topics(_), Some(2 + Packet::MAX_TOPICS * (TOPIC + 8 + 8 + 8 + IDENTITY + RETENTION));
    Refused = 0x89, Packet::Refused(_), Some(8 + FAILURE);
    GoAway = 0x8a, Packet::GoAway, Some(0);
    Failed = 0x8b, Packet::Failed(_), Some(FAILURE);
    StoredList = 0x8c, Packet::StoredList(_), Some(2 + Packet::MAX_STORED_LIST * (8 + 8 + 8));
    TopicChanged = 0x8d, Packet::TopicChanged { .. }, Some(8);
    Positions = 0x8e, Packet::Positions(_), Some(2 + Packet::MAX_POSITIONS * (NAME + 8));
}

impl Packet {
    /// Returns the packet's name, for errors and logs. A packet itself is long and may hold secrets.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        Kind::of(self).name()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_one_kind_or_none() {
        let known = (0..=u8::MAX).filter(|&byte| match Kind::from_u8(byte) {
            Ok(kind) => kind.to_u8() == byte,
            Err(error) => {
                assert_eq!(error, DecodeError::UnknownKind { kind: byte });
                false
            }
        });
        assert!(known.eq((0x01..=0x08).chain(0x0c..=0x0e).chain(0x81..=0x8e)));
    }
}
