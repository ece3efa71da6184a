//! Sans-I/O: why a client is not connected, in one sentence with the server's address.

use std::{error::Error, fmt, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

mod kind;

pub use self::kind::ConnectErrorKind;
use self::kind::{alert, kind_of_code, kind_of_failure, kind_of_our_alert, kind_of_their_alert};
use crate::conn::{
    quic::{BindError, CloseCode, CloseReason, Side},
    tls::{ClientTls, Trust},
};
use crate::wire::Failure;

/// Error of a connection that could not be made or was lost. Prints in one line.
#[derive(Debug, Clone)]
pub struct ConnectError {
    server: String,
    address: Option<SocketAddr>,
    /// The connection was made and then lost.
    was_connected: bool,
    cause: Cause,
    trusted_by: TrustedBy,
    /// Whether another address or server may still accept the client.
    another_may_accept: bool,
}

/// What a client verifies a server's certificate with, for the sentence that says what to do about one that is not trusted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum TrustedBy {
    /// The authorities of the operating system: no others were given.
    System,
    /// The authorities in a file.
    File(PathBuf),
    /// Authorities, a fingerprint or a configuration given by the program.
    #[default]
    Program,
}

impl TrustedBy {
    pub(super) fn of(tls: &ClientTls) -> Self {
        match tls {
            ClientTls::Parts { trust, .. } => match trust {
                Trust::SystemRoots => Self::System,
                Trust::CaFile(path) => Self::File(path.clone()),
                Trust::CaPem(_) | Trust::Pinned(_) | Trust::DangerouslyAcceptAny => Self::Program,
            },
            ClientTls::Ready(_) => Self::Program,
        }
    }
}

/// What may be the reason where a server does not answer at all.
const LIKELY_CAUSES: &str =
    "it is not running, listens at another port, or UDP is blocked on the way";

/// What went wrong, as it was detected.
#[derive(Debug, Clone)]
pub(super) enum Cause {
    /// The name could not be resolved; with `None`, it has no usable address.
    Resolve(Option<Arc<io::Error>>),
    /// No local socket could be opened.
    Bind(Arc<BindError>),
    /// quinn refused to start the attempt.
    Unusable(quinn::ConnectError),
    /// The handshake is not completed yet, and the attempt goes on.
    NoAnswerYet,
    /// The handshake was not completed within this time.
    NoAnswer(Duration),
    /// The server's system reports that nothing listens at the port.
    PortClosed,
    /// The handshake was completed, and the session was not opened within this time.
    NoSession(Duration),
    /// The connection ended.
    Ended(CloseReason),
    /// The server refused on the control stream.
    Refused(Failure),
    /// The server sent invalid data, or a packet that is not allowed there.
    ProtocolViolation(String),
    /// No pong arrived within this time.
    NoPong(Duration),
    /// The server ended the control stream and did not close the connection.
    ControlStreamEnded,
}

impl ConnectError {
    /// Creates the error of an attempt to connect to `server`.
    pub(super) fn connecting(server: &str, address: Option<SocketAddr>, cause: Cause) -> Self {
        Self {
            server: server.into(),
            address,
            was_connected: false,
            cause,
            trusted_by: TrustedBy::default(),
            another_may_accept: false,
        }
    }

    /// Sets what the server's certificate is verified with.
    pub(super) fn with_trust(self, trusted_by: TrustedBy) -> Self {
        Self { trusted_by, ..self }
    }

    /// Returns the error of a call that waits no longer than `limit`: this one, or the silence within that time.
    pub(super) fn within(self: &Arc<Self>, limit: Duration) -> Arc<Self> {
        match self.cause {
            Cause::NoAnswerYet => Arc::new(Self {
                cause: Cause::NoAnswer(limit),
                ..Self::clone(self)
            }),
            _ => Arc::clone(self),
        }
    }

    /// Creates the error of a connection to `server` that was lost.
    pub(super) fn lost(server: &str, address: SocketAddr, cause: Cause) -> Self {
        Self {
            server: server.into(),
            address: Some(address),
            was_connected: true,
            cause,
            trusted_by: TrustedBy::default(),
            another_may_accept: false,
        }
    }

    /// Creates the error of a connection to `server` that this end closed.
    pub(super) fn closed_here(server: &str) -> Self {
        Self::connecting(server, None, Cause::Ended(CloseReason::LocallyClosed))
    }

    /// Returns the server as the options name it.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Returns the address that was tried; `None` if the attempt failed before.
    #[must_use]
    pub const fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Returns the code with which the server closed the connection, if it is a known one.
    #[must_use]
    pub fn close_code(&self) -> Option<CloseCode> {
        match &self.cause {
            Cause::Ended(reason) => reason.code(),
            _ => None,
        }
    }

    /// Returns whether waiting may help: whether another attempt may succeed without a change of the options, of files, or of
    /// the server. See [`ConnectErrorKind::is_retryable`].
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.another_may_accept || self.kind().is_retryable()
    }

    /// Joins this failure with the one of an address or a server that was tried before. A refusal says more than a timeout,
    /// and a final one says most. Between two of the same kind, the earlier one counts.
    pub(super) fn or(self, before: Self) -> Self {
        let weight = |error: &Self| {
            let kind = error.kind();
            u8::from(!kind.is_retryable()) + u8::from(kind.is_final())
        };
        let another_may_accept = self.is_retryable() || before.is_retryable();
        let joined = match weight(&before) >= weight(&self) {
            true => before,
            false => self,
        };
        Self {
            another_may_accept,
            ..joined
        }
    }

    /// Returns the kind of failure.
    #[must_use]
    pub fn kind(&self) -> ConnectErrorKind {
        use ConnectErrorKind as K;
        match &self.cause {
            Cause::Resolve(_) => K::UnknownHost,
            Cause::Bind(_) | Cause::Unusable(_) => K::NoSocket,
            Cause::NoAnswerYet | Cause::NoAnswer(_) | Cause::NoSession(_) => K::NoAnswer,
            Cause::PortClosed => K::PortClosed,
            Cause::Ended(reason) => self.kind_of(reason),
            Cause::Refused(failure) => kind_of_failure(failure.code),
            Cause::ProtocolViolation(_) => K::Protocol,
            Cause::NoPong(_) => K::Silent,
            // A server does this if its task for the session failed. Another attempt may succeed.
            Cause::ControlStreamEnded => K::ClosedByPeer,
        }
    }

    fn kind_of(&self, reason: &CloseReason) -> ConnectErrorKind {
        use ConnectErrorKind as K;
        match reason {
            CloseReason::LocallyClosed => K::ClosedHere,
            CloseReason::Closed { code, .. } => kind_of_code(*code),
            CloseReason::ClosedUnknown { .. } => K::ClosedByPeer,
            CloseReason::TimedOut if self.was_connected => K::Silent,
            CloseReason::TimedOut => K::NoAnswer,
            CloseReason::Reset => K::Restarted,
            CloseReason::Refused => K::Busy,
            CloseReason::Version { .. } => K::Version,
            CloseReason::Tls {
                by: Side::Local,
                alert,
                reason,
            } => kind_of_our_alert(*alert, reason),
            CloseReason::Tls {
                by: Side::Peer,
                alert,
                ..
            } => kind_of_their_alert(*alert),
            CloseReason::Transport { .. } => K::Protocol,
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.was_connected {
            write!(f, "lost the connection to {}", self.server)?;
        } else {
            write!(f, "cannot connect to {}", self.server)?;
        }
        if let Some(address) = self.address
            && address.to_string() != self.server
        {
            write!(f, " ({address})")?;
        }
        f.write_str(": ")?;
        self.write_cause(f)
    }
}

impl ConnectError {
    fn write_cause(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Cause::Resolve(Some(_)) => f.write_str("the name does not resolve"),
            Cause::Resolve(None) => f.write_str("the name has no usable address"),
            Cause::Bind(error) => write!(f, "{error}"),
            Cause::Unusable(error) => write!(f, "{error}"),
            Cause::NoAnswerYet => write!(f, "no answer yet; {LIKELY_CAUSES}"),
            Cause::NoAnswer(limit) => {
                let limit = rounded(*limit);
                write!(f, "no answer within {limit:?}; {LIKELY_CAUSES}")
            }
            Cause::PortClosed => f.write_str(
                "nothing listens at this port: it is not running, or listens at another port",
            ),
            Cause::NoSession(limit) => {
                let limit = rounded(*limit);
                write!(f, "it did not open the session within {limit:?}")
            }
            Cause::NoPong(limit) => {
                write!(f, "it did not answer a ping within {:?}", rounded(*limit))
            }
            Cause::ControlStreamEnded => {
                f.write_str("it ended the session without closing the connection")
            }
            Cause::ProtocolViolation(what) => write!(f, "it violates the protocol: {what}"),
            Cause::Refused(failure) => {
                let sentence = match self.kind() {
                    ConnectErrorKind::Unauthorised => CloseCode::Unauthorised.description(),
                    ConnectErrorKind::Fenced => CloseCode::Fenced.description(),
                    ConnectErrorKind::GoingAway => CloseCode::GoingAway.description(),
                    ConnectErrorKind::Limit => CloseCode::Limit.description(),
                    ConnectErrorKind::Protocol => CloseCode::Protocol.description(),
                    _ => "it refused",
                };
                f.write_str(sentence)?;
                detail(f, &failure.detail)
            }
            Cause::Ended(reason) => self.write_close_reason(reason, f),
        }
    }

    fn write_close_reason(&self, reason: &CloseReason, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use ConnectErrorKind as K;
        match reason {
            CloseReason::LocallyClosed => f.write_str("this end closed it"),
            CloseReason::Closed { code, reason } => {
                write!(f, "{code}")?;
                detail(f, reason)
            }
            CloseReason::ClosedUnknown { number, reason } => {
                write!(f, "it closed with the unknown code {number}")?;
                detail(f, reason)
            }
            CloseReason::TimedOut if self.was_connected => f.write_str("it stopped answering"),
            CloseReason::TimedOut => write!(f, "no answer; {LIKELY_CAUSES}"),
            CloseReason::Reset => f.write_str("it does not know the connection: it was restarted"),
            CloseReason::Refused => f.write_str("it accepts no connections now"),
            CloseReason::Version { .. } => {
                write!(f, "it does not speak {}", crate::conn::tls::ALPN)
            }
            CloseReason::Tls {
                by: Side::Local,
                reason,
                alert,
            } => {
                let sentence = match kind_of_our_alert(*alert, reason) {
                    K::Untrusted if *alert == alert::ACCESS_DENIED => {
                        return f.write_str("its certificate is not the one that is pinned");
                    }
                    K::Untrusted => return self.write_untrusted(f),
                    K::Expired => "its certificate is expired or not valid yet",
                    K::WrongName => "its certificate is for another name",
                    _ => "its certificate or its handshake is invalid",
                };
                f.write_str(sentence)?;
                detail(f, &plain(reason))
            }
            CloseReason::Tls {
                by: Side::Peer,
                reason,
                alert,
            } => {
                match kind_of_their_alert(*alert) {
                    K::ClientCertificateRequired => {
                        return f
                            .write_str("it asks for a client certificate, and none is configured");
                    }
                    K::ClientCertificateRefused => {
                        f.write_str("it does not accept our client certificate")?;
                    }
                    _ => f.write_str("it gave up the TLS handshake")?,
                }
                write!(f, " (TLS alert {alert})")?;
                detail(f, reason)
            }
            CloseReason::Transport { reason, .. } => {
                f.write_str("QUIC failed")?;
                detail(f, reason)
            }
        }
    }
}

impl ConnectError {
    /// Writes that the certificate is not trusted, why, and what to do.
    fn write_untrusted(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("its certificate is not signed by an authority that is trusted here; ")?;
        match &self.trusted_by {
            TrustedBy::System => f.write_str(
                "no CA file was given, so only the authorities of the operating system are trusted: give the \
                 broker's (`--ca DIR/ca.pem` with the broker's data folder, `Trust::CaFile`)",
            ),
            TrustedBy::File(path) => write!(
                f,
                "{} holds another CA than this broker's: give the file from the broker's data folder \
                 (`--ca DIR/ca.pem`, `Trust::CaFile`)",
                path.display()
            ),
            TrustedBy::Program => f.write_str(
                "the program was given another CA: give the broker's (`Trust::CaFile`, `Trust::CaPem`)",
            ),
        }
    }
}

/// Rounds what was left of a time limit to milliseconds, because the steps before the attempt have used a little of it.
fn rounded(limit: Duration) -> Duration {
    let half = Duration::from_micros(500);
    Duration::from_millis(u64::try_from((limit + half).as_millis()).unwrap_or(u64::MAX))
}

/// Removes the names of rustls' types from its text about a certificate.
fn plain(reason: &str) -> String {
    let reason = reason.trim_start_matches("invalid peer certificate: ");
    let Some((before, names)) = reason.split_once("only valid for ") else {
        return reason.into();
    };
    let names = names
        .replace("DnsName(\"", "")
        .replace("\")", "")
        .replace("IpAddress(", "")
        .replace(')', "");
    format!("{before}only valid for {names}")
}

/// Appends the peer's or a library's text, in one line.
fn detail(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    if text.is_empty() {
        return Ok(());
    }
    f.write_str(": ")?;
    text.split(char::is_control)
        .enumerate()
        .try_for_each(|(i, part)| match i {
            0 => f.write_str(part),
            _ => write!(f, " {part}"),
        })
}

impl Error for ConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.cause {
            Cause::Resolve(Some(error)) => Some(error.as_ref()),
            Cause::Bind(error) => error.source(),
            Cause::Resolve(None)
            | Cause::Unusable(_)
            | Cause::NoAnswerYet
            | Cause::NoAnswer(_)
            | Cause::PortClosed
            | Cause::NoSession(_)
            | Cause::Ended(_)
            | Cause::Refused(_)
            | Cause::ProtocolViolation(_)
            | Cause::NoPong(_)
            | Cause::ControlStreamEnded => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::FailureCode;

    fn ended(reason: CloseReason) -> ConnectError {
        ConnectError::connecting("broker.example:4433", None, Cause::Ended(reason))
    }

    #[test]
    fn every_close_code_has_a_kind_and_a_sentence_with_the_server_s_words() {
        for code in CloseCode::ALL {
            let error = ended(CloseReason::Closed {
                code: *code,
                reason: "disk full".into(),
            });
            assert_eq!(error.close_code(), Some(*code));
            assert_eq!(error.kind(), kind_of_code(*code));
            let text = error.to_string();
            let whole = format!(
                "cannot connect to broker.example:4433: {}: disk full",
                code.description()
            );
            assert_eq!(text, whole);
        }
    }

    #[test]
    fn a_refusal_on_the_session_and_one_in_the_close_are_the_same_to_the_caller() {
        for (failure, code) in [
            (FailureCode::Unauthorised, CloseCode::Unauthorised),
            (FailureCode::Fenced, CloseCode::Fenced),
            (FailureCode::Closing, CloseCode::GoingAway),
            (FailureCode::Limit, CloseCode::Limit),
            (FailureCode::Protocol, CloseCode::Protocol),
        ] {
            let detail = String::from("because");
            let closed = ended(CloseReason::Closed {
                code,
                reason: detail.clone(),
            });
            let refused = ConnectError::connecting(
                "broker.example:4433",
                None,
                Cause::Refused(Failure {
                    code: failure,
                    detail,
                }),
            );
            assert_eq!(refused.kind(), closed.kind());
            assert_eq!(refused.to_string(), closed.to_string());
        }
    }

    #[test]
    fn the_address_is_told_where_it_is_not_the_server_s_text() {
        let address = "192.0.2.7:4433".parse().unwrap();
        let slow = || Cause::NoAnswer(Duration::from_secs(5));
        assert_eq!(
            ConnectError::connecting("b.example:4433", Some(address), slow()).to_string(),
            format!(
                "cannot connect to b.example:4433 (192.0.2.7:4433): no answer within 5s; {LIKELY_CAUSES}"
            )
        );
        assert_eq!(
            ConnectError::connecting("192.0.2.7:4433", Some(address), slow()).to_string(),
            format!("cannot connect to 192.0.2.7:4433: no answer within 5s; {LIKELY_CAUSES}")
        );
        assert_eq!(
            ConnectError::lost(
                "192.0.2.7:4433",
                address,
                Cause::Ended(CloseReason::TimedOut)
            )
            .to_string(),
            "lost the connection to 192.0.2.7:4433: it stopped answering"
        );
    }

    #[test]
    fn a_limit_is_told_as_it_was_set_although_some_of_it_had_passed() {
        let cause = Cause::NoAnswer(Duration::from_nanos(999_977_857));
        let error = ConnectError::connecting("x:1", None, cause);
        assert_eq!(
            error.to_string(),
            format!("cannot connect to x:1: no answer within 1s; {LIKELY_CAUSES}")
        );
    }

    #[test]
    fn a_certificate_that_is_not_trusted_is_told_with_its_cure_without_a_ca_and_with_another() {
        let untrusted = |tls: &ClientTls| {
            let error = ended(CloseReason::Tls {
                by: Side::Local,
                alert: alert::UNKNOWN_CA,
                reason: "unknown issuer".into(),
            });
            error.with_trust(TrustedBy::of(tls)).to_string()
        };
        let none = untrusted(&ClientTls::default());
        let other = untrusted(&ClientTls::ca_file("/etc/old.pem"));
        let text = untrusted(&ClientTls::trusting(Trust::CaPem(vec![])));
        for (sentence, words) in [
            (&none, ["no CA file was given", "`--ca DIR/ca.pem`"]),
            (
                &other,
                ["/etc/old.pem holds another CA", "`--ca DIR/ca.pem`"],
            ),
            (&text, ["another CA", "`Trust::CaPem`"]),
        ] {
            for words in words {
                assert!(sentence.contains(words), "{sentence}");
            }
            assert!(sentence.contains("`Trust::CaFile`"), "{sentence}");
        }
    }

    #[test]
    fn the_names_of_a_certificate_are_told_without_the_types_of_a_library() {
        let error = ended(CloseReason::Tls {
            by: Side::Local,
            alert: 42,
            reason: "invalid peer certificate: certificate not valid for name \"b\"; certificate is only \
                     valid for DnsName(\"a\"), IpAddress(127.0.0.1) or IpAddress(0::1)"
                .into(),
        });
        let text = error.to_string();
        assert!(
            text.ends_with("for name \"b\"; certificate is only valid for a, 127.0.0.1 or 0::1"),
            "{text}"
        );
    }

    #[test]
    fn silence_before_and_after_the_connection_stood_are_two_things() {
        assert_eq!(
            ended(CloseReason::TimedOut).kind(),
            ConnectErrorKind::NoAnswer
        );
        let address = "192.0.2.7:4433".parse().unwrap();
        let lost = ConnectError::lost("x:1", address, Cause::Ended(CloseReason::TimedOut));
        assert_eq!(lost.kind(), ConnectErrorKind::Silent);
    }
}
