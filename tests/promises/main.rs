//! What is promised, in virtual time over a simulated link: seeded, repeatable, with every fault that a path has.
#![allow(
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "a test may panic, has no public names, and shares a file with others"
)]

mod faults;
mod idle;
mod lanes;
mod reconnect;
mod refusals;
#[path = "../common/world.rs"]
mod world;
