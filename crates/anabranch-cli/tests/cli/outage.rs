//! Restarts and crashes of the broker and the producer.

use std::io::Write;

use crate::{
    support::{Process, Serve, Stopped, run, run_with},
    text,
};

/// Sends half of a text, ends the broker, sends the other half, and starts the broker again. Returns the text and what is
/// read back.
fn send_across_a_restart(mode: &str, end: impl FnOnce(Serve) -> Stopped) -> (String, Vec<u8>) {
    let text = text::log(20_000);
    let middle = text.len() / 2;
    let middle = middle + text[middle..].find('\n').unwrap() + 1;
    let (before, after) = text.split_at(middle);

    let broker = Serve::start();
    let mut produce = Process::spawn(&mut broker.produce(&["--mode", mode]));
    let mut stdin = produce.take_stdin();
    stdin.write_all(before.as_bytes()).unwrap();
    broker.wait_until_stored(before.lines().count() as u64 / 2);
    let stopped = end(broker);
    stdin.write_all(after.as_bytes()).unwrap();
    drop(stdin);
    let broker = stopped.start_again();

    let sent = produce.end().expect_code(0);
    assert_eq!(sent.json()["delivered"], 20_000);
    assert_eq!(sent.json()["failed"], 0);
    let back = broker.read_all();
    (text, back)
}

#[test]
fn a_broker_that_is_restarted_has_every_line_once_and_in_order() {
    let (text, back) = send_across_a_restart("ordered", Serve::stop);
    assert!(back == text.as_bytes(), "{} bytes came back", back.len());
}

#[test]
fn a_broker_that_is_restarted_has_every_line_of_any_lane_once() {
    let (text, back) = send_across_a_restart("async", Serve::stop);
    assert!(text::sorted(&back) == text::sorted(text.as_bytes()));
}

#[test]
fn a_broker_that_is_killed_has_every_line_once_and_in_order() {
    let (text, back) = send_across_a_restart("ordered", Serve::kill);
    assert!(back == text.as_bytes(), "{} bytes came back", back.len());
}

#[test]
fn what_is_not_delivered_in_time_is_told_with_its_fate() {
    let mut broker = Serve::start();
    let mut produce = broker.produce(&["--delivery-timeout", "500ms"]);
    let mut produce = Process::spawn(&mut produce);
    let mut stdin = produce.take_stdin();
    stdin.write_all(b"one\n").unwrap();
    broker.wait_until_stored(1);
    broker.freeze();
    stdin.write_all(b"two\nthree\n").unwrap();
    drop(stdin);
    let sent = produce.end().expect_code(1);
    // The first line is stored. The broker may have acknowledged it before it was stopped, or not.
    let failed = sent.json()["failed"].as_u64().unwrap();
    assert!((2..=3).contains(&failed), "{}", sent.json());
    assert_eq!(sent.json()["delivered"], 3 - failed);
    for line in ["line 2", "line 3"] {
        let failure =
            format!("error: {line} of standard input: no outcome within delivery_timeout; it ");
        assert!(sent.stderr.contains(&failure), "{}", sent.stderr);
    }
}

#[test]
fn a_broker_in_memory_forgets_and_one_on_disk_does_not() {
    for (store, left) in [("memory", &b""[..]), ("log", b"kept\n")] {
        let broker = Serve::with(&["--store", store]);
        run_with(&mut broker.produce(&[]), b"kept\n").expect_code(0);
        let broker = broker.stop().start_again();
        // In memory, the topic is gone too.
        let code = i32::from(left.is_empty());
        let back = run(&mut broker.consume(&[])).expect_code(code);
        assert_eq!(back.stdout, left, "{store}");
    }
}

#[test]
fn a_producer_that_is_killed_leaves_a_beginning_of_its_lines_each_once_and_in_order() {
    let text = text::log(20_000);
    let broker = Serve::start();
    let mut produce = Process::spawn(&mut broker.produce(&["--mode", "ordered"]));
    let mut stdin = produce.take_stdin();
    stdin.write_all(text.as_bytes()).unwrap();
    broker.wait_until_stored(100);
    produce.signal("KILL");
    drop(stdin);
    assert_eq!(produce.end().status.code(), None);

    // The broker does not know yet that the connection is dead.
    run_with(&mut broker.produce(&[]), b"the last line\n").expect_code(0);
    let back = broker.read_all();
    let lines = back.strip_suffix(b"the last line\n").unwrap();
    assert!(text.as_bytes().starts_with(lines), "{} bytes", lines.len());
    assert!(lines.ends_with(b"\n") && lines.len() > 100);
}
