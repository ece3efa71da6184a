//! A soak of some seconds: the long ones are a command.

use std::io::{BufRead, BufReader};

use crate::support::{Process, anabranch, run};

#[test]
fn a_soak_of_some_seconds_loses_nothing_over_restarts_of_the_broker() {
    let flags = ["--duration", "6s", "--reconnect-every", "1500ms"];
    let mut soak = anabranch(["soak", "--output", "json", "--sample-every", "500ms"]);
    let soaked = run(soak.args(flags)).expect_code(0);
    let json = soaked.json();
    assert_eq!(json["sound"], true, "{json}");
    assert!(json["reconnects"].as_u64().unwrap() >= 2, "{json}");
    assert!(json["sent"].as_u64().unwrap() > 1000, "{json}");
    for wrong in [
        "lost",
        "duplicated",
        "disordered",
        "without_outcome",
        "skipped",
    ] {
        assert_eq!(json[wrong], 0, "{json}");
    }
    assert_eq!(json["read"], json["acknowledged"], "{json}");
}

#[test]
fn ctrl_c_ends_a_soak_in_order_and_says_how_it_went() {
    let mut soak = Process::spawn(&mut anabranch(["soak", "--output", "json"]));
    let mut told = BufReader::new(soak.take_stderr()).lines();
    // It has begun.
    told.next().unwrap().unwrap();
    soak.signal("INT");
    assert!(told.last().unwrap().unwrap().starts_with("no more load"));
    assert_eq!(soak.end().expect_code(0).json()["sound"], true);
}
