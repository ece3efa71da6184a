//! Sans-I/O: the state of a spool, as it is published.

/// What a spool does at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// Nothing is on disk. Messages are kept in memory and sent from there.
    #[default]
    Memory,
    /// New messages are written to disk, and nothing on disk is sent.
    Spooling,
    /// What is on disk is sent, in order. New messages are written to disk after it.
    Replaying,
}

/// The state of a spool.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct State {
    /// What the spool does at present.
    pub phase: Phase,
    /// The number of undelivered messages on disk.
    pub messages: u64,
    /// The bytes of the undelivered messages on disk.
    pub bytes: u64,
    /// The number of messages that came out of the spool since the producer began, and are stored by the broker.
    pub delivered: u64,
    /// The number of messages that were in the spool and are lost since the producer began: damaged on disk, or refused by the
    /// broker for good.
    pub lost: u64,
    /// Why the spool could not write or deliver in its last attempt. `None` if it could.
    pub last_error: Option<String>,
}
