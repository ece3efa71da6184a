//! `anabranch demo` shows what the README promises.

use crate::{
    support::{anabranch, file, run},
    text,
};

#[test]
fn the_demo_loses_nothing_opens_lanes_and_gives_them_back() {
    let shown = run(&mut anabranch(["demo", "--output", "json"])).expect_code(0);
    let json = shown.json();
    for (field, value) in [
        ("sent", 200_000),
        ("stored", 200_000),
        ("lost", 0),
        ("duplicated", 0),
        ("lanes_final", 1),
    ] {
        assert_eq!(json[field], value, "{field}: {json}");
    }
    assert_eq!(json["identical"], true);
    assert!(json["lanes_max"].as_u64().unwrap() > 1, "{json}");
    assert!(json["seconds"].as_f64().unwrap() > 0.0);
    let link = &json["over_a_lossy_link"];
    assert_eq!(link["one_lane"]["lanes_max"], 1, "{link}");
    assert!(link["lanes"]["lanes_max"].as_u64().unwrap() > 1, "{link}");
    for case in ["one_lane", "lanes"] {
        // Half of the round trip of 50 ms is spent on each way.
        assert!(link[case]["p50_ms"].as_f64().unwrap() >= 50.0, "{link}");
        assert!(link[case]["p99_ms"].as_f64() >= link[case]["p50_ms"].as_f64());
    }
    assert!(shown.stderr.contains("lanes 1 -> "), "{}", shown.stderr);
}

#[test]
fn the_demo_sends_a_text_of_one_s_own_and_leaves_no_folder_behind() {
    let folder = tempfile::tempdir().unwrap();
    let input = file(&folder, "text", text::log(100).as_bytes());
    let temporary = tempfile::tempdir().unwrap();
    let mut demo = anabranch(["demo", "--messages", "1000", "--output", "json"]);
    demo.args(["--compare", "100ms", "--input"]).arg(input);
    demo.env("TMPDIR", temporary.path());
    let json = run(&mut demo).expect_code(0).json();
    assert_eq!(json["stored"], 1000);
    assert_eq!(json["identical"], true);
    let left = std::fs::read_dir(temporary.path()).unwrap();
    assert_eq!(left.count(), 0);
}
