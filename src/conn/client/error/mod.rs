//! Pure: why there is no connection, or no longer one, in one sentence with the server's address.

use std::{error::Error, fmt, io, net::SocketAddr, sync::Arc, time::Duration};

mod kind;

pub use self::kind::ConnectErrorKind;
use self::kind::{alert, kind_of_code, kind_of_failure, kind_of_our_alert, kind_of_their_alert};
use crate::conn::quic::{BindError, CloseCode, CloseReason, Side};
use crate::wire::Failure;

/// There is no connection to a server, or no longer one.
#[derive(Debug, Clone)]
pub struct ConnectError {
    server: String,
    address: Option<SocketAddr>,
    /// The session stood before.
    was_up: bool,
    cause: Cause,
}

/// What happened, as it was found out.
#[derive(Debug, Clone)]
pub(super) enum Cause {
    /// The name could not be looked up, or there is no address behind it.
    Resolve(Option<Arc<io::Error>>),
    /// There is no socket to connect from.
    Bind(Arc<BindError>),
    /// quinn does not even begin.
    Unusable(quinn::ConnectError),
    /// Nothing came of an attempt within this time.
    TooSlow(Duration),
    /// The server answered, and nothing came of the session within this time.
    NoSession(Duration),
    /// The connection ended.
    Ended(CloseReason),
    /// The server answered with a refusal on the session stream.
    Refused(Failure),
    /// The server sent something that is no packet, or not one that belongs there.
    Nonsense(String),
    /// No pong came within this time.
    NoPong(Duration),
    /// The server ended the stream of the session, and the connection still stands.
    SessionEnded,
}

impl ConnectError {
    /// That no connection to `server` came about.
    pub(super) fn connecting(server: &str, address: Option<SocketAddr>, cause: Cause) -> Self {
        Self {
            server: server.into(),
            address,
            was_up: false,
            cause,
        }
    }

    /// That a connection to `server` was lost.
    pub(super) fn lost(server: &str, address: SocketAddr, cause: Cause) -> Self {
        Self {
            server: server.into(),
            address: Some(address),
            was_up: true,
            cause,
        }
    }

    /// The server, as it stands in the options.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The address that was tried, where it came to that.
    #[must_use]
    pub const fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The code that the server closed with, where it gave one of the table.
    #[must_use]
    pub fn close_code(&self) -> Option<CloseCode> {
        match &self.cause {
            Cause::Ended(ending) => ending.code(),
            _ => None,
        }
    }

    /// Whether the same attempt, with nothing changed here, may still succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.kind().is_retryable()
    }

    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ConnectErrorKind {
        use ConnectErrorKind as K;
        match &self.cause {
            Cause::Resolve(_) => K::UnknownHost,
            Cause::Bind(_) | Cause::Unusable(_) => K::NoSocket,
            Cause::TooSlow(_) | Cause::NoSession(_) => K::NoAnswer,
            Cause::Ended(ending) => self.kind_of(ending),
            Cause::Refused(failure) => kind_of_failure(failure.code),
            Cause::Nonsense(_) => K::Protocol,
            Cause::NoPong(_) => K::Silent,
            // What a server does whose task for this session failed. The next one may fare better.
            Cause::SessionEnded => K::ClosedByPeer,
        }
    }

    fn kind_of(&self, ending: &CloseReason) -> ConnectErrorKind {
        use ConnectErrorKind as K;
        match ending {
            CloseReason::Ours => K::ClosedHere,
            CloseReason::Closed { code, .. } => kind_of_code(*code),
            CloseReason::ClosedUnknown { .. } => K::ClosedByPeer,
            CloseReason::Silent if self.was_up => K::Silent,
            CloseReason::Silent => K::NoAnswer,
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
        if self.was_up {
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
        self.because(f)
    }
}

impl ConnectError {
    fn because(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Cause::Resolve(Some(_)) => f.write_str("the name does not resolve"),
            Cause::Resolve(None) => f.write_str("the name stands for no address that can be used"),
            Cause::Bind(error) => write!(f, "{error}"),
            Cause::Unusable(error) => write!(f, "{error}"),
            Cause::TooSlow(limit) => write!(f, "nobody answered within {:?}", rounded(*limit)),
            Cause::NoSession(limit) => {
                let limit = rounded(*limit);
                write!(f, "it did not open the session within {limit:?}")
            }
            Cause::NoPong(limit) => {
                write!(f, "it did not answer a ping within {:?}", rounded(*limit))
            }
            Cause::SessionEnded => f.write_str("it ended the session and not the connection"),
            Cause::Nonsense(what) => write!(f, "it breaks the protocol: {what}"),
            Cause::Refused(failure) => {
                let sentence = match self.kind() {
                    ConnectErrorKind::Unauthorised => CloseCode::Unauthorised.sentence(),
                    ConnectErrorKind::Fenced => CloseCode::Fenced.sentence(),
                    ConnectErrorKind::GoingAway => CloseCode::GoingAway.sentence(),
                    ConnectErrorKind::Limit => CloseCode::Limit.sentence(),
                    ConnectErrorKind::Protocol => CloseCode::Protocol.sentence(),
                    _ => "it refused",
                };
                f.write_str(sentence)?;
                detail(f, &failure.detail)
            }
            Cause::Ended(ending) => self.ended(ending, f),
        }
    }

    fn ended(&self, ending: &CloseReason, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use ConnectErrorKind as K;
        match ending {
            CloseReason::Ours => f.write_str("this end closed it"),
            CloseReason::Closed { code, reason } => {
                write!(f, "{code}")?;
                detail(f, reason)
            }
            CloseReason::ClosedUnknown { number, reason } => {
                write!(f, "it closed with the unknown code {number}")?;
                detail(f, reason)
            }
            CloseReason::Silent if self.was_up => f.write_str("nothing was heard of it any more"),
            CloseReason::Silent => f.write_str("nobody answered"),
            CloseReason::Reset => f.write_str("it does not know the connection: it was restarted"),
            CloseReason::Refused => f.write_str("it takes no connections now"),
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
                    K::Untrusted => {
                        return f.write_str(
                            "no authority that is trusted here has signed its certificate",
                        );
                    }
                    K::Expired => "its certificate is expired or not valid yet",
                    K::WrongName => "its certificate is for another name",
                    _ => "its certificate or its handshake is no good",
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

/// What was left of a limit, to the millisecond: what came before the attempt has taken a little of it.
fn rounded(limit: Duration) -> Duration {
    let half = Duration::from_micros(500);
    Duration::from_millis(u64::try_from((limit + half).as_millis()).unwrap_or(u64::MAX))
}

/// What rustls says of a certificate, without the names of its types.
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

fn detail(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    if text.is_empty() {
        Ok(())
    } else {
        write!(f, ": {text}")
    }
}

impl Error for ConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.cause {
            Cause::Resolve(Some(error)) => Some(error.as_ref()),
            Cause::Bind(error) => error.source(),
            Cause::Resolve(None)
            | Cause::Unusable(_)
            | Cause::TooSlow(_)
            | Cause::NoSession(_)
            | Cause::Ended(_)
            | Cause::Refused(_)
            | Cause::Nonsense(_)
            | Cause::NoPong(_)
            | Cause::SessionEnded => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::FailureCode;

    fn ended(ending: CloseReason) -> ConnectError {
        ConnectError::connecting("broker.example:4433", None, Cause::Ended(ending))
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
                code.sentence()
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
        let slow = || Cause::TooSlow(Duration::from_secs(5));
        assert_eq!(
            ConnectError::connecting("b.example:4433", Some(address), slow()).to_string(),
            "cannot connect to b.example:4433 (192.0.2.7:4433): nobody answered within 5s"
        );
        assert_eq!(
            ConnectError::connecting("192.0.2.7:4433", Some(address), slow()).to_string(),
            "cannot connect to 192.0.2.7:4433: nobody answered within 5s"
        );
        assert_eq!(
            ConnectError::lost("192.0.2.7:4433", address, Cause::Ended(CloseReason::Silent))
                .to_string(),
            "lost the connection to 192.0.2.7:4433: nothing was heard of it any more"
        );
    }

    #[test]
    fn a_limit_is_told_as_it_was_set_although_some_of_it_had_passed() {
        let cause = Cause::TooSlow(Duration::from_nanos(999_977_857));
        let error = ConnectError::connecting("x:1", None, cause);
        assert_eq!(
            error.to_string(),
            "cannot connect to x:1: nobody answered within 1s"
        );
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
            ended(CloseReason::Silent).kind(),
            ConnectErrorKind::NoAnswer
        );
        let address = "192.0.2.7:4433".parse().unwrap();
        let lost = ConnectError::lost("x:1", address, Cause::Ended(CloseReason::Silent));
        assert_eq!(lost.kind(), ConnectErrorKind::Silent);
    }
}
