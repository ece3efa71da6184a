//! `anabranch consume`: start, count and format.

use std::io::Read;

use serde_json::{Value, json};

use crate::{
    support::{Process, Serve, run, run_with},
    terminal, text,
};

fn broker_with(lines: &[u8]) -> Serve {
    let broker = Serve::start();
    run_with(&mut broker.produce(&["--mode", "ordered"]), lines).expect_code(0);
    broker
}

fn read(broker: &Serve, flags: &[&str]) -> String {
    let read = run(&mut broker.consume(flags)).expect_code(0);
    assert_eq!(read.stderr, "");
    String::from_utf8(read.stdout).unwrap()
}

#[test]
fn it_begins_where_it_is_told_and_ends_after_the_count() {
    let broker = broker_with(b"a\nb\nc\nd\n");
    assert_eq!(read(&broker, &[]), "a\nb\nc\nd\n");
    assert_eq!(read(&broker, &["--from", "2"]), "c\nd\n");
    assert_eq!(read(&broker, &["--from", "1", "--count", "2"]), "b\nc\n");
    assert_eq!(read(&broker, &["--from", "latest"]), "");
    assert_eq!(read(&broker, &["--from", "4"]), "");
    assert_eq!(read(&broker, &["--follow", "--count", "4"]), "a\nb\nc\nd\n");
}

#[test]
fn a_name_goes_on_behind_what_it_has_written() {
    let broker = broker_with(b"a\nb\nc\nd\n");
    assert_eq!(read(&broker, &["--name", "x", "--count", "3"]), "a\nb\nc\n");
    assert_eq!(read(&broker, &["--name", "x"]), "d\n");
    assert_eq!(read(&broker, &["--name", "x"]), "");
    assert_eq!(read(&broker, &["--name", "y"]), "a\nb\nc\nd\n");
}

#[test]
fn json_says_everything_of_a_message_and_bytes_that_are_no_text_are_base64() {
    let broker = Serve::start();
    let mut produce = broker.produce(&["--mode", "ordered", "--key-delimiter", "\\t"]);
    run_with(&mut produce, b"k\t\"text\"\n\xff\t\x00\xff\nplain\n").expect_code(0);
    let text = read(&broker, &["--format", "json"]);
    let mut messages: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for message in &mut messages {
        let message = message.as_object_mut().unwrap();
        for time in ["timestamp", "event_time"] {
            assert!(message.remove(time).unwrap().as_u64().unwrap() > 1_700_000_000_000);
        }
    }
    assert_eq!(
        messages,
        [
            json!({"offset": 0, "key": "k", "headers": [], "payload": "\"text\""}),
            json!({"offset": 1, "key_base64": "/w==", "headers": [], "payload_base64": "AP8="}),
            json!({"offset": 2, "key": null, "headers": [], "payload": "plain"}),
        ]
    );
}

#[test]
fn a_reader_of_our_output_that_leaves_early_ends_it_quietly() {
    let text = text::log(20_000);
    let broker = broker_with(text.as_bytes());
    for flags in [&[][..], &["--follow"], &["--name", "head"]] {
        let mut consume = Process::spawn(&mut broker.consume(flags));
        let mut stdout = consume.take_stdout();
        let mut beginning = [0; 100];
        stdout.read_exact(&mut beginning).unwrap();
        drop(stdout);
        let ended = consume.end().expect_code(0);
        assert_eq!(ended.stderr, "");
        assert_eq!(&beginning[..], &text.as_bytes()[..100]);
    }
}

#[test]
fn the_last_messages_are_printed_or_all_if_there_are_fewer() {
    let broker = broker_with(b"a\nb\nc\nd\n");
    assert_eq!(read(&broker, &["--last", "2"]), "c\nd\n");
    assert_eq!(read(&broker, &["--last", "9"]), "a\nb\nc\nd\n");
    let follow = ["--last", "1", "--follow", "--count", "1"];
    assert_eq!(read(&broker, &follow), "d\n");
}

#[test]
fn reading_begins_with_the_first_message_since_a_time() {
    let broker = broker_with(b"a\nb\n");
    let times = || read(&broker, &["--format", "%D%n"]);
    let first = times().lines().next().unwrap().to_owned();
    // Each run is later than the one before, but the clock may be coarse.
    let mut sent = 2;
    while times().lines().last().unwrap() == first {
        run_with(&mut broker.produce(&[]), b"later\n").expect_code(0);
        sent += 1;
    }
    let all = times();
    let last = all.lines().last().unwrap();
    let since = |time: &str| read(&broker, &["--since", time, "--format", "%o "]);
    assert_eq!(since(last), format!("{} ", sent - 1));
    let every: String = (0..sent).map(|offset| format!("{offset} ")).collect();
    assert_eq!(since(&first), every);
    assert_eq!(since("1h"), every);
    assert_eq!(since("2999-01-01T00:00:00Z"), "");
    assert_eq!(since("1970-01-01T00:00:00+01:00"), every);
}

#[test]
fn only_messages_of_a_key_are_printed_and_counted() {
    let broker = Serve::start();
    let mut produce = broker.produce(&["--key-delimiter", "="]);
    run_with(&mut produce, b"x=1\ny=2\nx=3\nnone\nx=4\n").expect_code(0);
    assert_eq!(read(&broker, &["--key", "x"]), "1\n3\n4\n");
    assert_eq!(read(&broker, &["--key", "x", "--count", "2"]), "1\n3\n");
    assert_eq!(read(&broker, &["--key", "none"]), "");
    // What is not printed is acknowledged all the same.
    let named = ["--name", "reader", "--key", "y"];
    assert_eq!(read(&broker, &named), "2\n");
    assert_eq!(read(&broker, &["--name", "reader"]), "");
}

#[test]
fn a_format_prints_what_it_says_and_nothing_else() {
    let broker = Serve::start();
    let mut produce = broker.produce(&["--key-delimiter", "="]);
    run_with(&mut produce, b"k=value\nplain\n").expect_code(0);
    let printed = read(
        &broker,
        &["--format", "%t[%o] %k(%K)=%v(%V) %H%h 100%%\\x21%n"],
    );
    assert_eq!(
        printed,
        "lines[0] k(1)=value(5) 0 100%!\nlines[1] (0)=plain(5) 0 100%!\n"
    );
    assert_eq!(read(&broker, &["--format", "%v\\0"]), "value\0plain\0");
}

#[test]
fn waiting_ends_after_the_time_that_is_given() {
    let broker = broker_with(b"a\nb\n");
    let follow = ["--follow", "--timeout", "3s"];
    assert_eq!(read(&broker, &follow), "a\nb\n");
    let mut three = broker.consume(&follow);
    let ended = run(three.args(["--count", "3"])).expect_code(1);
    assert_eq!(ended.stdout, b"a\nb\n");
    assert!(
        ended.sentence().contains("only 2 of 3 messages"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_count_of_nothing_is_refused() {
    let broker = broker_with(b"a\n");
    for flags in [["--count", "0"], ["--last", "0"]] {
        let ended = run(&mut broker.consume(&flags)).expect_code(2);
        assert!(ended.stderr.contains(flags[0]), "{}", ended.stderr);
        assert!(ended.stdout.is_empty());
    }
}

#[test]
fn a_terminal_shows_control_characters_and_a_pipe_gets_the_bytes() {
    let sent = b"\x1b]0;title\x07red\x1b[31m \xff\xc2\x9b L\xc3\xbcbeck\n";
    let broker = broker_with(sent);
    assert_eq!(run(&mut broker.consume(&[])).expect_code(0).stdout, sent);
    let shown = terminal::run(&mut broker.consume(&[]));
    assert_eq!(
        shown.trim_end(),
        r"\x1b]0;title\x07red\x1b[31m \xff\u{9b} Lübeck"
    );
    let shown = terminal::run(&mut broker.consume(&["--format", "<%v>%n"]));
    assert_eq!(
        shown.trim_end(),
        r"<\x1b]0;title\x07red\x1b[31m \xff\u{9b} Lübeck>"
    );
}
