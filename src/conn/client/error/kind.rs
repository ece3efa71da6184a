//! Sans-I/O: the kinds of connection failures, which of them are retried, and how codes and alerts map to them.

use crate::{conn::quic::CloseCode, wire::FailureCode};

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The kind of a [`ConnectError`](super::ConnectError).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ConnectErrorKind {
            $($(#[$doc])* $name,)*
        }

        impl ConnectErrorKind {
            /// Every kind, in the order of their declaration.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Returns the label in metrics.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }
        }
    };
}

kinds! {
    /// The server's name could not be resolved.
    UnknownHost,
    /// No local socket could be opened.
    NoSocket,
    /// The server did not answer in time.
    NoAnswer,
    /// The server's system reports that nothing listens at the port.
    PortClosed,
    /// The server refused the connection before the handshake, because it is overloaded.
    Busy,
    /// The server's certificate is not signed by a trusted authority, or is not the pinned one.
    Untrusted,
    /// The server's certificate has expired or is not valid yet.
    Expired,
    /// The server's certificate is for other names.
    WrongName,
    /// The server's certificate is invalid in another way, or TLS failed in another way.
    Tls,
    /// The server and this client have no version of the protocol in common.
    Version,
    /// The server does not accept the token, or the client certificate gives no right to connect.
    Unauthorised,
    /// The server requires a client certificate, and none is configured.
    ClientCertificateRequired,
    /// The server does not accept the client certificate.
    ClientCertificateRefused,
    /// A later producer of the same name has taken over.
    Fenced,
    /// The server is shutting down.
    GoingAway,
    /// The server was restarted and no longer knows the connection.
    Restarted,
    /// A limit of the server, such as that of its connections, is reached.
    Limit,
    /// The server closed the connection for another reason, or without giving one.
    ClosedByPeer,
    /// Nothing was received within the idle timeout, or no pong within the ping timeout.
    Silent,
    /// One end received something that the protocol does not allow.
    Protocol,
    /// This end closed the connection.
    ClosedHere,
}

impl ConnectErrorKind {
    /// Returns whether waiting may help: whether another attempt may succeed without a change of the options, of files, or
    /// of the server. A call that waits for the first connection returns the other failures at once. The client itself goes
    /// on trying after all but those that are [final](Self::is_final).
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        match self {
            Self::UnknownHost
            | Self::NoAnswer
            | Self::PortClosed
            | Self::Busy
            | Self::GoingAway
            | Self::Restarted
            | Self::Limit
            | Self::ClosedByPeer
            | Self::Silent => true,
            Self::NoSocket
            | Self::Untrusted
            | Self::Expired
            | Self::WrongName
            | Self::Tls
            | Self::Version
            | Self::Unauthorised
            | Self::ClientCertificateRequired
            | Self::ClientCertificateRefused
            | Self::Fenced
            | Self::Protocol
            | Self::ClosedHere => false,
        }
    }

    /// Returns whether the client stops trying after this failure, before its first connection as after its hundredth. After
    /// all others it tries without end: servers start, certificates are renewed, clocks are set, sockets become free.
    ///
    /// Credentials in files, and those of a function, are read again first. If they have changed, the client goes on.
    #[must_use]
    pub const fn is_final(self) -> bool {
        match self {
            Self::Version
            | Self::Unauthorised
            | Self::ClientCertificateRequired
            | Self::ClientCertificateRefused
            | Self::Fenced => true,
            Self::UnknownHost
            | Self::NoSocket
            | Self::NoAnswer
            | Self::PortClosed
            | Self::Busy
            | Self::Untrusted
            | Self::Expired
            | Self::WrongName
            | Self::Tls
            | Self::GoingAway
            | Self::Restarted
            | Self::Limit
            | Self::ClosedByPeer
            | Self::Silent
            | Self::Protocol
            | Self::ClosedHere => false,
        }
    }

    /// Returns whether the server refused the client's token or certificate.
    pub(in crate::conn::client) const fn refuses_credentials(self) -> bool {
        matches!(
            self,
            Self::Unauthorised | Self::ClientCertificateRequired | Self::ClientCertificateRefused
        )
    }
}

pub(super) const fn kind_of_code(code: CloseCode) -> ConnectErrorKind {
    use ConnectErrorKind as K;
    match code {
        CloseCode::Unauthorised => K::Unauthorised,
        CloseCode::Fenced => K::Fenced,
        CloseCode::Protocol => K::Protocol,
        CloseCode::GoingAway => K::GoingAway,
        CloseCode::Limit => K::Limit,
        CloseCode::Idle | CloseCode::Unresponsive => K::Silent,
        CloseCode::Dropped
        | CloseCode::Done
        | CloseCode::HandshakeTimeout
        | CloseCode::Internal => K::ClosedByPeer,
    }
}

pub(super) fn kind_of_failure(code: FailureCode) -> ConnectErrorKind {
    use ConnectErrorKind as K;
    match code {
        FailureCode::Unauthorised | FailureCode::Forbidden => K::Unauthorised,
        FailureCode::Fenced => K::Fenced,
        FailureCode::Closing => K::GoingAway,
        FailureCode::Limit => K::Limit,
        FailureCode::Protocol | FailureCode::TooLarge => K::Protocol,
        // Failures of the broker's store, and codes of later versions.
        _ => K::ClosedByPeer,
    }
}

/// TLS alerts, RFC 8446 section 6.
pub(super) mod alert {
    pub(in crate::conn::client::error) const BAD_CERTIFICATE: u8 = 42;
    pub(in crate::conn::client::error) const UNSUPPORTED_CERTIFICATE: u8 = 43;
    pub(in crate::conn::client::error) const CERTIFICATE_REVOKED: u8 = 44;
    pub(in crate::conn::client::error) const CERTIFICATE_EXPIRED: u8 = 45;
    pub(in crate::conn::client::error) const CERTIFICATE_UNKNOWN: u8 = 46;
    pub(in crate::conn::client::error) const UNKNOWN_CA: u8 = 48;
    pub(in crate::conn::client::error) const ACCESS_DENIED: u8 = 49;
    pub(in crate::conn::client::error) const DECRYPT_ERROR: u8 = 51;
    pub(in crate::conn::client::error) const CERTIFICATE_REQUIRED: u8 = 116;
}

/// Returns the kind of a failure that this end found in the server's handshake, by the alert that rustls sends for it.
pub(super) fn kind_of_our_alert(alert: u8, reason: &str) -> ConnectErrorKind {
    use ConnectErrorKind as K;
    match alert {
        // DECRYPT_ERROR: the certificate names a trusted authority but was signed with another key.
        alert::UNKNOWN_CA | alert::ACCESS_DENIED | alert::DECRYPT_ERROR => K::Untrusted,
        alert::CERTIFICATE_EXPIRED => K::Expired,
        // TLS has no alert for a wrong name. A test checks that rustls still uses these words.
        alert::BAD_CERTIFICATE if reason.contains("not valid for name") => K::WrongName,
        _ => K::Tls,
    }
}

/// Returns the kind of a failure that the server found in this end's handshake, which is a failure of the client
/// certificate.
pub(super) const fn kind_of_their_alert(alert: u8) -> ConnectErrorKind {
    use ConnectErrorKind as K;
    match alert {
        alert::CERTIFICATE_REQUIRED => K::ClientCertificateRequired,
        alert::BAD_CERTIFICATE
        | alert::UNSUPPORTED_CERTIFICATE
        | alert::CERTIFICATE_REVOKED
        | alert::CERTIFICATE_EXPIRED
        | alert::CERTIFICATE_UNKNOWN
        | alert::UNKNOWN_CA
        | alert::ACCESS_DENIED
        | alert::DECRYPT_ERROR => K::ClientCertificateRefused,
        _ => K::Tls,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waiting_may_help_and_what_is_tried_without_end_is_a_table() {
        use ConnectErrorKind as K;
        // kind, whether waiting may help, whether it is tried without end
        let table = [
            (K::UnknownHost, true, true),
            (K::NoSocket, false, true),
            (K::NoAnswer, true, true),
            (K::PortClosed, true, true),
            (K::Busy, true, true),
            (K::Untrusted, false, true),
            (K::Expired, false, true),
            (K::WrongName, false, true),
            (K::Tls, false, true),
            (K::Version, false, false),
            (K::Unauthorised, false, false),
            (K::ClientCertificateRequired, false, false),
            (K::ClientCertificateRefused, false, false),
            (K::Fenced, false, false),
            (K::GoingAway, true, true),
            (K::Restarted, true, true),
            (K::Limit, true, true),
            (K::ClosedByPeer, true, true),
            (K::Silent, true, true),
            (K::Protocol, false, true),
            (K::ClosedHere, false, true),
        ];
        let kinds: Vec<_> = table.iter().map(|row| row.0).collect();
        assert_eq!(kinds, K::ALL);
        for (kind, waiting, trying) in table {
            assert_eq!(kind.is_retryable(), waiting, "{kind:?}");
            assert_eq!(!kind.is_final(), trying, "{kind:?}");
        }
    }
}
