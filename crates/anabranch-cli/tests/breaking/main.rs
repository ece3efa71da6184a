//! Everything that is broken on purpose, and what must hold all the same.
//!
//! ```text
//! history      what happened, and the judge of it       pure
//! simulated    histories in virtual time, by seed
//! killed       real processes that are killed under load
//! tally        the summary                              pure
//! ```
//!
//! `cargo test --all-features --test breaking -- --nocapture` prints the summary. `ANABRANCH_SEEDS=5000
//! ANABRANCH_KILLS=200` make it long.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test may panic, start tasks, and has no public names"
)]

mod history;
mod killed;
mod simulated;
mod tally;
