//! Messages are read back in order and unchanged.

use std::collections::BTreeMap;

use serde_json::{Deserializer, Value};

use crate::{
    support::{Serve, file, run, run_with},
    text,
};

#[test]
fn a_file_comes_back_in_its_order_byte_for_byte() {
    let broker = Serve::start();
    let mut bytes = text::log(30_000).into_bytes();
    // A line may hold anything but a newline.
    bytes.extend(b"\n\n\xff\xfe not text \x00\r\n \t\n");
    bytes.extend(vec![b'x'; 700_000]);
    bytes.extend(b"\nthe end\n");
    assert!(bytes.len() > 3_000_000);
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "access.log", &bytes);

    let sent = run(broker.produce(&[]).arg(path)).expect_code(0);
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(sent.json()["sent"], lines);
    assert_eq!(sent.json()["delivered"], lines);
    assert_eq!(sent.json()["failed"], 0);
    assert_eq!(sent.stderr, "");

    let back = broker.read_all();
    assert!(back == bytes, "{} bytes came back", back.len());
}

#[test]
fn lines_sent_by_any_lane_all_come_back_each_once() {
    let broker = Serve::start();
    let text = text::log(30_000);
    let mut produce = broker.produce(&["--mode", "async"]);
    let sent = run_with(&mut produce, text.as_bytes()).expect_code(0);
    assert_eq!(sent.json()["delivered"], 30_000);
    assert!(sent.json()["lanes_max"].as_u64().unwrap() >= 1);

    let back = broker.read_all();
    assert!(text::sorted(&back) == text::sorted(text.as_bytes()));
}

#[test]
fn lines_of_each_key_keep_their_order_whatever_lane_carries_them() {
    const KEYS: u64 = 50;
    let broker = Serve::start();
    let mut rng = text::Rng::new(7);
    let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut lines = String::new();
    for n in 0..20_000 {
        let (key, payload) = (format!("k{}", rng.below(KEYS)), format!("{n}|{n}"));
        lines.push_str(&format!("{key}|{payload}\n"));
        expected.entry(key).or_default().push(payload);
    }
    let mut produce = broker.produce(&["--mode", "async"]);
    produce.args(["--key-delimiter", "|", "--strategy", "8"]);
    let sent = run_with(&mut produce, lines.as_bytes()).expect_code(0);
    assert_eq!(sent.json()["delivered"], 20_000);
    assert_eq!(sent.json()["lanes_max"], 8);

    let back = run(&mut broker.consume(&["--format", "json"])).expect_code(0);
    let mut came: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for message in Deserializer::from_slice(&back.stdout).into_iter::<Value>() {
        let message = message.unwrap();
        let text = |field: &str| message[field].as_str().unwrap().to_owned();
        came.entry(text("key")).or_default().push(text("payload"));
    }
    assert!(came == expected);
}

#[test]
fn several_files_and_standard_input_are_sent_one_after_the_other() {
    let broker = Serve::start();
    let folder = tempfile::tempdir().unwrap();
    let first = file(&folder, "first", b"one\ntwo");
    let last = file(&folder, "last", b"four");
    let mut produce = broker.produce(&["--mode", "ordered"]);
    produce.arg(first).arg("-").arg(last);
    run_with(&mut produce, b"three\n").expect_code(0);
    assert_eq!(broker.read_all(), b"one\ntwo\nthree\nfour\n");
}

#[test]
fn nothing_in_is_nothing_out() {
    let broker = Serve::start();
    let sent = run(&mut broker.produce(&[])).expect_code(0);
    assert_eq!(sent.json()["sent"], 0);
    assert_eq!(broker.stored(), 0);
}
