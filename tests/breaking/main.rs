//! Everything that is broken on purpose, and what must hold all the same.
//!
//! ```text
//! history      what happened, and the judge of it       pure
//! simulated    histories in virtual time, by seed
//! tally        the summary                              pure
//! ```
//!
//! `cargo test --all-features --test breaking -- --nocapture` prints the summary. `ANABRANCH_SEEDS=5000` makes it long.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test may panic, start tasks, and has no public names"
)]

mod history;
mod simulated;
mod tally;
