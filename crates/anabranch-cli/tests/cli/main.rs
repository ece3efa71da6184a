//! The program, as its users meet it: real processes, real ports of this machine, what they write and their exit codes.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test may panic, start tasks, and has no public names"
)]

mod ask;
mod bad_input;
mod bench;
mod certificates;
mod consume;
mod demo;
mod interrupt;
mod order;
mod outage;
mod serve;
mod soak;
mod spool;
mod support;
mod text;
