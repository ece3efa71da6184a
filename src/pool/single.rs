//! Pure: single mode, which is the pool with one stream.
//!
//! One stream needs no machinery of its own: with `max = 1` the line of waiters *is* the taking of turns, first
//! come first served, and the guard, the tests and the books are the pool's. What differs is only how often a
//! turn ends. Callers who share a stream hold it for one write each, and a probe after every turn would make
//! each turn last a round trip. So single mode trusts an answered probe for a while: within
//! [`Config::probe_validity`] the stream passes to the next in line after the cheap test alone.
//!
//! A turn that ends within a frame still costs the stream: it is discarded, a new one is opened and proved, and
//! the line waits for that.

use std::time::Duration;

use super::config::Config;

impl Config {
    /// One stream, shared by taking turns in the order of asking: `min` and `max` are 1, and `probe_validity` is 1 s.
    /// Everything else is as in [`Config::default`].
    ///
    /// Set `probe_validity` to zero to have the stream probed after every turn.
    #[must_use]
    pub fn single() -> Self {
        Self {
            min: 1,
            max: 1,
            probe_validity: Duration::from_secs(1),
            ..Self::default()
        }
    }
}
