//! Sans-I/O: why a connection was closed: the protocol's close codes, and the meaning of a `quinn::ConnectionError`.
//!
//! Either end closes a connection with a number of [`CloseCode`] and optionally a text for people. The numbers are part of
//! the protocol and are never reused.

use std::fmt;

use quinn::{ConnectionError, TransportErrorCode, VarInt};

use crate::text::{MAX_REASON, printable};

macro_rules! close_codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal $description:literal,)*) => {
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

            /// Returns the number on the wire.
            #[must_use]
            pub const fn to_u32(self) -> u32 {
                self as u32
            }

            /// Returns the code with this number; `None` if this version does not know the number.
            #[must_use]
            pub const fn from_u64(number: u64) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Returns the code in words, as part of an error message.
            #[must_use]
            pub const fn description(self) -> &'static str {
                match self {
                    $(Self::$name => $description,)*
                }
            }
        }
    };
}

close_codes! {
    /// No reason was given. quinn sends this number itself when the last handle of a connection is dropped, so a process
    /// that panicked closes with this code and not with [`CloseCode::Done`].
    Dropped = 0 "it dropped the connection without giving a reason",
    /// The closing end has finished with the connection and nothing failed.
    Done = 1 "it has finished with the connection",
    /// The token or the certificate is not accepted.
    Unauthorised = 2 "it does not accept our credentials",
    /// A later producer of the same name has taken over. The earlier one must not reconnect.
    Fenced = 3 "a later producer of the same name has taken over",
    /// The closing end received something that the protocol does not allow.
    Protocol = 4 "it received something that the protocol does not allow",
    /// The broker is shutting down. The client should try another one, or the same one later.
    GoingAway = 5 "it is shutting down",
    /// The client did not authenticate in time.
    HandshakeTimeout = 6 "the session was not opened in time",
    /// The client sent no ping for longer than the broker allows.
    Idle = 7 "it had received nothing for too long",
    /// The broker did not answer a ping within the client's timeout.
    Unresponsive = 8 "its pings were not answered",
    /// A limit of the broker is reached, such as that of connections.
    Limit = 9 "a limit of it is reached",
    /// The closing end failed for a reason unrelated to the peer.
    Internal = 10 "it failed",
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.description())
    }
}

impl From<CloseCode> for VarInt {
    fn from(code: CloseCode) -> Self {
        Self::from_u32(code.to_u32())
    }
}

/// Why a connection was closed: a `quinn::ConnectionError` in the terms of this protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// This end closed the connection.
    LocallyClosed,
    /// The peer closed the connection with a known code.
    Closed {
        /// The code.
        code: CloseCode,
        /// The peer's text, which may be empty.
        reason: String,
    },
    /// The peer closed the connection with a number that this version does not know.
    ClosedUnknown {
        /// The number.
        number: u64,
        /// The peer's text, which may be empty.
        reason: String,
    },
    /// Nothing was received from the peer within the idle timeout.
    TimedOut,
    /// The peer sent a stateless reset: it was restarted and no longer knows the connection.
    Reset,
    /// The server refused the connection before the handshake, because it is overloaded.
    Refused,
    /// The ends have no version in common, of this protocol (ALPN) or of QUIC.
    Version {
        /// The end that detected it.
        by: Side,
    },
    /// The TLS handshake failed.
    Tls {
        /// The end that closed the connection.
        by: Side,
        /// The TLS alert (RFC 8446, section 6).
        alert: u8,
        /// The text of that end's TLS library. The peer's is empty or short.
        reason: String,
    },
    /// QUIC failed: one end violated the transport protocol or ran out of a resource.
    Transport {
        /// The end that closed the connection.
        by: Side,
        /// quinn's text.
        reason: String,
    },
}

/// One end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// This end.
    Local,
    /// The other end.
    Peer,
}

/// The TLS alert `no_application_protocol`: the ends have no ALPN name in common.
const NO_APPLICATION_PROTOCOL: u8 = 120;

impl CloseReason {
    /// Converts quinn's error.
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
            ConnectionError::TimedOut => Self::TimedOut,
            ConnectionError::LocallyClosed => Self::LocallyClosed,
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
        // RFC 9000, section 10.2.3: before the handshake is complete, a close with an application's code is sent as this one.
        if code == TransportErrorCode::APPLICATION_ERROR && by == Side::Peer {
            let code = CloseCode::Dropped;
            return Self::Closed { code, reason };
        }
        // RFC 9001, section 4.8: a TLS alert is sent as 0x100 + alert.
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

    /// Returns the code with which the peer closed the connection, if it is a known one.
    #[must_use]
    pub fn code(&self) -> Option<CloseCode> {
        match self {
            Self::Closed { code, .. } => Some(*code),
            _ => None,
        }
    }
}

/// Converts a peer's close reason to text for logs and error messages.
fn text(reason: &[u8]) -> String {
    let reason = &reason[..reason.len().min(MAX_REASON)];
    printable(&String::from_utf8_lossy(reason), MAX_REASON)
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
