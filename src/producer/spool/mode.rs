//! Sans-I/O: decides where messages go, and when that changes.
//!
//! ```text
//!            memory is full, no connection                connection, memory is empty
//!   Memory ────────────────────────────────▶ Spooling ◀───────────────────────────────▶ Replaying
//!      ▲                                                    no connection                   │
//!      └────────────────────── everything on disk is answered ──────────────────────────────┘
//! ```
//!
//! *Replaying* begins only when nothing is left in memory, and *Memory* only when nothing is left on disk. So messages
//! are sent in the order in which they were accepted.
//!
//! During the replay less must be written than is sent, or the spool of a busy producer would never become empty. So
//! each piece that is delivered gives the writer a credit of half its bytes. What the writer may not write waits in
//! staging, and goes to memory as soon as the disk is empty.

use super::Phase;

/// Messages and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Size {
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

/// The phase of a spool, and what decides about the next one.
#[derive(Debug)]
pub(super) struct Mode {
    /// The most that may be on disk.
    limit: Size,
    phase: Phase,
    /// Whether the producer has a connection.
    connected: bool,
    /// What is on disk and not delivered.
    held: Size,
    /// The bytes that may still be written before the next piece of the replay is delivered.
    credit: u64,
    /// Whether the writer has taken messages and not finished with them.
    writing: bool,
    /// Whether the producer closes. Then everything in staging is written, whatever the credit.
    closing: bool,
    /// Whether every message goes to disk first, so that memory is never used.
    always: bool,
    /// Whether what memory held is on its way to staging. It was accepted before everything else there.
    sweeping: bool,
    /// Whether memory was still in use when the producer closed: calls that waited for room get their messages back there.
    closed_in_memory: bool,
}

impl Mode {
    /// Creates the mode of a spool that found `held` on disk.
    pub(super) const fn new(limit: Size, held: Size, always: bool) -> Self {
        Self {
            limit,
            phase: if held.messages == 0 && !always {
                Phase::Memory
            } else {
                Phase::Spooling
            },
            always,
            sweeping: false,
            closed_in_memory: false,
            connected: false,
            held,
            credit: 0,
            writing: false,
            closing: false,
        }
    }

    pub(super) const fn phase(&self) -> Phase {
        self.phase
    }

    pub(super) const fn held(&self) -> Size {
        self.held
    }

    pub(super) fn is_memory(&self) -> bool {
        self.phase == Phase::Memory
    }

    /// Returns whether a message that finds no room in memory may begin the spooling.
    pub(super) fn may_begin(&self) -> bool {
        self.is_memory() && !self.connected
    }

    /// Sends messages to disk from now on.
    pub(super) fn begin(&mut self) {
        if self.may_begin() {
            self.phase = Phase::Spooling;
        }
    }

    /// Sends messages to disk from now on, and what memory holds before them.
    pub(super) fn begin_sweep(&mut self) {
        if self.is_memory() {
            self.phase = Phase::Spooling;
            self.sweeping = true;
        }
    }

    /// As [`begin_sweep`](Self::begin_sweep), after the producer was closed to new messages.
    pub(super) fn begin_last_sweep(&mut self) {
        self.closed_in_memory = self.is_memory();
        self.begin_sweep();
    }

    /// Returns whether calls wait for room in memory, and not in staging.
    pub(super) fn waits_in_memory(&self) -> bool {
        self.is_memory() || self.closed_in_memory
    }

    /// Returns whether what memory held is on its way to staging.
    pub(super) const fn is_sweeping(&self) -> bool {
        self.sweeping
    }

    /// Notes that memory holds nothing more that goes to disk.
    pub(super) fn end_sweep(&mut self) {
        self.sweeping = false;
    }

    /// Notes that the connection came or went.
    pub(super) fn on_connection(&mut self, connected: bool) {
        self.connected = connected;
        if !connected {
            self.on_stalled();
        }
    }

    /// Returns whether what is on disk may be sent. That needs an empty memory: what is there was accepted earlier.
    pub(super) fn may_replay(&self, memory_is_empty: bool) -> bool {
        !self.is_memory() && self.connected && memory_is_empty && !self.sweeping
    }

    /// Begins the replay if it has not begun and may. Returns whether what is on disk may be sent.
    pub(super) fn begin_replay(&mut self, memory_is_empty: bool) -> bool {
        let may = self.may_replay(memory_is_empty);
        if may && self.phase == Phase::Spooling {
            self.phase = Phase::Replaying;
            self.credit = 0;
        }
        may
    }

    /// Ends a replay that cannot go on for now, so that the writer needs no credit until the next attempt.
    pub(super) fn on_stalled(&mut self) {
        if self.phase == Phase::Replaying {
            self.phase = Phase::Spooling;
        }
    }

    /// Notes that the producer closes.
    pub(super) fn on_closing(&mut self) {
        self.closing = true;
    }

    /// Returns whether the writer may add a message of `next` bytes to the group `so_far`.
    pub(super) fn may_write(&self, so_far: Size, next: u64) -> bool {
        let messages = self.held.messages + so_far.messages;
        let bytes = self.held.bytes + so_far.bytes;
        let fits = messages < self.limit.messages
            // A single message over the limit is written if nothing else is on disk.
            && (bytes + next <= self.limit.bytes || messages == 0);
        // A spool that takes everything need not become empty.
        let has_credit = self.phase != Phase::Replaying
            || self.always
            || so_far.bytes < self.credit
            || self.closing;
        !self.is_memory() && fits && has_credit
    }

    /// Notes that the writer has taken a group of `bytes`.
    pub(super) fn on_taken(&mut self, bytes: u64) {
        self.writing = true;
        self.credit = self.credit.saturating_sub(bytes);
    }

    /// Notes that the writer has finished with its group, written or not. `held` is what is on disk now.
    pub(super) fn on_written(&mut self, held: Size) {
        self.writing = false;
        self.held = held;
    }

    /// Notes that a piece of `bytes` was delivered. `held` is what is on disk now.
    pub(super) fn on_replayed(&mut self, bytes: u64, held: Size) {
        self.held = held;
        self.credit = bytes / 2;
    }

    /// Returns whether the writer has taken messages and not finished with them.
    pub(super) const fn is_writing(&self) -> bool {
        self.writing
    }

    /// Returns whether the replay has delivered everything, and the writer writes nothing more.
    pub(super) fn is_over(&self) -> bool {
        self.phase == Phase::Replaying && self.held.messages == 0 && !self.writing && !self.always
    }

    /// Sends messages to memory from now on, if the replay is over.
    pub(super) fn end(&mut self) {
        if self.is_over() {
            self.phase = Phase::Memory;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: Size = Size {
        messages: 100,
        bytes: 1000,
    };

    fn size(messages: u64, bytes: u64) -> Size {
        Size { messages, bytes }
    }

    #[test]
    fn a_spool_begins_without_a_connection_only() {
        let mut mode = Mode::new(LIMIT, Size::default(), false);
        mode.on_connection(true);
        assert!(!mode.may_begin());
        mode.on_connection(false);
        mode.begin();
        assert_eq!(mode.phase(), Phase::Spooling);
    }

    #[test]
    fn what_a_process_before_left_goes_out_first() {
        let mut mode = Mode::new(LIMIT, size(3, 30), false);
        assert!(!mode.is_memory());
        mode.on_connection(true);
        assert!(mode.begin_replay(true));
    }

    #[test]
    fn the_disk_waits_for_what_is_in_memory() {
        let mut mode = Mode::new(LIMIT, size(3, 30), false);
        mode.on_connection(true);
        assert!(!mode.begin_replay(false));
        assert!(mode.begin_replay(true));
    }

    #[test]
    fn nothing_is_sent_from_disk_while_memory_is_on_its_way_there() {
        let mut mode = Mode::new(LIMIT, Size::default(), false);
        mode.begin_sweep();
        mode.on_connection(true);
        assert!(mode.is_sweeping() && !mode.begin_replay(true));
        mode.end_sweep();
        assert!(mode.begin_replay(true));
    }

    #[test]
    fn a_spool_that_takes_everything_never_leaves_the_disk_and_needs_no_credit() {
        let mut mode = Mode::new(LIMIT, Size::default(), true);
        mode.on_connection(true);
        assert!(!mode.is_memory() && mode.begin_replay(true));
        assert!(!mode.is_over() && mode.may_write(size(1, 500), 500));
    }

    #[test]
    fn its_bounds_are_exact_and_one_large_message_passes_alone() {
        let mut mode = Mode::new(LIMIT, Size::default(), false);
        mode.begin();
        assert!(mode.may_write(Size::default(), 5000));
        assert!(mode.may_write(size(1, 900), 100));
        assert!(!mode.may_write(size(1, 900), 101));
        assert!(!mode.may_write(size(100, 100), 1));
    }

    proptest! {
        /// The spool of a producer that always has more to send becomes empty, in a number of steps that is linear in
        /// what was on disk and logarithmic in what comes after it.
        #[test]
        fn a_busy_producer_leaves_the_disk_again(held in 1u64..1_000_000, step in 1u64..100_000) {
            let limit = size(u64::MAX, u64::MAX);
            let mut mode = Mode::new(limit, size(held, held), false);
            mode.on_connection(true);
            let mut steps = 0;
            while !mode.is_over() {
                prop_assert!(mode.begin_replay(true));
                let before = mode.held();
                let sent = before.bytes.min(step);
                // The writer takes messages of one byte for as long as it may.
                let mut written = 0;
                while mode.may_write(size(written, written), 1) {
                    written += 1;
                }
                mode.on_taken(written);
                let now = before.bytes + written;
                mode.on_written(size(now, now));
                mode.on_replayed(sent, size(now - sent, now - sent));
                steps += 1;
                prop_assert!(steps <= 2 * held / step + 64, "{:?}", mode);
            }
            mode.end();
            prop_assert!(mode.is_memory());
        }
    }
}
