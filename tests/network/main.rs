//! What is promised, over real QUIC on loopback: a producer, a broker, a store.

mod delivery;
mod order;
mod room;
mod support;
