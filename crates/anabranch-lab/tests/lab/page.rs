//! The page of `--report` shows the figures of the JSON.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

const FIGURES: [&str; 10] = [
    "delivery_ms.p50",
    "delivery_ms.p99",
    "delivery_ms.max",
    "receipt_ms.p99",
    "throughput_mbit",
    "lanes.opened",
    "lanes.mean",
    "lanes.final",
    "delivered",
    "packets.lost",
];

/// Runs the program, and returns its JSON and the path of the page.
fn report(folder: &Path) -> (Value, PathBuf) {
    let page = folder.join("report.html");
    let output = Command::new(env!("CARGO_BIN_EXE_anabranch-lab"))
        .args(["--duration", "1s", "--load", "2mbit", "--loss", "2%"])
        .args([
            "--strategies",
            "adaptive,1,per-message",
            "--output",
            "json",
            "--report",
        ])
        .arg(&page)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    (serde_json::from_slice(&output.stdout).unwrap(), page)
}

fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(value, |value, key| &value[key])
}

#[test]
fn the_json_has_the_figures_that_were_promised() {
    let folder = tempfile::tempdir().unwrap();
    let (json, _) = report(folder.path());
    assert_eq!(json["scenario"]["rtt"], "50ms");
    assert_eq!(json["scenario"]["loss"], "2%");
    assert!(json["floor_ms"].as_f64().unwrap() > 25.0);
    let strategies = json["strategies"].as_array().unwrap();
    let names: Vec<_> = strategies
        .iter()
        .map(|s| s["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["adaptive", "1", "per-message"]);
    for strategy in strategies {
        for times in ["delivery_ms", "receipt_ms"] {
            for quantile in ["p50", "p90", "p99", "p999", "max"] {
                assert!(strategy[times][quantile].as_f64().unwrap() >= 25.0);
            }
        }
        for count in ["opened", "retired", "max", "mean", "final"] {
            assert!(strategy["lanes"][count].is_number(), "{count}: {strategy}");
        }
        assert!(strategy["throughput_mbit"].as_f64().unwrap() > 1.0);
        assert!(strategy["decisions"].is_object());
        assert!(strategy["delivered"].as_u64().unwrap() > 200);
        assert_eq!(strategy["lost"], 0);
        assert!(strategy["cpu_seconds"].is_number() || strategy["cpu_seconds"].is_null());
        assert!(
            strategy.get("trace").is_none(),
            "only the page has samples over time"
        );
    }
}

#[test]
fn the_data_in_the_page_is_the_json_of_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let (json, page) = report(folder.path());
    let html = std::fs::read_to_string(page).unwrap();
    let data = html
        .split("<script id=\"data\" type=\"application/json\">")
        .nth(1)
        .unwrap();
    let data = data.split("</script>").next().unwrap();
    let data: Value = serde_json::from_str(data).unwrap();
    let mut run = data[0].clone();
    for strategy in run["strategies"].as_array_mut().unwrap() {
        let trace = strategy.as_object_mut().unwrap().remove("trace").unwrap();
        assert!(trace["samples"].as_array().unwrap().len() > 100);
        assert!(!trace["latency"].as_array().unwrap().is_empty());
    }
    assert_eq!(run, json);
}

#[test]
#[ignore = "needs chromium; CI runs it with --include-ignored"]
fn a_browser_shows_the_figures_of_the_json() {
    let browser = browser().expect("chromium is installed");
    let folder = tempfile::tempdir().unwrap();
    let (json, page) = report(folder.path());
    let output = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
        ])
        .args(["--virtual-time-budget=5000", "--dump-dom"])
        .arg(format!(
            "--user-data-dir={}",
            folder.path().join("profile").display()
        ))
        .arg(format!("file://{}", page.display()))
        .stderr(Stdio::null())
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&output.stdout);
    let shown: BTreeMap<&str, (&str, &str)> = dom
        .split("data-figure=\"")
        .skip(1)
        .filter_map(|rest| {
            let (key, rest) = rest.split_once("\" data-value=\"")?;
            let (value, rest) = rest.split_once("\">")?;
            Some((key, (value, rest.split('<').next()?)))
        })
        .collect();
    for strategy in json["strategies"].as_array().unwrap() {
        let name = strategy["name"].as_str().unwrap();
        for figure in FIGURES {
            let (value, text) = shown[format!("{name}/{figure}").as_str()];
            let value: f64 = value.parse().unwrap();
            let expected = at(strategy, figure).as_f64().unwrap();
            assert!(
                (value - expected).abs() < 1e-9,
                "{name} {figure}: {value}, not {expected}"
            );
            let read: f64 = text.parse().unwrap();
            assert!(
                (read - expected).abs() <= 0.51,
                "{name} {figure} reads {text}, not {expected}"
            );
        }
    }
    for drawing in ["ranges", "tails", "time"] {
        let part = dom.split(&format!("id=\"{drawing}\"")).nth(1).unwrap();
        assert!(
            part.trim_start_matches('>').starts_with("<svg"),
            "{drawing} is not drawn"
        );
    }
    assert!(!dom.contains("NaN"), "a figure is missing");
}

fn browser() -> Option<&'static str> {
    let works = |name: &&str| {
        let version = Command::new(name)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        version.is_ok_and(|status| status.success())
    };
    ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find(works)
}
