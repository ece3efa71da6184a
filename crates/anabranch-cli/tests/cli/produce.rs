//! `anabranch produce`: where messages end, and what they carry.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
};

use crate::support::{Process, Serve, file, run, run_with};

/// Sends `input`, and returns what `consume --format` prints.
fn sent_as(flags: &[&str], input: &[u8], format: &str) -> String {
    let broker = Serve::start();
    run_with(&mut broker.produce(flags), input).expect_code(0);
    let read = run(&mut broker.consume(&["--format", format])).expect_code(0);
    String::from_utf8(read.stdout).unwrap()
}

#[test]
fn a_message_ends_where_the_flags_say() {
    let input = b"a\r\nb\0c\r\n";
    let sent = |flags: &[&str]| sent_as(flags, input, "[%v]");
    assert_eq!(sent(&[]), "[a\r][b\0c\r]");
    assert_eq!(sent(&["--crlf"]), "[a][b\0c]");
    assert_eq!(sent(&["--null"]), "[a\r\nb][c\r\n]");
    assert_eq!(sent(&["-0"]), sent(&["--null"]));
    assert_eq!(sent(&["--whole"]), "[a\r\nb\0c\r\n]");
}

#[test]
fn each_file_is_one_message_with_whole_and_an_empty_one_too() {
    let broker = Serve::start();
    let folder = tempfile::tempdir().unwrap();
    let mut produce = broker.produce(&["--whole"]);
    for (name, content) in [("a", &b"1\n2\n"[..]), ("b", b""), ("c", b"\0\xff")] {
        produce.arg(file(&folder, name, content));
    }
    assert_eq!(run(&mut produce).expect_code(0).json()["delivered"], 3);
    let read = run(&mut broker.consume(&["--format", "%V:%v;"])).expect_code(0);
    assert_eq!(read.stdout, b"4:1\n2\n;0:;2:\0\xff;");
}

#[test]
fn every_message_has_the_key_and_the_headers_that_are_given() {
    let flags = ["--key", "k", "--header", "a=1", "--header", "b=x=y"];
    let printed = sent_as(&flags, b"one\ntwo\n", "%k %h %v%n");
    assert_eq!(printed, "k a=1,b=x=y one\nk a=1,b=x=y two\n");
}

#[test]
fn a_message_over_the_size_that_is_given_is_refused_and_the_others_are_sent() {
    let broker = Serve::start();
    let mut produce = broker.produce(&["--max-message-bytes", "5"]);
    let sent = run_with(&mut produce, b"12345\n123456\n1\n").expect_code(1);
    assert!(
        sent.stderr.contains("line 2 of standard input"),
        "{}",
        sent.stderr
    );
    assert_eq!(sent.json()["delivered"], 2);
    assert_eq!(broker.read_all(), b"12345\n1\n");
}

#[test]
fn a_small_buffer_and_a_wait_for_more_change_nothing_of_the_order() {
    let broker = Serve::start();
    let text = crate::text::log(2_000);
    for mode in ["ordered", "async"] {
        let mut produce = broker.produce(&["--buffer", "64KiB", "--linger", "1ms"]);
        produce.args(["--mode", mode, "--key", "k"]);
        let sent = run_with(&mut produce, text.as_bytes()).expect_code(0);
        assert_eq!(sent.json()["delivered"], 2_000, "{mode}");
    }
    assert!(broker.read_all() == (text.clone() + &text).as_bytes());
}

#[test]
fn lanes_are_for_messages_without_an_order() {
    let broker = Serve::start();
    let ended = run_with(&mut broker.produce(&["--strategy", "4"]), b"a\n").expect_code(1);
    assert!(
        ended.sentence().contains("--mode async"),
        "{}",
        ended.stderr
    );
    assert_eq!(broker.stored(), 0);
}

#[test]
fn metrics_of_a_producer_are_served_while_it_runs() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let broker = Serve::start();
    let mut produce = Process::spawn(&mut broker.produce(&["--metrics", &address]));
    let mut stdin = produce.take_stdin();
    stdin.write_all(b"one\ntwo\n").unwrap();
    broker.wait_until_stored(2);
    let mut http = TcpStream::connect(&address).unwrap();
    http.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut page = String::new();
    http.read_to_string(&mut page).unwrap();
    assert!(
        page.contains("anabranch_producer_messages_acked_total"),
        "{page}"
    );
    drop(stdin);
    produce.end().expect_code(0);
}
