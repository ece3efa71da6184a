//! Ctrl-C.

use std::io::{BufRead, BufReader, Write};

use crate::support::{Process, Serve};

const LINES: u64 = 5_000;

/// `produce` on a standard input that never ends, with some lines stored.
fn producing(broker: &Serve, more: &[&str]) -> (Process, std::process::ChildStdin) {
    let mut produce = Process::spawn(&mut broker.produce(more));
    let mut stdin = produce.take_stdin();
    for n in 0..LINES {
        writeln!(stdin, "line {n}").unwrap();
    }
    broker.wait_until_stored(LINES);
    (produce, stdin)
}

#[test]
fn ctrl_c_ends_a_standard_input_that_never_ends_and_delivers_what_was_read() {
    let broker = Serve::start();
    let (mut produce, stdin) = producing(&broker, &["--mode", "ordered"]);
    produce.signal("INT");
    let sent = produce.end().expect_code(0);
    drop(stdin);
    assert_eq!(sent.json()["sent"], LINES);
    assert_eq!(sent.json()["delivered"], LINES);
    assert_eq!(broker.stored(), LINES);
}

#[test]
fn what_cannot_be_delivered_after_ctrl_c_is_counted_when_the_time_is_up() {
    let mut broker = Serve::start();
    let (mut produce, mut stdin) = producing(&broker, &["--drain-timeout", "300ms"]);
    broker.signal("STOP");
    stdin.write_all(b"too\nlate\n").unwrap();
    drop(stdin);
    produce.signal("INT");
    let sent = produce.end();
    broker.signal("CONT");
    // The two lines may have been read before the signal or not: either way the count is right.
    let json = sent.json();
    let (read, delivered) = (json["sent"].as_u64().unwrap(), LINES);
    assert_eq!(json["delivered"], delivered);
    assert_eq!(json["failed"], read - delivered);
    sent.expect_code(i32::from(read > delivered));
}

#[test]
fn a_second_ctrl_c_leaves_at_once_and_says_what_was_not_delivered() {
    let mut broker = Serve::start();
    let (mut produce, stdin) = producing(&broker, &[]);
    broker.signal("STOP");
    // It cannot say goodbye to a broker that stands still, so it waits: there is something to interrupt.
    produce.signal("INT");
    let mut told = BufReader::new(produce.take_stderr()).lines();
    let first = told.next().unwrap().unwrap();
    assert!(first.starts_with("stopping: "), "{first}");
    produce.signal("INT");
    let second = told.next().map(Result::unwrap).unwrap_or_default();
    let ended = produce.end();
    broker.signal("CONT");
    drop(stdin);
    assert!(second.starts_with("ended at once: 0 messages"), "{second}");
    ended.expect_code(130);
}

#[test]
fn ctrl_c_ends_a_consumer_that_follows_and_what_it_has_read_is_written() {
    let broker = Serve::start();
    let (mut produce, _stdin) = producing(&broker, &[]);
    produce.signal("INT");
    produce.end().expect_code(0);
    let mut consume = Process::spawn(&mut broker.consume(&["--follow"]));
    let mut stdout = BufReader::new(consume.take_stdout()).lines();
    let came = stdout.by_ref().take(usize::try_from(LINES).unwrap());
    assert_eq!(came.count() as u64, LINES);
    consume.signal("INT");
    assert_eq!(stdout.count(), 0);
    assert_eq!(consume.end().expect_code(0).stderr, "");
}
