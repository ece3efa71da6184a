//! The broker's promises, over real QUIC on the loopback.

mod connecting;
mod consuming;
mod ending;
mod odd;
mod producing;
mod rig;
