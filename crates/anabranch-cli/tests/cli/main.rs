//! Tests of the program from outside: real processes, real ports, their output and exit codes.
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
mod log;
mod messages;
mod order;
mod outage;
mod process;
mod produce;
mod serve;
mod signals;
mod spool;
mod support;
mod terminal;
mod text;
