//! The task behind a supervisor: rounds of attempts, and the session of the connection that came of them.

use std::{sync::Arc, time::Instant};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{ConnectionState, closed_here};
use crate::conn::{
    client::{
        backoff::Backoff,
        config::{Config, Target},
        dial::Dialer,
        endpoints::{Endpoints, client_config},
        error::{Cause, ConnectError, ConnectErrorKind},
        ping::Pings,
        session::Session,
        session_stream::{self, Desk, PingStats, SessionStream},
    },
    quic::CloseCode,
    tls::TlsError,
};
use crate::{
    metrics::connection as metrics,
    ordered_watch, time,
    wire::{Connect, ProducerIdentity},
};

/// How many may ask for a ping before the session has taken note of the first.
const CHECKS: usize = 8;

/// Before or after the first connection.
#[derive(Debug, Clone)]
enum Phase {
    First {
        deadline: Instant,
    },
    Again {
        lost: Arc<ConnectError>,
        since: Instant,
    },
}

impl Phase {
    const fn gives_up(&self, kind: ConnectErrorKind) -> bool {
        match self {
            Self::First { .. } => !kind.is_retryable(),
            Self::Again { .. } => kind.ends_reconnecting(),
        }
    }

    const fn deadline(&self) -> Option<Instant> {
        match self {
            Self::First { deadline } => Some(*deadline),
            Self::Again { .. } => None,
        }
    }
}

/// What one attempt with every server came to.
struct Failed {
    error: Arc<ConnectError>,
    give_up: bool,
}

/// The task that owns the connection.
pub(super) struct Task {
    config: Config,
    /// One interval in so many brings a ping while nothing is sent.
    rest: u32,
    targets: Vec<Target>,
    dialer: Dialer,
    connect: Connect,
    backoff: Backoff,
    publish: ordered_watch::Sender<ConnectionState>,
    stop: CancellationToken,
    /// The server to try first.
    begin_with: usize,
    /// How many links there have been.
    links: u64,
}

impl Task {
    /// The task for options that are checked.
    ///
    /// # Errors
    ///
    /// Files that cannot be used.
    pub(super) fn new(
        config: Config,
        producer: Option<ProducerIdentity>,
        publish: ordered_watch::Sender<ConnectionState>,
        stop: CancellationToken,
    ) -> Result<Self, TlsError> {
        let tls = client_config(config.tls.to_rustls()?)?;
        let mut transport = config.transport.clone();
        // Who only reads waits for what the broker sends. A producer that sends nothing waits for nothing, but for an
        // answer that takes longer than an interval.
        let rest = match producer {
            Some(_) => config.resting(),
            None => 1,
        };
        // While flow control holds a ping back, this shows whether the broker lives.
        transport
            .keep_alive
            .get_or_insert((config.ping_interval * rest).mul_f32(1.5));
        let endpoints = Arc::new(Endpoints::new(
            Arc::clone(&config.network),
            transport.clone(),
            config.local_address,
        ));
        Ok(Self {
            targets: config
                .targets()
                .expect("the servers were checked a moment ago"),
            dialer: Dialer {
                network: Arc::clone(&config.network),
                endpoints,
                tls,
                transport,
            },
            connect: Connect {
                token: config.token.as_bytes().clone(),
                producer,
            },
            backoff: Backoff::new(config.reconnect_backoff),
            rest,
            config,
            publish,
            stop,
            begin_with: 0,
            links: 0,
        })
    }

    /// The endpoints from which it connects.
    pub(super) fn endpoints(&self) -> Arc<Endpoints> {
        Arc::clone(&self.dialer.endpoints)
    }

    pub(super) async fn run(mut self) {
        let error = self.keep_up().await;
        if error.kind() == ConnectErrorKind::ClosedHere {
            tracing::debug!("the connection is closed");
        } else {
            tracing::warn!(%error, "there will be no connection any more");
        }
        self.publish.send_replace(ConnectionState::Closed(error));
    }

    /// Keeps a connection until there is a reason to have none, and returns it.
    async fn keep_up(&mut self) -> Arc<ConnectError> {
        let stop = self.stop.clone();
        let mut phase = Phase::First {
            deadline: time::now() + self.config.connect_timeout,
        };
        loop {
            let made = match stop.run_until_cancelled(self.make(&phase)).await {
                None => return self.closed_here(),
                Some(made) => made,
            };
            let (link, session, desk) = match made {
                Ok(made) => made,
                Err(error) => return error,
            };
            let began = time::now();
            let pings = Pings::new(self.config.ping_interval, self.config.ping_timeout, began)
                .resting(self.rest);
            tracing::info!(server = link.server, address = %link.remote_address(), number = link.number, "connected");
            metrics::connected();
            self.publish
                .send_replace(ConnectionState::Connected(Arc::clone(&link)));

            let cause = tokio::select! {
                biased;
                () = stop.cancelled() => {
                    link.close(CloseCode::Done);
                    return self.closed_here();
                }
                cause = session.run(pings, desk) => cause,
            };
            link.close(session_stream::code_for(&cause));
            let lost = ConnectError::lost(&link.server, link.remote_address(), cause);
            metrics::failed(lost.kind().as_str());
            let lost = Arc::new(lost);
            tracing::info!(error = %lost, number = link.number, "disconnected");
            if lost.kind() == ConnectErrorKind::Fenced {
                return lost;
            }
            if lost.kind() == ConnectErrorKind::GoingAway {
                self.begin_with = (self.begin_with + 1) % self.targets.len();
            }
            let since = time::now();
            self.backoff.on_lost(since.saturating_duration_since(began));
            phase = Phase::Again { lost, since };
        }
    }

    /// Tries until a session stands, or there is no use in trying.
    async fn make(
        &mut self,
        phase: &Phase,
    ) -> Result<(Arc<Session>, SessionStream, Desk), Arc<ConnectError>> {
        let mut last_error = None;
        if let Phase::Again { lost, .. } = phase {
            self.announce(phase, 0, None);
            last_error = Some(Arc::clone(lost));
            time::sleep(self.backoff.next_wait()).await;
        }
        let mut attempt: u32 = 0;
        loop {
            attempt = attempt.saturating_add(1);
            self.announce(phase, attempt, last_error.take());
            let failed = match self.try_every_server(phase).await {
                Ok(made) => return Ok(made),
                Err(failed) => failed,
            };
            let wait = self.backoff.next_wait();
            if failed.give_up
                || phase
                    .deadline()
                    .is_some_and(|deadline| time::now() + wait >= deadline)
            {
                return Err(failed.error);
            }
            metrics::failed(failed.error.kind().as_str());
            tracing::debug!(error = %failed.error, attempt, ?wait, "no connection yet");
            last_error = Some(failed.error);
            time::sleep(wait).await;
        }
    }

    /// One attempt with each server, beginning with the one that was connected last.
    async fn try_every_server(
        &mut self,
        phase: &Phase,
    ) -> Result<(Arc<Session>, SessionStream, Desk), Failed> {
        let count = self.targets.len();
        let mut worst: Option<Failed> = None;
        let first = self.begin_with;
        for which in (0..count).map(|i| (first + i) % count) {
            let error = match self.try_server(which, phase.deadline()).await {
                Ok(made) => {
                    self.begin_with = which;
                    return Ok(made);
                }
                Err(error) => error,
            };
            let give_up = phase.gives_up(error.kind());
            let failed = Failed {
                give_up,
                error: Arc::new(error),
            };
            // Who was overtaken must not come back, whatever another server thinks of it.
            if failed.error.kind() == ConnectErrorKind::Fenced {
                return Err(failed);
            }
            worst = Some(match worst.take() {
                None => failed,
                // A refusal tells more than a silence, and one server that may come back is reason enough to wait.
                Some(before) => {
                    let telling = before.give_up || !failed.give_up;
                    Failed {
                        give_up: before.give_up && failed.give_up,
                        error: if telling { before.error } else { failed.error },
                    }
                }
            });
        }
        Err(worst.expect("there is at least one server: the options were checked"))
    }

    async fn try_server(
        &mut self,
        which: usize,
        deadline: Option<Instant>,
    ) -> Result<(Arc<Session>, SessionStream, Desk), ConnectError> {
        let target = &self.targets[which];
        let server = target.address.to_string();
        let began = time::now();
        let limit = deadline.map_or(self.config.handshake_timeout, |deadline| {
            let left = deadline.saturating_duration_since(began);
            self.config.handshake_timeout.min(left)
        });
        let (connection, sight) = self.dialer.dial(target, limit).await?;
        let left = limit.saturating_sub(time::now().saturating_duration_since(began));
        let opening = SessionStream::open(&connection, self.connect.clone());
        let opened = match time::timeout(left, opening).await {
            Ok(opened) => opened,
            Err(_) => Err(Cause::NoSession(limit)),
        };
        let (session, connected) = opened.map_err(|cause| {
            connection.close(session_stream::code_for(&cause).into(), &[]);
            ConnectError::connecting(&server, Some(connection.remote_address()), cause)
        })?;
        if let (Some(identity), Some(enrolled)) = (&mut self.connect.producer, connected.producer) {
            identity.id = Some(enrolled.id);
        }
        self.links += 1;
        let (pulse_out, pulse) = watch::channel(PingStats::default());
        let (going_away_out, going_away) = watch::channel(false);
        let (checks, checks_in) = mpsc::channel(CHECKS);
        let link = Session {
            number: self.links,
            server,
            connection,
            connected,
            sight,
            pulse,
            going_away,
            checks,
        };
        let desk = Desk {
            pulse: pulse_out,
            going_away: going_away_out,
            checks: checks_in,
        };
        Ok((Arc::new(link), session, desk))
    }

    fn announce(&self, phase: &Phase, attempt: u32, last_error: Option<Arc<ConnectError>>) {
        self.publish.send_replace(match phase {
            Phase::First { .. } => ConnectionState::Connecting {
                attempt,
                last_error,
            },
            Phase::Again { lost, since } => ConnectionState::Reconnecting {
                attempt,
                last_error: last_error.unwrap_or_else(|| Arc::clone(lost)),
                since: *since,
            },
        });
    }

    fn closed_here(&self) -> Arc<ConnectError> {
        let server = self.targets[self.begin_with].address.to_string();
        Arc::new(closed_here(&server))
    }
}
