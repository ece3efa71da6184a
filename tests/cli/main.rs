//! The program.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod bench;
