//! Ctrl-C.

use std::io::{BufRead, BufReader, Write};

use crate::support::{Process, Serve};

const LINES: u64 = 5_000;

/// Starts `produce` with a standard input that never ends, and waits until some lines are stored.
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

/// Writes more lines than a pipe holds, so that most of them have been read afterwards.
fn more_than_a_pipe_holds(stdin: &mut impl Write) -> u64 {
    const MORE: u64 = 20_000;
    let line = "x".repeat(99) + "\n";
    for _ in 0..MORE {
        stdin.write_all(line.as_bytes()).unwrap();
    }
    MORE
}

#[test]
fn what_cannot_be_delivered_after_ctrl_c_is_counted_when_the_time_is_up() {
    let mut broker = Serve::start();
    let (mut produce, mut stdin) = producing(&broker, &["--drain-timeout", "300ms"]);
    broker.freeze();
    let more = more_than_a_pipe_holds(&mut stdin);
    produce.signal("INT");
    let sent = produce.end().expect_code(1);
    drop(stdin);
    let figure = |field: &str| sent.json()[field].as_u64().unwrap();
    assert!(figure("sent") > LINES && figure("sent") <= LINES + more);
    // Stored messages may have been acknowledged before the broker was stopped, or not.
    assert!(figure("delivered") <= LINES, "{}", sent.json());
    assert_eq!(figure("failed"), figure("sent") - figure("delivered"));
    assert!(sent.stderr.contains("stored"), "{}", sent.stderr);
}

#[test]
fn a_second_ctrl_c_leaves_at_once_and_says_what_was_not_delivered() {
    let mut broker = Serve::start();
    let (mut produce, mut stdin) = producing(&broker, &["--drain-timeout", "1h"]);
    broker.freeze();
    let more = more_than_a_pipe_holds(&mut stdin);
    produce.signal("INT");
    let mut stderr = BufReader::new(produce.take_stderr()).lines();
    let mut line = || stderr.next().unwrap().unwrap();
    let first = line();
    assert!(first.starts_with("stopping: "), "{first}");
    // A signal that comes too soon after the first one is the same.
    let last = std::thread::scope(|scope| {
        let last = scope.spawn(line);
        while !last.is_finished() {
            produce.signal("INT");
        }
        last.join().unwrap()
    });
    let count = last.strip_prefix("ended at once: ").expect(&last);
    let count: u64 = count.split(' ').next().unwrap().parse().unwrap();
    assert!(count > 0 && count <= LINES + more, "{last}");
    assert!(last.ends_with("were read and not delivered"), "{last}");
    produce.end().expect_code(130);
    drop(stdin);
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
