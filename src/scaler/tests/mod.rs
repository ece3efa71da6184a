//! The policies in simulations whose right answer is known.
#![allow(
    clippy::cast_possible_truncation,
    reason = "bytes and messages of the simulations are far below 2^53"
)]

mod known_optima;
mod over_time;
mod setting;
mod simulation;

pub(super) use self::setting::{Rng, origin};
