//! The supervisor's task: attempts to connect, then the session of the resulting connection.

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::conn::{
    client::{
        backoff::Backoff,
        config::{Config, Target},
        connection_state::ConnectionState,
        control_stream::{self, ControlStream, PingStats, SessionChannels},
        credentials::Credentials,
        dial::Dialer,
        endpoints::Endpoints,
        error::{Cause, ConnectError, ConnectErrorKind},
        ping::Pings,
        session::Session,
    },
    quic::CloseCode,
    tls::TlsError,
};
use crate::{
    metrics::connection as metrics,
    ordered_watch, time,
    wire::{Connect, ProducerIdentity},
};

/// Capacity of the channel of ping requests.
const PING_REQUESTS: usize = 8;

/// The time without an answer after which the state says so.
const SILENCE: Duration = Duration::from_millis(900);

/// Whether a connection existed before.
#[derive(Debug, Clone)]
enum Phase {
    First,
    Reconnect {
        /// Why the last connection was lost.
        lost: Arc<ConnectError>,
        since: Instant,
    },
}

impl Phase {
    /// Returns the state during an attempt.
    fn state(&self, attempt: u32, last_error: Option<Arc<ConnectError>>) -> ConnectionState {
        match self {
            Self::First => ConnectionState::Connecting {
                attempt,
                last_error,
            },
            Self::Reconnect { lost, since } => ConnectionState::Reconnecting {
                attempt,
                last_error: last_error.unwrap_or_else(|| Arc::clone(lost)),
                since: *since,
            },
        }
    }
}

/// Failure of an attempt with all servers.
struct AttemptFailed {
    error: Arc<ConnectError>,
    /// No further attempt will be made.
    give_up: bool,
}

/// A new session, its control stream and the channels between the two.
type Connected = (Arc<Session>, ControlStream, SessionChannels);

/// The task that owns the connection.
pub(super) struct Task {
    config: Config,
    /// Without other traffic, one ping interval in this many sends a ping.
    idle_ping_multiple: u32,
    targets: Vec<Target>,
    dialer: Dialer,
    connect: Connect,
    backoff: Backoff,
    publish: Arc<ordered_watch::Sender<ConnectionState>>,
    stop: CancellationToken,
    /// Index of the server to try first.
    first_target: usize,
    /// Number of sessions so far.
    sessions: u64,
}

impl Task {
    /// Creates the task. The options must have been checked.
    ///
    /// # Errors
    ///
    /// A certificate or a key cannot be used.
    pub(super) fn new(
        config: Config,
        producer: Option<ProducerIdentity>,
        publish: ordered_watch::Sender<ConnectionState>,
        stop: CancellationToken,
    ) -> Result<Self, TlsError> {
        let credentials = Credentials::read(&config)?;
        let mut transport = config.transport.clone();
        // A consumer always waits for messages, so it must notice a lost connection soon. An idle producer waits for nothing.
        let idle_ping_multiple = match producer {
            Some(_) => config.idle_ping_multiple(),
            None => 1,
        };
        // While flow control holds a ping back, QUIC's keep-alive shows whether the broker is alive.
        transport
            .keep_alive
            .get_or_insert((config.ping_interval * idle_ping_multiple).mul_f32(1.5));
        let endpoints = Arc::new(Endpoints::new(
            Arc::clone(&config.network),
            transport.clone(),
            config.local_address,
        ));
        Ok(Self {
            targets: config.targets().expect("the servers were checked before"),
            dialer: Dialer {
                network: Arc::clone(&config.network),
                endpoints,
                credentials,
                transport,
            },
            connect: Connect {
                // Set before each attempt.
                token: Bytes::new(),
                producer,
            },
            backoff: Backoff::new(config.reconnect_backoff),
            idle_ping_multiple,
            config,
            publish: Arc::new(publish),
            stop,
            first_target: 0,
            sessions: 0,
        })
    }

    /// Returns the endpoints that it connects from.
    pub(super) fn endpoints(&self) -> Arc<Endpoints> {
        Arc::clone(&self.dialer.endpoints)
    }

    pub(super) async fn run(mut self) {
        let error = self.stay_connected().await;
        if error.kind() == ConnectErrorKind::ClosedHere {
            tracing::debug!("the connection is closed");
        } else {
            tracing::warn!(%error, "the connection is closed for good");
        }
        self.publish.send_replace(ConnectionState::Closed(error));
    }

    /// Connects and reconnects until there is a reason to stop, and returns it.
    async fn stay_connected(&mut self) -> Arc<ConnectError> {
        let stop = self.stop.clone();
        let mut phase = Phase::First;
        loop {
            let (session, control, channels) =
                match stop.run_until_cancelled(self.connect(&phase)).await {
                    None => return self.closed_here(),
                    Some(Err(error)) => return error,
                    Some(Ok(connected)) => connected,
                };
            let began = time::now();
            let pings = Pings::new(self.config.ping_interval, self.config.ping_timeout, began)
                .idle_multiple(self.idle_ping_multiple);
            tracing::info!(server = session.server, address = %session.remote_address(), number = session.number, "connected");
            metrics::connected();
            self.publish
                .send_replace(ConnectionState::Connected(Arc::clone(&session)));

            let cause = tokio::select! {
                biased;
                () = stop.cancelled() => {
                    session.close(CloseCode::Done);
                    return self.closed_here();
                }
                cause = control.run(pings, channels) => cause,
            };
            session.close(control_stream::close_code_for(&cause));
            let lost = ConnectError::lost(&session.server, session.remote_address(), cause);
            metrics::failed(lost.kind().as_str());
            let lost = Arc::new(lost);
            tracing::info!(error = %lost, number = session.number, "disconnected");
            if lost.kind() == ConnectErrorKind::Fenced {
                return lost;
            }
            if lost.kind() == ConnectErrorKind::GoingAway {
                self.first_target = (self.first_target + 1) % self.targets.len();
            }
            let since = time::now();
            self.backoff.on_lost(since.saturating_duration_since(began));
            phase = Phase::Reconnect { lost, since };
        }
    }

    /// Tries until a session is open, or until another attempt is pointless.
    async fn connect(&mut self, phase: &Phase) -> Result<Connected, Arc<ConnectError>> {
        let mut last_error = None;
        if let Phase::Reconnect { lost, .. } = phase {
            self.publish.send_replace(phase.state(0, None));
            last_error = Some(Arc::clone(lost));
            time::sleep(self.backoff.next_delay()).await;
        }
        let mut attempt: u32 = 0;
        loop {
            attempt = attempt.saturating_add(1);
            let failed = match self.attempt(phase, attempt, last_error.take()).await {
                Ok(connected) => return Ok(connected),
                Err(failed) => failed,
            };
            let delay = self.backoff.next_delay();
            // Credentials may have been renewed since they were read for this attempt.
            let is_renewed =
                failed.error.kind().refuses_credentials() && self.dialer.credentials.refresh();
            if failed.give_up && !is_renewed {
                return Err(failed.error);
            }
            metrics::failed(failed.error.kind().as_str());
            tracing::debug!(error = %failed.error, attempt, ?delay, "no connection yet");
            last_error = Some(failed.error);
            time::sleep(delay).await;
        }
    }

    /// Makes one attempt, and publishes what is known during it: why the previous one failed, then that there is no answer.
    async fn attempt(
        &mut self,
        phase: &Phase,
        attempt: u32,
        last_error: Option<Arc<ConnectError>>,
    ) -> Result<Connected, AttemptFailed> {
        self.publish.send_replace(phase.state(attempt, last_error));
        self.dialer.credentials.refresh();
        self.connect.token = self.dialer.credentials.secret();
        let servers = self.config.servers.join(", ");
        let silent = ConnectError::connecting(&servers, None, Cause::NoAnswerYet);
        let publish = Arc::clone(&self.publish);
        let mut trying = pin!(self.try_every_server());
        tokio::select! {
            biased;
            tried = &mut trying => return tried,
            // Later attempts begin with the reason why the one before failed.
            () = time::sleep(SILENCE), if attempt == 1 => {}
        }
        publish.send_replace(phase.state(attempt, Some(Arc::new(silent))));
        trying.await
    }

    /// Makes one attempt with each server, starting with the one that was connected last.
    async fn try_every_server(&mut self) -> Result<Connected, AttemptFailed> {
        let count = self.targets.len();
        let mut reported: Option<ConnectError> = None;
        // One server that may still accept is reason enough to try again.
        let mut give_up = true;
        let first = self.first_target;
        for which in (0..count).map(|i| (first + i) % count) {
            let error = match self.try_server(which).await {
                Ok(connected) => {
                    self.first_target = which;
                    return Ok(connected);
                }
                Err(error) => error,
            };
            // A producer that was fenced must not come back, even if another server would accept it.
            let fenced = error.kind() == ConnectErrorKind::Fenced;
            give_up = fenced || (give_up && error.kind().is_final());
            reported = Some(match reported {
                Some(before) if !fenced => error.or(before),
                _ => error,
            });
            if fenced {
                break;
            }
        }
        let error = reported.expect("there is at least one server: the options were checked");
        Err(AttemptFailed {
            error: Arc::new(error),
            give_up,
        })
    }

    async fn try_server(&mut self, which: usize) -> Result<Connected, ConnectError> {
        let target = &self.targets[which];
        let server = target.address.to_string();
        let began = time::now();
        let limit = self.config.handshake_timeout;
        let (connection, monitor) = self.dialer.dial(target, limit).await?;
        let left = limit.saturating_sub(time::now().saturating_duration_since(began));
        let opening = ControlStream::open(&connection, self.connect.clone());
        let opened = match time::timeout(left, opening).await {
            Ok(opened) => opened,
            Err(_) => Err(Cause::NoSession(limit)),
        };
        let (control, connected) = opened.map_err(|cause| {
            connection.close(control_stream::close_code_for(&cause).into(), &[]);
            ConnectError::connecting(&server, Some(connection.remote_address()), cause)
        })?;
        if let (Some(identity), Some(registered)) = (&mut self.connect.producer, connected.producer)
        {
            identity.id = Some(registered.id);
        }
        self.sessions += 1;
        let (ping_stats_sender, ping_stats) = watch::channel(PingStats::default());
        let (going_away_sender, going_away) = watch::channel(false);
        let (ping_requests, ping_requests_receiver) = mpsc::channel(PING_REQUESTS);
        let session = Session {
            number: self.sessions,
            server,
            connection,
            connected,
            monitor,
            ping_stats,
            going_away,
            ping_requests,
        };
        let channels = SessionChannels {
            ping_stats: ping_stats_sender,
            going_away: going_away_sender,
            ping_requests: ping_requests_receiver,
        };
        Ok((Arc::new(session), control, channels))
    }

    fn closed_here(&self) -> Arc<ConnectError> {
        let server = self.targets[self.first_target].address.to_string();
        Arc::new(ConnectError::closed_here(&server))
    }
}
