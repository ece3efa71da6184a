//! SIGTERM, SIGHUP, and standard output that blocks. Ctrl-C is in `interrupt.rs`.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::ChildStdin,
};

use crate::{
    certificates,
    support::{Process, Serve, TOPIC, anabranch, file, run, run_with},
    text,
};

const LINES: u64 = 1_000;

/// Starts `produce` with a standard input that never ends, and waits until its lines are stored.
fn producing(broker: &Serve, more: &[&str]) -> (Process, ChildStdin) {
    let mut produce = Process::spawn(&mut broker.produce(more));
    let mut stdin = produce.take_stdin();
    write_lines(&mut stdin);
    broker.wait_until_stored(LINES);
    (produce, stdin)
}

fn write_lines(stdin: &mut impl Write) {
    for n in 0..LINES {
        writeln!(stdin, "line {n}").unwrap();
    }
}

#[test]
fn a_second_sigterm_is_the_same_wish_and_everything_that_was_read_is_delivered() {
    let mut broker = Serve::start();
    let (mut produce, mut stdin) = producing(&broker, &["--drain-timeout", "1h"]);
    broker.freeze();
    write_lines(&mut stdin);
    produce.signal("TERM");
    let mut log = BufReader::new(produce.take_stderr()).lines();
    let first = log.next().unwrap().unwrap();
    assert!(first.starts_with("stopping: "), "{first}");
    for _ in 0..3 {
        produce.signal("TERM");
    }
    broker.thaw();
    let sent = produce.end().expect_code(0).json();
    drop(stdin);
    assert_eq!(sent["failed"], 0, "{sent}");
    assert_eq!(sent["delivered"], broker.stored());
}

#[test]
fn a_hangup_ends_clients_in_order() {
    let broker = Serve::start();
    let (mut produce, stdin) = producing(&broker, &[]);
    produce.signal("HUP");
    let sent = produce.end().expect_code(0).json();
    drop(stdin);
    assert_eq!(
        (&sent["delivered"], &sent["failed"]),
        (&LINES.into(), &0.into())
    );

    let mut consume = Process::spawn(&mut broker.consume(&["--follow"]));
    let mut stdout = BufReader::new(consume.take_stdout()).lines();
    let came = stdout.by_ref().take(usize::try_from(LINES).unwrap());
    assert_eq!(came.count() as u64, LINES);
    consume.signal("HUP");
    assert_eq!(stdout.count(), 0);
    consume.end().expect_code(0);
}

#[test]
fn a_hangup_that_was_ignored_from_the_start_stays_ignored() {
    let broker = Serve::start();
    let produce = broker.produce(&[]);
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]);
    shell.arg(produce.get_program()).args(produce.get_args());
    let mut produce = Process::spawn(&mut shell);
    let mut stdin = produce.take_stdin();
    write_lines(&mut stdin);
    broker.wait_until_stored(LINES);
    produce.signal("HUP");
    write_lines(&mut stdin);
    broker.wait_until_stored(2 * LINES);
    drop(stdin);
    assert_eq!(produce.end().expect_code(0).json()["delivered"], 2 * LINES);
}

#[test]
fn a_consumer_ends_at_the_first_sigterm_though_no_process_reads_its_output() {
    let broker = Serve::start();
    // One message, much larger than what a pipe holds.
    let text = text::log(20_000);
    run_with(&mut broker.produce(&["--whole"]), text.as_bytes()).expect_code(0);
    for more in [&["--follow"][..], &["--name", "x"]] {
        let mut consume = Process::spawn(&mut broker.consume(more));
        let mut stdout = consume.take_stdout();
        stdout.read_exact(&mut [0; 100]).unwrap();
        consume.signal("TERM");
        let ended = consume.end().expect_code(1);
        let said = ended.sentence();
        assert!(said.contains("standard output takes nothing"), "{said}");
        drop(stdout);
    }
    // What was not written is not acknowledged.
    let again = run(&mut broker.consume(&["--name", "x"])).expect_code(0);
    assert!(again.stdout == (text + "\n").as_bytes());
}

/// Sends SIGHUP, and waits for the line that says how the reload ended.
fn reload(broker: &mut Serve, log: &mut impl Iterator<Item = String>) -> String {
    broker.signal("HUP");
    let line = log.find(|line| line.contains("certificates and tokens"));
    line.unwrap()
}

#[test]
fn a_hangup_makes_the_broker_read_its_tokens_again_and_a_mistake_leaves_the_old_ones() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = file(&folder, "tokens", b"old\n");
    let mut broker = Serve::with(&["--token-file", tokens.to_str().unwrap()]);
    let mut log = broker.log();
    let ping = |broker: &Serve, token: &str, code| {
        let mut ping = broker.client("ping", &["--count", "1"]);
        run(ping.env("ANABRANCH_TOKEN", token)).expect_code(code);
    };
    ping(&broker, "old", 0);
    ping(&broker, "new", 1);

    file(&folder, "tokens", b"new\n");
    let line = reload(&mut broker, &mut log);
    assert!(line.contains("were read again"), "{line}");
    ping(&broker, "new", 0);
    ping(&broker, "old", 1);

    file(&folder, "tokens", b"new write:x\n");
    let line = reload(&mut broker, &mut log);
    assert!(
        line.contains("stay as they were") && line.contains("line 1"),
        "{line}"
    );
    ping(&broker, "new", 0);
}

#[test]
fn a_hangup_makes_the_broker_show_its_new_certificate_and_keep_its_clients() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = certificates::make(&folder, None);
    let (certificate, key) = (certificate.to_str().unwrap(), key.to_str().unwrap());
    let mut broker = Serve::with(&["--cert", certificate, "--key", key]);
    let mut log = broker.log();
    let server = broker.announced["server"].as_str().unwrap().to_owned();
    let old = broker.announced["pin"].as_str().unwrap().to_owned();
    let mut produce = anabranch(["produce", "--server", &server, "--pin", &old]);
    let mut produce = Process::spawn(produce.args(["--topic", TOPIC, "--output", "json"]));
    let mut stdin = produce.take_stdin();
    let ping = |code| {
        let mut ping = anabranch(["ping", "--count", "1", "--server", &server]);
        run(ping.args(["--pin", &old])).expect_code(code);
    };
    ping(0);

    certificates::make(&folder, None);
    let line = reload(&mut broker, &mut log);
    assert!(line.contains("were read again"), "{line}");
    ping(1);
    writeln!(stdin, "through the old connection").unwrap();
    drop(stdin);
    assert_eq!(produce.end().expect_code(0).json()["delivered"], 1);
}

#[test]
fn the_broker_tells_who_comes_and_goes_and_is_refused_and_why_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = file(&folder, "tokens", b"right\n");
    let mut broker = Serve::with(&["--token-file", tokens.to_str().unwrap()]);
    let mut log = broker.log();
    for (token, code) in [("right", 0), ("wrong", 1)] {
        let mut ping = broker.client("ping", &["--count", "1"]);
        run(ping.env("ANABRANCH_TOKEN", token)).expect_code(code);
    }
    let mut produce = broker.produce(&[]);
    run_with(produce.env("ANABRANCH_TOKEN", "right"), b"line\n").expect_code(0);
    broker.signal("TERM");
    let log: Vec<String> = log.by_ref().collect();
    for wanted in [
        "a client has connected",
        "a producer has connected",
        "a client has gone",
        "it closed the connection",
        "a client was refused",
        "the token is not known",
        "shutting down: SIGTERM",
    ] {
        let told = log.iter().any(|line| line.contains(wanted));
        assert!(told, "{wanted:?} in {log:#?}");
    }
    assert!(!log.iter().any(|line| line.contains("wrong")), "{log:#?}");
}

#[test]
fn a_shutdown_does_not_wait_for_a_client_that_never_finishes_its_handshake() {
    let mut broker = Serve::start();
    let server = broker.announced["server"].as_str().unwrap().to_owned();
    // It does not trust the broker, and goes without a word.
    run(&mut anabranch([
        "ping", "--count", "1", "--server", &server,
    ]))
    .expect_code(1);
    let log = broker.log();
    broker.signal("TERM");
    let log: Vec<String> = log.collect();
    assert!(
        log.iter().any(|line| line.contains("broker closed")),
        "{log:#?}"
    );
    assert!(
        !log.iter().any(|line| line.contains("took longer")),
        "{log:#?}"
    );
}
