//! The spool: a bounded log on disk for what memory cannot hold while no server can be reached.
//!
//! ```text
//!                       there is no connection, or the spool is not empty
//! send, send_async ─▶ mode ───────────────────────▶ staging ─▶ writer ─▶ log (fsync)
//!                       │                             ▲ │                  │
//!                       │                       sweep │ │ the disk is      └─▶ replay ─▶ requests ─▶ its own connection
//!                       └─▶ memory ─▶ lanes ──────────┘ │ empty
//!                              ▲────────────────────────┘
//! ```
//!
//! What goes to disk, and when, is the [`Policy`].
//!
//! - **Order.** `mode.rs`, which is sans-I/O, decides where messages go. What is on disk is sent only when nothing is left in
//!   memory, because that was accepted earlier. Memory is used again only when everything on disk is answered. So `send`,
//!   and messages of one key, keep the order of the calls through each change, and across the end of the process.
//! - **Once.** What is on disk is sent under a producer identity that is stored in the folder, as requests that are numbered
//!   by their positions in the log. A process that was killed after the broker's response and before its own record of it
//!   sends the same requests again, and the broker answers them from its dedup window.
//! - **Bounded.** A fourth of the buffer, at most 4 MiB, is reserved for *staging*: messages on their way to disk. Outside
//!   the buffer there are the piece of the log that is being sent (1 MiB and one message, encoded twice), the memory of the
//!   log, and about 200 bytes for each pending receipt ([`Config::max_pending_receipts`]).
//!
//! # How it fails
//!
//! If the disk takes no writes, staging becomes full: callers wait as `when_full` says, [`State::last_error`] says why, and
//! messages that are not on disk by `delivery_timeout` are `Expired` and not stored. A write that may have happened is made
//! again, and is on disk once. An entry that does not match its checksum is reported, counted and passed over. A message
//! that the broker refuses for good is logged and counted too, because the process that sent it may have ended.
//!
//! What is on disk does not expire.

mod entry;
mod log;
mod mode;
mod pending_receipts;
mod replay;
mod requests;
mod staging;
mod state;
mod sweep;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        Weak,
    },
    time::Duration,
};

use tokio::sync::{Notify, watch};

pub use self::state::{Phase, State};
pub use super::spool_config::{Config, Policy, Receipts};
pub use crate::store::OpenError;

use self::{
    log::SharedLog,
    mode::{Mode, Size},
    pending_receipts::{PendingReceipts, Slot},
    staging::Staging,
    sweep::Sweep,
};
use super::{
    Strategy,
    accumulator::{Accumulator, Budget, Cost, PendingMessage},
    sender::{LaneContext, Requests, Transport, current_session_and_mark_seen},
};
use crate::{conn::ConnectionState, metrics::spool as metrics, tasks::Tasks, time};

/// The most messages and bytes of staging.
const MAX_STAGING: Cost = Cost {
    messages: 16_384,
    bytes: 4 << 20,
};
/// How long there may be no connection before memory goes to disk.
const OUTAGE: Duration = Duration::from_secs(1);
/// The part of the buffer that is reserved for staging.
const STAGING_DIVISOR: u32 = 4;

/// The spool of one producer.
#[derive(Debug)]
pub(crate) struct Spool {
    config: Config,
    log: SharedLog,
    /// Where messages go. Read-locked while a message is accepted, write-locked when the mode changes. Locked before
    /// `staging`.
    mode: RwLock<Mode>,
    /// Messages on their way to disk. Locked before the lock inside `room`.
    staging: Mutex<Staging>,
    /// The room in staging, and the calls that wait for it.
    room: Budget<PendingMessage>,
    /// The receipts of messages on disk.
    pending_receipts: Mutex<PendingReceipts<Slot>>,
    /// The state that is published for the application.
    state: watch::Sender<State>,
    /// Wakes the writer.
    write_notify: Notify,
    /// Wakes the replay.
    replay_notify: Notify,
    /// Wakes the sweep.
    sweep_notify: Notify,
    /// What lanes have registered, which refers to this spool; empty where memory does not go to disk.
    requests: OnceLock<Weak<Requests>>,
    /// Notified when the writer has nothing more to write.
    written: Notify,
}

impl Spool {
    /// Opens the spool in its folder, if one is configured, and reserves a part of the producer's buffer for staging.
    /// Returns the part of the buffer that is left for memory, and the spool. Blocks on the disk.
    pub(crate) fn open_in(
        buffer: Cost,
        config: Option<Config>,
    ) -> Result<(Cost, Option<Arc<Self>>), OpenError> {
        let Some(config) = config else {
            return Ok((buffer, None));
        };
        let staging = Cost {
            messages: (buffer.messages / STAGING_DIVISOR).clamp(1, MAX_STAGING.messages),
            bytes: (buffer.bytes / u64::from(STAGING_DIVISOR)).min(MAX_STAGING.bytes),
        };
        let memory = Cost {
            messages: buffer.messages - staging.messages,
            bytes: buffer.bytes - staging.bytes,
        };
        let spool = Self::open(config, staging)?;
        Ok((memory, Some(Arc::new(spool))))
    }

    fn open(config: Config, staging: Cost) -> Result<Self, OpenError> {
        let log = log::Log::open(&config)?;
        Ok(Self::with_log(config, staging, log))
    }

    fn with_log(config: Config, staging: Cost, log: log::Log) -> Self {
        let held = log.held();
        if held.messages > 0 {
            tracing::info!(
                messages = held.messages,
                "the spool holds messages of an earlier producer"
            );
        }
        let limit = Size {
            messages: config.max_messages,
            bytes: config.max_bytes,
        };
        let spool = Self {
            mode: RwLock::new(Mode::new(limit, held, config.policy == Policy::Always)),
            staging: Mutex::new(Staging::default()),
            room: Budget::new(staging),
            pending_receipts: Mutex::new(PendingReceipts::new(config.max_pending_receipts)),
            state: watch::channel(State::default()).0,
            write_notify: Notify::new(),
            replay_notify: Notify::new(),
            sweep_notify: Notify::new(),
            requests: OnceLock::new(),
            written: Notify::new(),
            log: Arc::new(log),
            config,
        };
        spool.publish(|_| {});
        spool
    }

    /// Starts the writer, the replay, the sweep, and the task that follows the connection.
    pub(crate) fn start(self: &Arc<Self>, context: &LaneContext, tasks: &Tasks) {
        let transport = &context.transport;
        let (spool, memory) = (Arc::clone(self), Arc::clone(&context.accumulator));
        // Streams for single messages are for comparison: they hold what they have taken until it is answered.
        let has_lanes = !matches!(context.config.strategy, Strategy::PerMessage(_));
        if self.config.policy == Policy::Outage && has_lanes {
            let requests = Arc::clone(&context.requests);
            let _ = self.requests.set(Arc::downgrade(&requests));
            let sweep = Sweep {
                memory: Arc::clone(&memory),
                spool: Arc::clone(&spool),
                requests,
            };
            tasks.spawn(sweep.run(tasks.stopped().clone()));
        }
        tasks.spawn(follow_connection(
            Arc::clone(&memory),
            Arc::clone(&spool),
            transport.clone(),
        ));
        let writer = writer::Writer::new(Arc::clone(&memory), Arc::clone(&spool));
        tasks.spawn(writer.run(tasks.stopped().clone()));
        let replay = replay::Replay::new(memory, spool, transport.clone(), tasks.clone());
        tasks.spawn(replay.run());
    }

    // A poisoned lock is used on: each lock guards single steps, so a panic leaves nothing half done.
    fn mode(&self) -> RwLockReadGuard<'_, Mode> {
        self.mode.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn mode_mut(&self) -> RwLockWriteGuard<'_, Mode> {
        self.mode.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn staging(&self) -> MutexGuard<'_, Staging> {
        self.staging.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pending_receipts(&self) -> MutexGuard<'_, PendingReceipts<Slot>> {
        self.pending_receipts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a receiver of the state.
    pub(crate) fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Publishes the state, after `change`.
    fn publish(&self, change: impl FnOnce(&mut State)) {
        let mode = self.mode();
        let (phase, held) = (mode.phase(), mode.held());
        metrics::size(held.messages, held.bytes);
        self.state.send_if_modified(|state| {
            let before = state.clone();
            state.phase = phase;
            state.messages = held.messages;
            state.bytes = held.bytes;
            change(state);
            *state != before
        });
    }

    /// Publishes the error that keeps the spool from working, or `None` if it works. Logs each new error once.
    fn set_error(&self, why: Option<&str>) {
        let changed = self.state.borrow().last_error.as_deref() != why;
        if let (true, Some(why)) = (changed, why) {
            tracing::warn!(why, "the spool cannot go on for now");
        }
        if changed {
            self.publish(|state| state.last_error = why.map(str::to_owned));
        }
    }

    /// Waits until everything in staging is on disk, at most `limit`, and with [`Policy::Outage`] also what memory holds and
    /// was never sent. Called when no more messages are accepted.
    pub(crate) async fn write_staged(&self, memory: &Accumulator, limit: Duration) {
        self.mode_mut().on_closing();
        if !memory.is_empty() {
            self.sweep();
        }
        let written = async {
            loop {
                let written = self.written.notified();
                tokio::pin!(written);
                written.as_mut().enable();
                self.write_notify.notify_one();
                if self.is_staging_written() {
                    return;
                }
                written.await;
            }
        };
        let _ = time::timeout(limit, written).await;
    }

    fn is_staging_written(&self) -> bool {
        let mode = self.mode();
        !mode.is_writing() && !mode.is_sweeping() && self.staging().len() == 0
    }

    /// Closes the folder, and returns the number of messages in it.
    pub(crate) async fn close(&self) -> u64 {
        let held = self.log.held().messages;
        if let Err(error) = self.log.close().await {
            tracing::warn!(%error, "the spool could not be closed");
        }
        held
    }
}

/// Tells the spool when the connection comes and goes.
async fn follow_connection(memory: Arc<Accumulator>, spool: Arc<Spool>, transport: Transport) {
    let mut state = transport.state();
    let stopped = transport.stopped();
    // When the connection was lost.
    let mut since = time::now();
    loop {
        let connected = current_session_and_mark_seen(&mut state).is_some();
        spool.on_connection(&memory, connected);
        let outage = async {
            match connected || spool.requests.get().is_none() {
                true => std::future::pending().await,
                false => time::sleep_until(since + OUTAGE).await,
            }
        };
        tokio::select! { biased;
            () = stopped.cancelled() => return,
            () = state.changed() => {
                let is_connected = state.borrow().is_connected();
                if connected && !is_connected {
                    since = time::now();
                }
            }
            () = outage => {
                spool.begin(&memory);
                // Once for each outage.
                tokio::select! { biased;
                    () = stopped.cancelled() => return,
                    () = state.wait_for(ConnectionState::is_connected) => {}
                }
            }
        }
    }
}
