//! The spool: a bounded log on disk for what memory cannot hold while no server can be reached.
//!
//! ```text
//!                       memory is full and there is no connection, or the spool is not empty
//! send, send_async ─▶ course ──────────────────────▶ staging ─▶ writer ─▶ log (fsync)
//!                       │                               │                  │
//!                       └─▶ budget ─▶ queue ─▶ lanes ◀──┘                  └─▶ drain ─▶ join ─▶ its own connection
//!                                          when the disk is empty
//! ```
//!
//! - **Order.** `course`, which is pure, says where messages go. The disk goes out only when nothing that was accepted earlier is in
//!   memory any more, and memory is used again only when everything on disk is answered. So `send`, and messages of one
//!   key, keep the order of the calls on both sides of each change, and across the end of the process.
//! - **Once.** What is on disk goes out under an identity that lives in the folder, as requests that are named by their
//!   places in the log. A process that was killed between the broker's answer and its note of it sends the same requests
//!   again, and the broker answers them from its dedupe window.
//! - **Bounded.** A fourth of the buffer, at most 4 MiB, is set apart as *staging*: messages on their way to disk. Beside the
//!   buffer there is one piece of the log on its way out (1 MiB and one message, encoded twice), the store's own memory (about 13 MiB), and
//!   about 200 bytes for each receipt that waits ([`Config::max_waiting`]).
//!
//! # How it fails
//!
//! A disk that takes no writes holds staging up: callers wait by `when_full`, [`State::trouble`] says why, and what got no
//! place by `delivery_timeout` is `Expired` and not stored. A write that may have happened is made again, and is on
//! disk once. An entry that does not match its checksum is reported, counted and passed over. A message that the broker
//! refuses for good is reported and counted, too: nobody may be left who waits for it.
//!
//! What is on disk does not expire.

mod config;
mod entry;
mod log;
mod mode;
mod pending_receipts;
mod replay;
mod requests;
mod staging;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use tokio::sync::{Notify, watch};

pub use self::config::{Config, Phase, Receipts, State};
pub use crate::store::OpenError;

use self::{
    log::SharedLog,
    mode::{Mode, Size},
    pending_receipts::PendingReceipts,
    staging::Staging,
};
use super::{
    accumulator::accept::PendingMessage,
    accumulator::budget::{Budget, Cost},
    receipt::Promise,
    sender::transport::{self, Transport},
    shared::Shared,
};
use crate::{metrics::spool as metrics, tasks::Tasks, time};

/// How much of a buffer is set apart for messages on their way to disk.
pub(crate) fn staging(buffer: Cost) -> Cost {
    Cost {
        messages: (buffer.messages / 4).clamp(1, 16_384),
        bytes: (buffer.bytes / 4).min(4 << 20),
    }
}

/// The spool of one producer.
#[derive(Debug)]
pub(crate) struct Spool {
    config: Config,
    log: SharedLog,
    /// Read by whoever brings a message, for as long as it takes to give it its place; written when that changes.
    /// Taken before `staging`.
    mode: RwLock<Mode>,
    /// Taken before the locks of `room`.
    staging: Mutex<Staging>,
    /// WaitQueue in staging, and who waits for it.
    room: Budget<PendingMessage>,
    waiting: Mutex<PendingReceipts<Arc<Promise>>>,
    state: watch::Sender<State>,
    /// Something is to be written, or may be.
    write_notify: Notify,
    /// Something is to go out, or may.
    replay_notify: Notify,
    /// The writer has nothing in hand.
    settled: Notify,
}

impl Spool {
    /// Opens the folder. Waits for the disk.
    pub(crate) fn open(config: Config, staging: Cost) -> Result<Self, OpenError> {
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
            mode: RwLock::new(Mode::new(limit, held)),
            staging: Mutex::new(Staging::default()),
            room: Budget::new(staging),
            waiting: Mutex::new(PendingReceipts::new(config.max_waiting)),
            state: watch::channel(State::default()).0,
            write_notify: Notify::new(),
            replay_notify: Notify::new(),
            settled: Notify::new(),
            log: Arc::new(log),
            config,
        };
        spool.tell(|_| {});
        spool
    }

    /// Starts what writes, what delivers, and what follows the connection.
    pub(crate) fn start(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        transport: &Transport,
        tasks: &Tasks,
    ) {
        let (spool, shared) = (Arc::clone(self), Arc::clone(shared));
        tasks.spawn(follow(
            Arc::clone(&shared),
            Arc::clone(&spool),
            transport.clone(),
        ));
        let writer = writer::Writer::new(Arc::clone(&shared), Arc::clone(&spool));
        tasks.spawn(writer.run(tasks.stopped().clone()));
        tasks.spawn(replay::run(shared, spool, transport.clone(), tasks.clone()));
    }

    // Nothing is left half done by a panic in between: each lock guards single steps.
    fn mode(&self) -> RwLockReadGuard<'_, Mode> {
        self.mode.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn mode_mut(&self) -> RwLockWriteGuard<'_, Mode> {
        self.mode.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn staging(&self) -> MutexGuard<'_, Staging> {
        self.staging.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, PendingReceipts<Arc<Promise>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it stands.
    pub(crate) fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Messages on their way to disk, and those on disk whose receipts wait.
    pub(crate) fn unsettled(&self) -> u64 {
        u64::from(self.room.used().messages) + self.waiting().len() as u64
    }

    /// Publishes how it stands.
    fn tell(&self, change: impl FnOnce(&mut State)) {
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

    /// Publishes what is in the way; told once in the log.
    fn trouble(&self, why: Option<&str>) {
        let is_news = self.state.borrow().trouble.as_deref() != why;
        if let (true, Some(why)) = (is_news, why) {
            tracing::warn!(why, "the spool is in trouble");
        }
        if is_news {
            self.tell(|state| state.trouble = why.map(str::to_owned));
        }
    }

    /// Nothing is in memory any more.
    pub(crate) fn on_memory_whole(&self) {
        self.replay_notify.notify_one();
    }

    /// Waits until what is in memory is on disk, at most `limit`. To be called when nobody brings any more.
    pub(crate) async fn settle(&self, limit: Duration) {
        self.mode_mut().on_closing();
        let settled = async {
            loop {
                let settled = self.settled.notified();
                tokio::pin!(settled);
                settled.as_mut().enable();
                self.write_notify.notify_one();
                if self.is_settled() {
                    return;
                }
                settled.await;
            }
        };
        let _ = time::timeout(limit, settled).await;
    }

    fn is_settled(&self) -> bool {
        let mode = self.mode();
        !mode.is_writing() && self.staging().len() == 0
    }

    /// Lets go of the folder and answers how many messages are in it.
    pub(crate) async fn close(&self) -> u64 {
        let held = self.log.held().messages;
        if let Err(error) = self.log.close().await {
            tracing::warn!(%error, "the spool could not be closed");
        }
        held
    }
}

/// Tells the spool how it stands with the connection.
async fn follow(shared: Arc<Shared>, spool: Arc<Spool>, transport: Transport) {
    let mut links = transport.links();
    let stopped = transport.stopped();
    loop {
        let up = transport::look(&mut links).is_some();
        spool.on_link(&shared, up);
        tokio::select! { biased;
            () = stopped.cancelled() => return,
            () = links.changed() => {}
        }
    }
}
