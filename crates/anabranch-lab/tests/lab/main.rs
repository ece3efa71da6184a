//! Tests of the laboratory, and of the scaler in it: the real producer and broker in virtual time. `soak` is in real time.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test may panic, start processes, and has no public names"
)]

mod controllers;
mod figures;
mod grid;
mod limit;
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

/// Returns a scenario with these fields, and without loss unless they set it.
pub fn scenario(fields: &[(&str, &str)]) -> Scenario {
    let mut scenario = Scenario::default();
    scenario.set("loss", "0%").unwrap();
    for (field, value) in fields {
        scenario.set(field, value).unwrap();
    }
    scenario
}

/// Runs the adaptive strategy.
pub fn adaptive(fields: &[(&str, &str)]) -> Outcome {
    run(&scenario(fields), "adaptive".parse().unwrap()).unwrap()
}

/// Runs the strategies of the scenario.
pub fn compared(fields: &[(&str, &str)]) -> Comparison {
    compare(&scenario(fields)).unwrap()
}
