//! Sans-I/O: the largest buffer that a producer can have.
//!
//! The budget keeps its two counts in one word of 64 bits, and these fit.

/// The most messages of a buffer: 24 bits.
pub(super) const MAX_BUFFER_MESSAGES: u32 = (1 << 24) - 1;

/// The most bytes of a buffer: 512 GiB, half of what 40 bits can count.
pub(super) const MAX_BUFFER_BYTES: u64 = 1 << 39;
