//! Every error is reported in one sentence, with a non-zero exit code, and no message is lost.

use std::{net::TcpListener, time::Duration};

use crate::{
    certificates,
    support::{Serve, anabranch, file, free_port, run, run_with},
    text,
};

/// Asserts that `sentence` is an error with these parts, without debug output.
#[track_caller]
fn says(sentence: &str, parts: &[&str]) {
    assert!(sentence.starts_with("error: "), "{sentence}");
    for part in parts {
        assert!(sentence.contains(part), "{part:?} in {sentence:?}");
    }
    for dump in ["{ ", "Some(", "Err(", "kind:"] {
        assert!(!sentence.contains(dump), "{dump:?} in {sentence:?}");
    }
}

#[test]
fn a_wrong_option_is_named_with_its_value_and_its_rule() {
    for (args, parts) in [
        (
            &["produce", "--topic", "t", "--strategy", "99"][..],
            ["--strategy", "99", "from 1 to 64"],
        ),
        (
            &["produce", "--topic", "a b"],
            ["--topic", "a b", "letters, digits"],
        ),
        (
            &["produce", "--topic", "t", "--name", ""],
            ["--name", "''", "1 to 200 bytes"],
        ),
        (
            &["produce", "--topic", "t", "--delivery-timeout", "5"],
            [
                "--delivery-timeout",
                "5",
                "expected a duration, such as 250ms, 1.5s or 1h",
            ],
        ),
        (
            &["consume", "--topic", "t", "--from", "first"],
            ["--from", "first", "earliest, latest or an offset"],
        ),
        (
            &["produce", "--topic", "t", "--header", "=x"],
            ["--header", "=x", "must be NAME=VALUE"],
        ),
        (
            &["consume", "--topic", "t", "--format", "%q"],
            ["--format", "%q", "is no verb"],
        ),
        (
            &["consume", "--topic", "t", "--since", "yesterday"],
            ["--since", "yesterday", "2026-01-31T09:00:00Z"],
        ),
        (
            &["ping", "--server", "nowhere"],
            ["--server", "nowhere", "must be HOST:PORT"],
        ),
        (
            &["ping", "--pin", "00"],
            ["--pin", "00", "64 hexadecimal digits"],
        ),
        (
            &["serve", "--listen", "here"],
            ["--listen", "here", "must be HOST:PORT"],
        ),
        (
            &["serve", "--max-bytes", "much"],
            [
                "--max-bytes",
                "much",
                "expected a size, such as 1200, 64KiB or 1.25MB",
            ],
        ),
        (
            &["serve", "--max-age", "0s"],
            ["--max-age", "0s", "more than zero"],
        ),
        (
            &["serve", "--store", "tape"],
            ["--store", "tape", "log, memory"],
        ),
    ] {
        let ended = run(&mut anabranch(args)).expect_code(2);
        says(&ended.stderr, &parts);
        assert!(ended.stdout.is_empty());
    }
}

#[test]
fn a_certificate_that_is_not_trusted_is_refused_in_words() {
    let (ours, theirs) = (Serve::start(), Serve::start());
    let ca = theirs.announced["ca"].as_str().unwrap();
    let mut ping = ours.client("ping", &[]);
    let wrong = run(anabranch(["ping", "--server"]).args([
        ours.announced["server"].as_str().unwrap(),
        "--ca",
        ca,
    ]));
    says(
        wrong.expect_code(1).sentence(),
        &[
            "cannot connect to 127.0.0.1:",
            "its certificate is not signed by an authority that is trusted here",
            ca,
            "holds another CA than this broker's",
            "`--ca DIR/ca.pem`",
        ],
    );
    let server = ours.announced["server"].as_str().unwrap();
    let none = run(&mut anabranch(["ping", "--server", server])).expect_code(1);
    says(
        none.sentence(),
        &["no CA file was given", "`--ca DIR/ca.pem`"],
    );
    run(ping.args(["--count", "1"])).expect_code(0);
}

#[test]
fn a_pin_that_does_not_match_is_refused_and_the_right_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = certificates::make(&folder, None);
    let (certificate, key) = (certificate.to_str().unwrap(), key.to_str().unwrap());
    let broker = Serve::with(&["--cert", certificate, "--key", key]);
    let pin = broker.announced["pin"].as_str().unwrap().to_owned();
    let ping = |pin: &str| {
        let server = broker.announced["server"].as_str().unwrap();
        run(&mut anabranch([
            "ping", "--count", "1", "--server", server, "--pin", pin,
        ]))
    };
    ping(&pin).expect_code(0);
    let wrong = ping(&"0".repeat(64)).expect_code(1);
    says(
        wrong.sentence(),
        &["its certificate is not the one that is pinned"],
    );
}

#[test]
fn an_expired_certificate_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let until = Duration::from_secs(50 * 365 * 24 * 60 * 60);
    let (certificate, key) = certificates::make(&folder, Some(until));
    let (certificate, key) = (certificate.to_str().unwrap(), key.to_str().unwrap());
    let broker = Serve::with(&["--cert", certificate, "--key", key]);
    let server = format!("localhost:{}", broker.address().port());
    let flags = ["--server", &server, "--ca", certificate];
    let ended = run(anabranch(["ping"]).args(flags)).expect_code(1);
    says(
        ended.sentence(),
        &[
            "cannot connect to localhost:",
            "its certificate is expired or not valid yet",
        ],
    );
}

#[test]
fn a_wrong_server_name_is_told_with_the_right_ones() {
    let broker = Serve::start();
    let mut ping = broker.client("ping", &["--server-name", "broker.example"]);
    let ended = run(&mut ping).expect_code(1);
    says(
        ended.sentence(),
        &[
            "its certificate is for another name",
            "broker.example",
            "localhost",
        ],
    );
    assert!(!ended.stderr.contains("DnsName"), "{}", ended.stderr);
}

#[test]
fn a_server_of_another_version_is_told_from_one_that_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = certificates::make(&folder, None);
    let (_runtime, port) = certificates::quic_server(&certificate, &key, "anabranch/99");
    let server = format!("localhost:{port}");
    let flags = ["--server", &server, "--ca", certificate.to_str().unwrap()];
    let ended = run(anabranch(["ping"]).args(flags)).expect_code(1);
    says(ended.sentence(), &["it does not speak anabranch/2"]);

    let server = format!("127.0.0.1:{}", free_port());
    let pin = "0".repeat(64);
    let flags = ["--topic", "t", "--pin", &pin, "--connect-timeout", "300ms"];
    let mut produce = anabranch(["produce", "--server", &server]);
    let ended = run_with(produce.args(flags), b"line\n").expect_code(1);
    let (trying, error) = ended.stderr.trim_end().split_once('\n').unwrap();
    assert!(trying.ends_with("; trying on"), "{trying}");
    says(error, &["nothing listens at this port"]);
}

#[test]
fn a_token_that_is_refused_and_one_that_may_not_do_this_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = file(
        &folder,
        "tokens",
        b"right\nreader consume:*\nelsewhere produce:other\n",
    );
    let broker = Serve::with(&["--token-file", tokens.to_str().unwrap()]);
    let produce = |token: &str| {
        let mut produce = broker.produce(&[]);
        run_with(produce.env("ANABRANCH_TOKEN", token), b"line\n")
    };
    let refused = produce("wrong").expect_code(1);
    says(refused.sentence(), &["it does not accept our credentials"]);
    assert!(!refused.stderr.contains("wrong"), "{}", refused.stderr);
    let reader = produce("reader").expect_code(1);
    says(reader.sentence(), &["may not produce"]);
    let elsewhere = produce("elsewhere").expect_code(1);
    says(
        &elsewhere.stderr,
        &["may not produce to lines", "it is not stored"],
    );
    assert_eq!(produce("right").expect_code(0).json()["delivered"], 1);
}

#[test]
fn a_client_without_the_certificate_that_is_asked_for_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, _) = certificates::make(&folder, None);
    let broker = Serve::with(&["--client-ca", certificate.to_str().unwrap()]);
    let ended = run(&mut broker.client("ping", &[])).expect_code(1);
    says(ended.sentence(), &["it asks for a client certificate"]);
}

#[test]
fn a_message_over_the_limit_fails_and_the_others_do_not() {
    let broker = Serve::start();
    let mut lines = b"before\n".to_vec();
    lines.resize(lines.len() + (9 << 20), b'x');
    lines.extend(b"\nafter\n");
    let sent = run_with(&mut broker.produce(&["--mode", "ordered"]), &lines).expect_code(1);
    assert_eq!(sent.json()["sent"], 3);
    assert_eq!(sent.json()["delivered"], 2);
    assert_eq!(sent.json()["failed"], 1);
    let parts = [
        "line 2 of standard input",
        "--max-message-bytes",
        "not stored",
    ];
    says(sent.sentence(), &parts);
    assert_eq!(broker.read_all(), b"before\nafter\n");
}

#[test]
fn an_unknown_topic_is_told_once_where_none_may_be_made() {
    let broker = Serve::with(&["--no-create"]);
    let text = text::log(20_000);
    let sent = run_with(&mut broker.produce(&[]), text.as_bytes()).expect_code(1);
    assert_eq!(sent.json()["delivered"], 0);
    says(
        &sent.stderr,
        &["there is no such topic", "it is not stored"],
    );
    assert_eq!(sent.stderr.lines().count(), 2, "{}", sent.stderr);
    let read = run(&mut broker.consume(&[])).expect_code(1);
    says(read.sentence(), &["there is no such topic"]);
    assert_eq!(broker.stored(), 0);
}

#[test]
fn a_data_folder_that_another_broker_has_is_left_alone() {
    let broker = Serve::start();
    let mut second = anabranch(["serve", "--listen", "127.0.0.1:0", "--data"]);
    let ended = run(second.arg(broker.folder())).expect_code(1);
    says(
        ended.sentence(),
        &["the data folder ", "is in use by another broker"],
    );
    run(&mut broker.client("ping", &["--count", "1"])).expect_code(0);
}

#[test]
fn a_port_that_is_in_use_is_named() {
    let broker = Serve::start();
    let folder = tempfile::tempdir().unwrap();
    let address = broker.address().to_string();
    let mut second = anabranch(["serve", "--listen", &address, "--data"]);
    let ended = run(second.arg(folder.path())).expect_code(1);
    says(ended.sentence(), &[&address, "in use"]);

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut third = anabranch(["serve", "--listen", "127.0.0.1:0", "--metrics", &address]);
    let ended = run(third.current_dir(folder.path())).expect_code(1);
    says(
        ended.sentence(),
        &["cannot serve metrics at ", &address, "in use"],
    );
}

#[test]
fn files_that_are_missing_are_named() {
    let broker = Serve::start();
    let ended = run(&mut broker.produce(&["no-such-file"])).expect_code(1);
    says(ended.sentence(), &["cannot read no-such-file: "]);
    assert_eq!(broker.stored(), 0);
    for (args, part) in [
        (&["ping", "--ca", "no-ca"][..], "the CA file no-ca: "),
        (
            &[
                "ping",
                "--insecure",
                "-q",
                "--client-cert",
                "no-cert",
                "--client-key",
                "no-key",
            ],
            "the certificate no-cert: ",
        ),
        (&["demo", "--input", "no-text"], "no-text: "),
        (
            &[
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--token-file",
                "no-tokens",
            ],
            "no-tokens: ",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let ended = run(anabranch(args).current_dir(folder.path())).expect_code(1);
        says(ended.sentence(), &["cannot read ", part]);
    }
}

#[test]
fn a_token_file_with_mistakes_names_their_lines() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = file(&folder, "tokens", b"a\nb write:x\n");
    let mut serve = anabranch(["serve", "--listen", "127.0.0.1:0", "--token-file"]);
    let ended = run(serve.arg(tokens).current_dir(folder.path())).expect_code(1);
    says(
        ended.sentence(),
        &["line 2: a permission is written produce:PATTERN"],
    );
}
