//! The broker's promises, over real QUIC on the loopback.
#![allow(clippy::disallowed_methods)]

mod connecting;
mod consuming;
mod durable;
mod ending;
pub(crate) mod odd;
mod producing;
pub(crate) mod rig;
