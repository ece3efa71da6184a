//! Pure: why a connection ended: the close codes of the protocol, and what a `quinn::ConnectionError` says.
//!
//! Either end closes a connection with a number from [`CloseCode`] and, where it helps a person, a sentence.
//! The numbers are part of the protocol: they are never reused for something else.

use std::fmt;

use quinn::{ConnectionError, TransportErrorCode, VarInt};

macro_rules! close_codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal $sentence:literal,)*) => {
        /// Why an end closed the connection. The numbers are part of the protocol.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[repr(u32)]
        pub enum CloseCode {
            $($(#[$doc])* $name = $number,)*
        }

        impl CloseCode {
            /// Every code, in the order of the numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The number on the wire.
            #[must_use]
            pub const fn to_u32(self) -> u32 {
                self as u32
            }

            /// The code of a number; `None` where this version knows none.
            #[must_use]
            pub const fn from_u64(number: u64) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The code in half a sentence, as it stands in error messages.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self {
                    $(Self::$name => $sentence,)*
                }
            }
        }
    };
}

close_codes! {
    /// Nobody said why. quinn sends this number by itself when the last handle of a connection is dropped,
    /// so a process that panicked looks like this and not like [`CloseCode::Done`].
    Dropped = 0 "it dropped the connection without giving a reason",
    /// The closing end has finished with the connection and nothing failed.
    Done = 1 "it has finished with the connection",
    /// The token or the certificate is not accepted.
    Unauthorised = 2 "it does not accept our credentials",
    /// A later producer of the same name has taken over. The earlier one must not come back.
    Fenced = 3 "a later producer of the same name has taken over",
    /// The peer sent what makes no sense to the closing end.
    Protocol = 4 "it received something that the protocol does not allow",
    /// The broker is closing. Another one, or the same a little later, may take the client.
    GoingAway = 5 "it is shutting down",
    /// The connection was opened and the session was not, within the time for that.
    HandshakeTimeout = 6 "the session was not opened in time",
    /// The client did not ping for longer than the broker waits.
    Idle = 7 "it had heard nothing for too long",
    /// The broker did not answer pings for longer than the client waits.
    Unresponsive = 8 "its pings were not answered",
    /// A limit of the broker is reached, such as that of connections.
    Limit = 9 "a limit of it is reached",
    /// The closing end failed in a way that has nothing to do with the peer.
    Internal = 10 "it failed",
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

impl From<CloseCode> for VarInt {
    fn from(code: CloseCode) -> Self {
        Self::from_u32(code.to_u32())
    }
}

/// What a `quinn::ConnectionError` says, in the words of this protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// This end closed the connection.
    Ours,
    /// The peer closed it with a code of the table, and perhaps a sentence.
    Closed {
        /// The code.
        code: CloseCode,
        /// The peer's sentence; may be empty.
        reason: String,
    },
    /// The peer closed it with a number that this version does not know.
    ClosedUnknown {
        /// The number.
        number: u64,
        /// The peer's sentence; may be empty.
        reason: String,
    },
    /// Nothing was heard of the peer for the idle timeout.
    Silent,
    /// The peer does not know the connection any more: it was restarted.
    Reset,
    /// The server turned the connection away before the handshake, as one does that is overloaded.
    Refused,
    /// The two ends have no version in common, of this protocol (ALPN) or of QUIC.
    Version {
        /// Which end found out.
        by: Side,
    },
    /// The TLS handshake failed.
    Tls {
        /// Which end gave up.
        by: Side,
        /// The TLS alert that says why (RFC 8446, section 6).
        alert: u8,
        /// What that end's TLS library says; the peer's is empty or short.
        reason: String,
    },
    /// QUIC itself failed: one end broke its rules or ran out of something.
    Transport {
        /// Which end gave up.
        by: Side,
        /// What quinn says.
        reason: String,
    },
}

/// One of the two ends of a connection, seen from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// This one.
    Local,
    /// The other one.
    Peer,
}

/// The TLS alert `no_application_protocol`: the ends have no version of this protocol in common.
const NO_APPLICATION_PROTOCOL: u8 = 120;

impl CloseReason {
    /// What `error` says.
    #[must_use]
    pub fn of(error: &ConnectionError) -> Self {
        match error {
            ConnectionError::VersionMismatch => Self::Version { by: Side::Peer },
            ConnectionError::TransportError(e) => {
                Self::transport(Side::Local, e.code, e.reason.clone(), error)
            }
            ConnectionError::ConnectionClosed(close) => {
                Self::transport(Side::Peer, close.error_code, text(&close.reason), error)
            }
            ConnectionError::ApplicationClosed(close) => {
                let number = close.error_code.into_inner();
                let reason = text(&close.reason);
                match CloseCode::from_u64(number) {
                    Some(code) => Self::Closed { code, reason },
                    None => Self::ClosedUnknown { number, reason },
                }
            }
            ConnectionError::Reset => Self::Reset,
            ConnectionError::TimedOut => Self::Silent,
            ConnectionError::LocallyClosed => Self::Ours,
            ConnectionError::CidsExhausted => Self::Transport {
                by: Side::Local,
                reason: error.to_string(),
            },
        }
    }

    fn transport(
        by: Side,
        code: TransportErrorCode,
        reason: String,
        error: &ConnectionError,
    ) -> Self {
        if code == TransportErrorCode::CONNECTION_REFUSED {
            return Self::Refused;
        }
        // RFC 9000, section 10.2.3: before the handshake is over, this is all that a close with a code of ours says.
        if code == TransportErrorCode::APPLICATION_ERROR && by == Side::Peer {
            let code = CloseCode::Dropped;
            return Self::Closed { code, reason };
        }
        // RFC 9001, section 4.8: a TLS alert travels as 0x100 + alert.
        match u64::from(code)
            .checked_sub(0x100)
            .map(u8::try_from)
            .and_then(Result::ok)
        {
            Some(NO_APPLICATION_PROTOCOL) => Self::Version { by },
            Some(alert) => Self::Tls { by, alert, reason },
            None => Self::Transport {
                by,
                reason: error.to_string(),
            },
        }
    }

    /// The code that the peer closed with, where it is one of the table.
    #[must_use]
    pub fn code(&self) -> Option<CloseCode> {
        match self {
            Self::Closed { code, .. } => Some(*code),
            _ => None,
        }
    }
}

/// A peer's close reason as text of bounded length: it goes into logs and error messages.
fn text(reason: &[u8]) -> String {
    const MOST: usize = 1000;
    let text = String::from_utf8_lossy(&reason[..reason.len().min(MOST)]);
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(number: u32, reason: &'static [u8]) -> CloseReason {
        CloseReason::of(&ConnectionError::ApplicationClosed(
            quinn::ApplicationClose {
                error_code: VarInt::from_u32(number),
                reason: reason.into(),
            },
        ))
    }

    fn closed_by_quic(code: TransportErrorCode) -> CloseReason {
        CloseReason::of(&ConnectionError::ConnectionClosed(quinn::ConnectionClose {
            error_code: code,
            frame_type: None,
            reason: bytes::Bytes::new(),
        }))
    }

    #[test]
    fn every_code_comes_back_from_its_number_and_no_number_is_used_twice() {
        for (i, code) in CloseCode::ALL.iter().enumerate() {
            assert_eq!(CloseCode::from_u64(code.to_u32().into()), Some(*code));
            assert_eq!(usize::try_from(code.to_u32()).unwrap(), i);
            assert_eq!(VarInt::from(*code).into_inner(), u64::from(code.to_u32()));
        }
        assert_eq!(CloseCode::from_u64(11), None);
        assert_eq!(CloseCode::from_u64(u64::MAX), None);
    }

    #[test]
    fn a_peer_s_close_keeps_its_code_and_its_sentence() {
        let ending = closed(3, b"orders-1 connected again");
        assert_eq!(ending.code(), Some(CloseCode::Fenced));
        assert_eq!(
            ending,
            CloseReason::Closed {
                code: CloseCode::Fenced,
                reason: "orders-1 connected again".into()
            }
        );
    }

    #[test]
    fn a_number_of_a_later_version_is_told_as_it_is() {
        assert_eq!(
            closed(4711, b""),
            CloseReason::ClosedUnknown {
                number: 4711,
                reason: String::new()
            }
        );
    }

    #[test]
    fn a_hostile_reason_reaches_no_log_as_it_is() {
        let reason: &'static [u8] = Box::leak(vec![b'\n'; 100_000].into_boxed_slice());
        let CloseReason::Closed { reason, .. } = closed(1, reason) else {
            panic!("a close with a code")
        };
        assert_eq!(reason.len(), 1000);
        assert!(!reason.contains('\n'));
        let CloseReason::Closed { reason, .. } = closed(1, b"\xff\x1b[31mred") else {
            panic!("a close with a code")
        };
        assert!(reason.ends_with(" [31mred"), "{reason}");
    }

    #[test]
    fn tls_alerts_are_told_from_other_transport_errors() {
        assert_eq!(
            closed_by_quic(TransportErrorCode::crypto(116)),
            CloseReason::Tls {
                by: Side::Peer,
                alert: 116,
                reason: String::new()
            }
        );
        assert_eq!(
            closed_by_quic(TransportErrorCode::crypto(120)),
            CloseReason::Version { by: Side::Peer }
        );
        assert_eq!(
            closed_by_quic(TransportErrorCode::CONNECTION_REFUSED),
            CloseReason::Refused
        );
        // What is left of a close with a code while the handshake is not over.
        assert_eq!(
            closed_by_quic(TransportErrorCode::APPLICATION_ERROR).code(),
            Some(CloseCode::Dropped)
        );
        assert!(matches!(
            closed_by_quic(TransportErrorCode::PROTOCOL_VIOLATION),
            CloseReason::Transport { by: Side::Peer, .. }
        ));
    }
}
