//! Compares congestion controllers: flows over quinn alone, in virtual time.
//!
//! Each [`Case`] is run with one controller, and gives some figures, each with a goal. The goals are those of a controller
//! for links that lose packets without congestion. The link has 100 Mbit/s and 50 ms unless the case says otherwise.

mod cases;
mod figure;
mod flows;
mod link;
mod record;

pub use cases::Case;
pub use figure::{Figure, Goal, Length};

use super::Controller;

/// The controllers that are compared.
pub const CONTROLLERS: [Controller; 4] = [
    Controller::Thalweg,
    Controller::Cubic,
    Controller::NewReno,
    Controller::Bbr,
];
