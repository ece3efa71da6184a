//! `topics` and `ping`.

use crate::support::{Process, Serve, TOPIC, anabranch, free_port, run, run_with};

#[test]
fn topics_tells_messages_bytes_and_offsets() {
    let broker = Serve::start();
    let list = || run(&mut broker.client("topics", &["--output", "json"])).expect_code(0);
    assert_eq!(list().json(), serde_json::json!([]));

    run_with(&mut broker.produce(&[]), b"one\ntwo\nthree\n").expect_code(0);
    let listed = list().json();
    let topic = &listed[0];
    assert_eq!(topic["name"], TOPIC);
    assert_eq!(topic["messages"], 3);
    assert_eq!(topic["first"], 0);
    assert_eq!(topic["last"], 2);
    assert!(topic["bytes"].as_u64().unwrap() > 11);

    let table = run(&mut broker.client("topics", &[])).expect_code(0).stdout;
    let table = String::from_utf8(table).unwrap();
    assert!(table.starts_with("TOPIC"), "{table}");
    assert!(table.contains(TOPIC), "{table}");
}

#[test]
fn topics_are_created_described_changed_emptied_and_deleted() {
    let broker = Serve::start();
    let topics = |words: &[&str]| run(&mut broker.client_of(&["topics"], words));
    let made = topics(&["create", "a", "--max-age", "7d", "--max-bytes", "none"]).expect_code(0);
    assert_eq!(made.sentence(), "topic a created");
    let again = topics(&["create", "a"]).expect_code(1);
    assert!(
        again.sentence().contains("exists already"),
        "{}",
        again.stderr
    );

    run_with(
        &mut broker.client("produce", &["--topic", "a"]),
        b"one\ntwo\n",
    )
    .expect_code(0);
    run(&mut broker.client("consume", &["--topic", "a", "--name", "x", "--count", "1"]))
        .expect_code(0);
    let described = topics(&["describe", "a", "--output", "json"])
        .expect_code(0)
        .json();
    assert_eq!(described["max_age"], "604800");
    assert_eq!(described["max_bytes"], "none");
    assert_eq!(described["positions"][0]["name"], "x");
    assert_eq!(described["positions"][0]["behind"], 1);
    topics(&["set", "a", "--max-bytes", "1MiB"]).expect_code(0);
    let described = topics(&["describe", "a", "--output", "json"])
        .expect_code(0)
        .json();
    assert_eq!(
        (&described["max_age"], &described["max_bytes"]),
        (&"604800".into(), &"1048576".into())
    );

    let purged = topics(&["purge", "a"]).expect_code(0);
    assert_eq!(purged.sentence(), "2 messages of topic a dropped");
    topics(&["delete", "a"]).expect_code(0);
    let gone = topics(&["describe", "a"]).expect_code(1);
    assert!(gone.sentence().contains("no topic a"), "{}", gone.stderr);
}

#[test]
fn reading_a_topic_that_does_not_exist_says_so_and_makes_none() {
    let broker = Serve::start();
    let ended = run(&mut broker.consume(&[])).expect_code(1);
    assert!(
        ended.sentence().contains("there is no such topic"),
        "{}",
        ended.stderr
    );
    let listed = run(&mut broker.client("topics", &["--output", "json"])).expect_code(0);
    assert_eq!(listed.json(), serde_json::json!([]));

    let waiting = Process::spawn(&mut broker.consume(&["--follow", "--count", "1"]));
    run_with(&mut broker.produce(&[]), b"one\n").expect_code(0);
    let ended = waiting.end().expect_code(0);
    assert_eq!(ended.stdout, b"one\n");
}

#[test]
fn ping_tells_the_least_the_middle_and_the_most() {
    let broker = Serve::start();
    let mut ping = broker.client("ping", &["--count", "3", "--interval", "1ms"]);
    let said = run(ping.args(["--output", "json"])).expect_code(0).json();
    assert_eq!(said["sent"], 3);
    assert_eq!(said["received"], 3);
    let figure = |field: &str| said[field].as_f64().unwrap();
    assert!(figure("min_ms") > 0.0);
    assert!(figure("min_ms") <= figure("avg_ms") && figure("avg_ms") <= figure("max_ms"));

    let mut ping = broker.client("ping", &["--count", "2", "--interval", "1ms"]);
    let said = String::from_utf8(run(&mut ping).expect_code(0).stdout).unwrap();
    assert_eq!(said.lines().count(), 3, "{said}");
    assert!(said.contains("2 pings, 2 pongs"), "{said}");
}

#[test]
fn ping_fails_where_nobody_answers() {
    let server = format!("127.0.0.1:{}", free_port());
    let pin = "0".repeat(64);
    let flags = [
        "--pin",
        &pin,
        "--connect-timeout",
        "300ms",
        "--server",
        &server,
    ];
    let ended = run(anabranch(["ping"]).args(flags)).expect_code(1);
    let sentence = format!("cannot connect to {server}: nothing listens at this port");
    let lines: Vec<_> = ended.stderr.lines().collect();
    let [trying, error] = lines[..] else {
        panic!("{}", ended.stderr)
    };
    assert!(trying.starts_with(&sentence) && trying.ends_with("; trying on"));
    assert!(error.starts_with(&format!("error: {sentence}")), "{error}");
}

#[test]
fn within_a_second_of_silence_it_is_said_and_tried_on() {
    // A port that takes datagrams and does not answer.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = silent.local_addr().unwrap().to_string();
    let pin = "0".repeat(64);
    let flags = [
        "--pin",
        &pin,
        "--server",
        &server,
        "--connect-timeout",
        "1s",
    ];
    let ended = run(anabranch(["ping"]).args(flags)).expect_code(1);
    let causes = "it is not running, listens at another port, or UDP is blocked on the way";
    assert_eq!(
        ended.stderr,
        format!(
            "cannot connect to {server}: no answer yet; {causes}; trying on\n\
             error: cannot connect to {server}: no answer within 1s; {causes}\n"
        )
    );
}
