//! Faults of every kind, and a check that all promises are kept.
//!
//! ```text
//! history      the events of a run, and the check       sans-I/O
//! simulated    runs in virtual time, repeatable by seed
//! killed       real processes that are killed under load
//! tally        the summary                              sans-I/O
//! ```
//!
//! `cargo test -p anabranch-cli --test breaking -- --nocapture` prints the summary. `ANABRANCH_SEEDS=5000
//! ANABRANCH_KILLS=200` make a long run.
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
