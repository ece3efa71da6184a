//! Pure: what kinds of failure there are, which of them pass by themselves, and how they are told from numbers.

use crate::{conn::quic::CloseCode, wire::FailureCode};

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What kind of failure a [`ConnectError`](super::ConnectError) is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ConnectErrorKind {
            $($(#[$doc])* $name,)*
        }

        impl ConnectErrorKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The label in metrics.
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
    /// The server's name stands for no address.
    UnknownHost,
    /// No local socket could be opened.
    NoSocket,
    /// Nobody answered.
    NoAnswer,
    /// The server turned the connection away before looking at it: it has too much to do.
    Busy,
    /// No authority that is trusted here has signed the server's certificate, or it is not the pinned one.
    Untrusted,
    /// The server's certificate is expired, or not valid yet.
    Expired,
    /// The server's certificate is for other names.
    WrongName,
    /// The server's certificate is no good in another way, or TLS failed in another way.
    Tls,
    /// The server speaks no version of the protocol that is spoken here.
    Version,
    /// The server does not accept the token, or what the certificate stands for.
    Unauthorised,
    /// The server asks for a client certificate, and none is configured.
    ClientCertificateRequired,
    /// The server does not accept the client certificate.
    ClientCertificateRefused,
    /// A later producer of the same name has taken over.
    Fenced,
    /// The server is shutting down.
    GoingAway,
    /// The server does not know the connection any more: it was restarted.
    Restarted,
    /// A limit of the server is reached.
    Limit,
    /// The server closed the connection for another reason, or without giving one.
    ClosedByPeer,
    /// The connection went silent: no packet within the idle timeout, or no pong within the ping timeout.
    Silent,
    /// The server sent what the protocol does not allow, or found that of us.
    Protocol,
    /// This end closed the connection.
    ClosedHere,
}

impl ConnectErrorKind {
    /// Whether a first connection may still come about with nothing changed on this side: what is retried until
    /// the connect timeout. The others are told at once.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        match self {
            Self::UnknownHost
            | Self::NoAnswer
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

    /// Whether a client that was connected before gives up for this. It comes back for ever after anything
    /// else: certificates are renewed, and sockets are free again.
    #[must_use]
    pub const fn ends_reconnecting(self) -> bool {
        match self {
            Self::Version
            | Self::Unauthorised
            | Self::ClientCertificateRequired
            | Self::ClientCertificateRefused
            | Self::Fenced => true,
            Self::UnknownHost
            | Self::NoSocket
            | Self::NoAnswer
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
        // What may happen to a broker's store, and what a later version may say.
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

/// What we found wrong with the server, by the alert that rustls sends for it.
pub(super) fn kind_of_our_alert(alert: u8, reason: &str) -> ConnectErrorKind {
    use ConnectErrorKind as K;
    match alert {
        // The last one is what becomes of an authority that has the name of a trusted one, and another key.
        alert::UNKNOWN_CA | alert::ACCESS_DENIED | alert::DECRYPT_ERROR => K::Untrusted,
        alert::CERTIFICATE_EXPIRED => K::Expired,
        // TLS has no alert of its own for a wrong name; a test holds rustls to these words.
        alert::BAD_CERTIFICATE if reason.contains("not valid for name") => K::WrongName,
        _ => K::Tls,
    }
}

/// What the server found wrong with us: in TLS that is the client certificate.
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
    fn what_is_retried_before_the_first_connection_and_what_after_it_is_a_table() {
        use ConnectErrorKind as K;
        // kind, retried before the first connection, retried after it
        let table = [
            (K::UnknownHost, true, true),
            (K::NoSocket, false, true),
            (K::NoAnswer, true, true),
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
        for (kind, first, later) in table {
            assert_eq!(kind.is_retryable(), first, "{kind:?}");
            assert_eq!(!kind.ends_reconnecting(), later, "{kind:?}");
        }
    }
}
