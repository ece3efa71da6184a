//! `anabranch consume`: start, count and format.

use std::io::Read;

use serde_json::{Value, json};

use crate::{
    support::{Process, Serve, run, run_with},
    text,
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
