//! The laboratory's own promises, and what the scaler's law must do in it. Virtual time, the real producer and broker.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test may panic, start processes, and has no public names"
)]

mod controllers;
mod figures;
mod grid;
mod page;
#[path = "../../../anabranch-cli/tests/cli/process.rs"]
#[allow(
    dead_code,
    reason = "the tests of the program `anabranch` share this file and use all of it"
)]
mod process;
mod right_answers;
mod soak;

use anabranch_lab::{Comparison, Outcome, Scenario, compare, run};

/// A scenario of these fields; without loss unless they say so.
pub fn scenario(fields: &[(&str, &str)]) -> Scenario {
    let mut scenario = Scenario::default();
    scenario.set("loss", "0%").unwrap();
    for (field, value) in fields {
        scenario.set(field, value).unwrap();
    }
    scenario
}

/// What the adaptive strategy comes to in it.
pub fn adaptive(fields: &[(&str, &str)]) -> Outcome {
    run(&scenario(fields), "adaptive".parse().unwrap()).unwrap()
}

/// What the scenario's strategies come to.
pub fn compared(fields: &[(&str, &str)]) -> Comparison {
    compare(&scenario(fields)).unwrap()
}
