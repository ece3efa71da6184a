//! What is promised, over real QUIC on loopback: a producer, a broker, a store.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test may panic, start tasks, and has no public names"
)]

mod delivery;
mod order;
mod room;
mod support;
