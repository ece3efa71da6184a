//! What is promised, in virtual time over a simulated link: seeded, repeatable, with every fault that a path has.
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test may panic and has no public names"
)]

mod faults;
mod idle;
mod lanes;
mod reconnect;
mod refusals;
mod world;
