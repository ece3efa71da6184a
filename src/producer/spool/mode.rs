//! Pure: where messages go, and when that changes.
//!
//! ```text
//!            memory is full, no connection                connection, memory is empty
//!   Memory ────────────────────────────────▶ Spooling ◀───────────────────────────────▶ Draining
//!      ▲                                                    no connection                   │
//!      └────────────────────── everything on disk is answered ──────────────────────────────┘
//! ```
//!
//! *Draining* begins only when nothing is in memory any more, and *Memory* only when nothing is on disk: so what was
//! accepted earlier always goes out earlier.
//!
//! While it drains, what is written must be less than what goes out, or a busy producer would never leave the disk
//! again. So each step of the drain gives the writer a credit of half its bytes. What it cannot write waits in
//! memory, and goes the usual way as soon as the disk is empty.

use super::Phase;

/// Messages and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Size {
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

#[derive(Debug)]
pub(super) struct Mode {
    limit: Size,
    phase: Phase,
    /// There is a connection.
    up: bool,
    /// On disk and not delivered.
    held: Size,
    /// Bytes that may be written while it drains.
    credit: u64,
    /// The writer has messages in hand that are on their way to disk.
    writing: bool,
    /// The producer closes: whatever is in memory is to be written.
    closing: bool,
}

impl Mode {
    /// A spool that found `held` on disk.
    pub(super) const fn new(limit: Size, held: Size) -> Self {
        Self {
            limit,
            phase: if held.messages == 0 {
                Phase::Memory
            } else {
                Phase::Spooling
            },
            up: false,
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

    /// Whether a message that finds no room in memory may begin a spool.
    pub(super) fn may_begin(&self) -> bool {
        self.is_memory() && !self.up
    }

    /// From now on messages go to disk.
    pub(super) fn begin(&mut self) {
        if self.may_begin() {
            self.phase = Phase::Spooling;
        }
    }

    pub(super) fn on_connection(&mut self, up: bool) {
        self.up = up;
        if !up {
            self.on_stalled();
        }
    }

    /// Whether what is on disk may go out; `memory_is_whole` says that nothing accepted earlier is in memory any more.
    pub(super) fn could_drain(&self, memory_is_whole: bool) -> bool {
        !self.is_memory() && self.up && memory_is_whole
    }

    /// The drain has a connection of its own. True where it goes out from now on, or does already.
    pub(super) fn begin_drain(&mut self, memory_is_whole: bool) -> bool {
        let could = self.could_drain(memory_is_whole);
        if could && self.phase == Phase::Spooling {
            self.phase = Phase::Draining;
            self.credit = 0;
        }
        could
    }

    /// The drain came to nothing: until the next try, the writer need not wait for it.
    pub(super) fn on_stalled(&mut self) {
        if self.phase == Phase::Draining {
            self.phase = Phase::Spooling;
        }
    }

    pub(super) fn on_closing(&mut self) {
        self.closing = true;
    }

    /// Whether the writer may add a message of `next` bytes to `so_far`, which it has in hand.
    pub(super) fn may_write(&self, so_far: Size, next: u64) -> bool {
        let messages = self.held.messages + so_far.messages;
        let bytes = self.held.bytes + so_far.bytes;
        let fits = messages < self.limit.messages
            // A single message over the limit may pass while nothing else is there.
            && (bytes + next <= self.limit.bytes || messages == 0);
        let paid = self.phase != Phase::Draining || so_far.bytes < self.credit || self.closing;
        !self.is_memory() && fits && paid
    }

    /// The writer took messages in hand.
    pub(super) fn on_taken(&mut self, bytes: u64) {
        self.writing = true;
        self.credit = self.credit.saturating_sub(bytes);
    }

    /// They are on disk, or will not be; `held` is what is on disk now.
    pub(super) fn on_written(&mut self, held: Size) {
        self.writing = false;
        self.held = held;
    }

    /// `bytes` went out, and `held` is what is on disk now.
    pub(super) fn on_drained(&mut self, bytes: u64, held: Size) {
        self.held = held;
        self.credit = bytes / 2;
    }

    pub(super) const fn is_writing(&self) -> bool {
        self.writing
    }

    /// Whether nothing is on disk, or on its way there.
    pub(super) fn is_over(&self) -> bool {
        self.phase == Phase::Draining && self.held.messages == 0 && !self.writing
    }

    /// From now on messages go the usual way.
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
        let mut mode = Mode::new(LIMIT, Size::default());
        mode.on_connection(true);
        assert!(!mode.may_begin());
        mode.on_connection(false);
        mode.begin();
        assert_eq!(mode.phase(), Phase::Spooling);
    }

    #[test]
    fn what_a_process_before_left_goes_out_first() {
        let mut mode = Mode::new(LIMIT, size(3, 30));
        assert!(!mode.is_memory());
        mode.on_connection(true);
        assert!(mode.begin_drain(true));
    }

    #[test]
    fn the_disk_waits_for_what_is_in_memory() {
        let mut mode = Mode::new(LIMIT, size(3, 30));
        mode.on_connection(true);
        assert!(!mode.begin_drain(false));
        assert!(mode.begin_drain(true));
    }

    #[test]
    fn its_bounds_are_exact_and_one_large_message_passes_alone() {
        let mut mode = Mode::new(LIMIT, Size::default());
        mode.begin();
        assert!(mode.may_write(Size::default(), 5000));
        assert!(mode.may_write(size(1, 900), 100));
        assert!(!mode.may_write(size(1, 900), 101));
        assert!(!mode.may_write(size(100, 100), 1));
    }

    proptest! {
        /// A producer that always has more to send leaves the disk in a number of steps that is logarithmic.
        #[test]
        fn a_busy_producer_leaves_the_disk_again(held in 1u64..1_000_000, step in 1u64..100_000) {
            let limit = size(u64::MAX, u64::MAX);
            let mut mode = Mode::new(limit, size(held, held));
            mode.on_connection(true);
            let mut steps = 0;
            while !mode.is_over() {
                prop_assert!(mode.begin_drain(true));
                let before = mode.held();
                let out = before.bytes.min(step);
                // The writer takes one byte a message for as long as it may.
                let mut written = 0;
                while mode.may_write(size(written, written), 1) {
                    written += 1;
                }
                mode.on_taken(written);
                let now = before.bytes + written;
                mode.on_written(size(now, now));
                mode.on_drained(out, size(now - out, now - out));
                steps += 1;
                prop_assert!(steps <= 2 * held / step + 64, "{:?}", mode);
            }
            mode.end();
            prop_assert!(mode.is_memory());
        }
    }
}
