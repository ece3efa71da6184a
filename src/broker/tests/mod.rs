//! Tests of the broker over QUIC on the loopback interface.
#![allow(clippy::disallowed_methods)]

mod connecting;
mod consuming;
mod durable;
mod ending;
pub(crate) mod faulty_store;
mod hostile;
mod producing;
pub(crate) mod rig;
