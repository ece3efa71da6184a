//! A short run of the grid: every scenario ends and loses nothing, and the grid covers the interesting values.
//!
//! `anabranch-lab --scenarios scenarios/grid.toml` runs all of it, which takes minutes.

use std::{collections::BTreeSet, process::Command};

use serde_json::Value;

const GRID: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/grid.toml");

/// Runs every scenario for a short time.
fn short() -> Vec<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_anabranch-lab"))
        .args(["--scenarios", GRID, "--output", "json"])
        .args(["--duration", "200ms", "--warm-up", "0s", "--runs", "1"])
        .args(["--strategies", "adaptive,1"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn every_scenario_of_the_grid_ends_and_loses_nothing() {
    let runs = short();
    assert!(runs.len() >= 36, "{} scenarios", runs.len());
    for run in &runs {
        let name = &run["scenario"]["name"];
        for strategy in run["strategies"].as_array().unwrap() {
            let count = |field: &str| strategy[field].as_u64().unwrap();
            assert_eq!(count("lost"), 0, "{name}");
            assert_eq!(
                count("delivered") + count("undelivered"),
                count("offered"),
                "{name}"
            );
            assert!(count("delivered") > 0, "{name}: {strategy}");
        }
    }
    let values = |field: &str| -> BTreeSet<&str> {
        let all = runs
            .iter()
            .map(|run| run["scenario"][field].as_str().unwrap());
        all.collect()
    };
    let covers = |field: &str, wanted: &[&str]| {
        let there = values(field);
        for value in wanted {
            assert!(there.contains(value), "no scenario with {field} {value}");
        }
    };
    covers("rtt", &["1ms", "20ms", "50ms", "200ms"]);
    covers("loss", &["0%", "0.1%", "0.5%", "1%", "3%"]);
    covers("rate", &["5mbit", "100mbit", "1gbit"]);
    covers("size", &["100B", "1KiB", "64KiB"]);
    covers("load", &["50kbit", "150%"]);
}
