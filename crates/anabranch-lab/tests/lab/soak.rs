//! A soak of a few seconds. Long ones are run by hand.

use std::{
    io::{BufRead, BufReader},
    process::Command,
};

use crate::process::{Process, command, run};

fn soak() -> Command {
    let mut command = command(env!("CARGO_BIN_EXE_anabranch-lab"));
    command.args(["soak", "--output", "json"]);
    command
}

#[test]
fn a_soak_of_some_seconds_loses_nothing_over_restarts_of_the_broker() {
    let flags = [
        "--duration",
        "6.5s",
        "--reconnect-every",
        "1.5s",
        "--sample-every",
        "500ms",
    ];
    let soaked = run(soak().args(flags)).expect_code(0);
    let json = soaked.json();
    assert_eq!(json["sound"], true, "{json}");
    assert!(json["reconnects"].as_u64().unwrap() >= 2, "{json}");
    assert!(json["sent"].as_u64().unwrap() > 1000, "{json}");
    for wrong in [
        "lost",
        "duplicated",
        "out_of_order",
        "without_outcome",
        "skipped",
    ] {
        assert_eq!(json[wrong], 0, "{json}");
    }
    assert_eq!(json["read"], json["acknowledged"], "{json}");
}

#[test]
fn ctrl_c_ends_a_soak_in_order_and_says_how_it_went() {
    let mut soak = Process::spawn(&mut soak());
    let mut stderr = BufReader::new(soak.take_stderr()).lines();
    // The first sample: the soak is running.
    stderr.next().unwrap().unwrap();
    soak.signal("INT");
    assert!(stderr.last().unwrap().unwrap().starts_with("no more load"));
    assert_eq!(soak.end().expect_code(0).json()["sound"], true);
}
