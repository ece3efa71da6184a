//! The scaler.

mod adaptive;
mod config;
mod decision;
mod fixed;
mod load;
pub mod meter;
#[cfg(test)]
mod model;

pub use self::{
    adaptive::Adaptive,
    config::{Config, MAX_STREAMS},
    decision::{Action, Decision, Reason, ScalePolicy},
    fixed::Fixed,
    load::Load,
};
