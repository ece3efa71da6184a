//! `anabranch bench`: the figures are present and consistent.

use std::process::{Command, Stdio};

use serde_json::Value;

/// Runs a short measurement, and returns its JSON.
fn bench(runs: &str, flags: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_anabranch"))
        .args(["bench", "--output", "json", "--runs", runs])
        .args(flags)
        .env_remove("ANABRANCH_SERVER")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn positive(value: &Value) -> bool {
    value.as_f64().is_some_and(|figure| figure > 0.0)
}

#[test]
fn every_run_is_told_with_a_baseline_of_its_own() {
    let report = bench("2", &["--messages", "5000", "--baseline", "--threads", "2"]);
    assert_eq!(
        (&report["size"], &report["messages"]),
        (&100.into(), &5000.into())
    );
    assert_eq!(
        (&report["store"], &report["strategy"]),
        (&"memory".into(), &"adaptive".into())
    );
    assert_eq!(
        (&report["tasks"], &report["threads"]),
        (&2.into(), &true.into())
    );
    let runs = report["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 2);
    for run in runs {
        for figure in [
            "messages_per_second",
            "baseline_megabytes_per_second",
            "efficiency",
        ] {
            assert!(positive(&run[figure]), "{figure} in {run}");
        }
        assert!(positive(&run["ack_ms"]["p50"]), "{run}");
    }
    assert!(positive(&report["efficiency"]), "{report}");
    assert!(positive(&report["lanes_max"]), "{report}");
    // There is only one process.
    assert!(report["broker_cpu_us_per_message"].is_null(), "{report}");
    let allocations = &report["allocations_per_message"];
    match cfg!(feature = "count-allocations") {
        true => assert!(positive(allocations), "{report}"),
        false => assert!(allocations.is_null(), "{report}"),
    }
}

#[test]
fn a_store_on_disk_is_measured_beside_the_disk() {
    let report = bench(
        "2",
        &[
            "--messages",
            "2000",
            "--store",
            "log",
            "--disk-group",
            "4KiB",
            "--mode",
            "ordered",
        ],
    );
    assert_eq!(report["store"], "log");
    assert!(positive(&report["disk_megabytes_per_second"]), "{report}");
    assert!(positive(&report["disk_ms"]["p99"]), "{report}");
    assert!(
        report["efficiency"].is_null(),
        "no baseline was asked for: {report}"
    );
}

#[test]
fn one_message_at_a_time_is_measured_beside_a_ping_pong() {
    let report = bench("2", &["--messages", "200", "--mode", "ping", "--baseline"]);
    assert!(positive(&report["baseline_ms"]["p50"]), "{report}");
    assert!(positive(&report["latency_ratio"]), "{report}");
}

#[test]
fn a_rate_is_kept() {
    let report = bench("1", &["--messages", "1000", "--rate", "2000"]);
    // The last message is due after half a second minus one gap, on any machine.
    let rate = report["messages_per_second"].as_f64().unwrap();
    assert!(rate <= 1000.0 / 0.4995, "{report}");
}
