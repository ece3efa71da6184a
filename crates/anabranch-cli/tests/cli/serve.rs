//! `anabranch serve`: its announcement, metrics, limits, and robustness.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    process::Command,
};

use crate::{
    support::{Process, Serve, anabranch, run, run_with},
    text::Rng,
};

#[test]
fn the_lines_that_serve_prints_work_as_they_stand() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("with a blank");
    let mut serve = anabranch(["serve", "--listen", "localhost:0", "--data"]);
    let mut serve = Process::spawn(serve.arg(data));
    let mut said = BufReader::new(serve.take_stdout()).lines();
    let mut line = |beginning: &str| {
        let line = said.find(|line| line.as_ref().unwrap().starts_with(beginning));
        line.unwrap().unwrap()[beginning.len()..].trim().to_owned()
    };
    line("serving at ");
    let (produce, consume) = (line("send lines:"), line("read lines:"));
    let shell = |line: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-c", line]);
        shell
    };
    run_with(&mut shell(&produce), b"hello\n").expect_code(0);
    let back = run(&mut shell(&format!("{consume} --count 1"))).expect_code(0);
    assert_eq!(back.stdout, b"hello\n");
}

#[test]
fn a_store_in_memory_holds_what_it_was_given_and_refuses_more_in_words() {
    let small = Serve::with(&["--store", "memory", "--memory", "16KiB"]);
    let lines = b"1234567890123456789012345678901\n".repeat(2000);
    let ended = run_with(&mut small.produce(&[]), &lines).expect_code(1);
    assert!(ended.stderr.contains("it is full"), "{}", ended.stderr);
    assert!(small.stored() < 2000);

    let large = Serve::with(&["--store", "memory", "--memory", "1MiB"]);
    run_with(&mut large.produce(&[]), &lines).expect_code(0);
    assert_eq!(large.stored(), 2000);
}

#[test]
fn a_broker_in_memory_writes_nothing_unasked_and_its_printed_lines_work() {
    let folder = tempfile::tempdir().unwrap();
    let temporary = tempfile::tempdir().unwrap();
    let mut serve = anabranch(["serve", "--listen", "localhost:0", "--store", "memory"]);
    serve.args(["--output", "json"]);
    serve.current_dir(folder.path());
    serve.env("TMPDIR", temporary.path());
    let mut serve = Process::spawn(&mut serve);
    let mut line = String::new();
    let mut stdout = BufReader::new(serve.take_stdout());
    stdout.read_line(&mut line).unwrap();
    let announced: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert!(announced["pin"].is_string(), "{announced}");
    assert!(announced["ca"].is_null(), "{announced}");
    let shell = |line: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-c", line]);
        shell
    };
    let printed = |field: &str| announced[field].as_str().unwrap();
    run_with(&mut shell(printed("produce")), b"hello\n").expect_code(0);
    let consume = format!("{} --count 1", printed("consume"));
    let back = run(&mut shell(&consume)).expect_code(0);
    assert_eq!(back.stdout, b"hello\n");
    serve.signal("TERM");
    serve.end().expect_code(0);
    for folder in [folder, temporary] {
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[test]
fn sizes_may_be_of_any_unit() {
    let broker = Serve::with(&["--max-bytes", "1TiB", "--max-age", "1.5d"]);
    broker.stop();
}

#[test]
fn a_limit_of_memory_is_not_taken_for_one_of_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let mut serve = anabranch(["serve", "--memory", "1GiB", "--data"]);
    let ended = run(serve.arg(folder.path().join("data"))).expect_code(1);
    assert!(
        ended.sentence().contains("--store memory"),
        "{}",
        ended.stderr
    );
}

#[test]
fn metrics_tell_what_is_stored_under_their_names() {
    // The broker binds the port that this releases.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let broker = Serve::with(&["--metrics", &address]);
    run_with(&mut broker.produce(&[]), b"one\ntwo\n").expect_code(0);

    let mut http = TcpStream::connect(&address).unwrap();
    http.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut page = String::new();
    http.read_to_string(&mut page).unwrap();
    assert!(page.starts_with("HTTP/1.1 200 OK"), "{page}");
    for known in [
        "# TYPE anabranch_broker_messages_stored_total counter",
        "anabranch_broker_messages_stored_total 2",
        "# HELP anabranch_broker_commit_seconds",
        "anabranch_broker_commit_seconds_bucket{le=\"0.001\"}",
        "anabranch_broker_connections",
        "anabranch_broker_certificate_expires_seconds",
    ] {
        assert!(page.contains(known), "{known}: {page}");
    }
}

#[test]
fn garbage_on_the_port_leaves_it_serving() {
    let broker = Serve::start();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut rng = Rng::new(4470);
    for n in 0..500 {
        let length = rng.below(1400);
        let mut packet: Vec<u8> = (0..length)
            .map(|_| u8::try_from(rng.below(256)).unwrap())
            .collect();
        // Half of them start like the first packet of a QUIC connection.
        if n % 2 == 0 && length >= 5 {
            packet[..5].copy_from_slice(&[0xc3, 0, 0, 0, 1]);
        }
        socket.send_to(&packet, broker.address()).unwrap();
    }
    run_with(&mut broker.produce(&[]), b"still here\n").expect_code(0);
    assert_eq!(broker.read_all(), b"still here\n");
    broker.stop();
}

#[test]
fn every_flag_can_be_an_environment_variable() {
    let broker = Serve::start();
    let mut produce = anabranch(["produce"]);
    for (name, field) in [("ANABRANCH_SERVER", "server"), ("ANABRANCH_CA", "ca")] {
        produce.env(name, broker.announced[field].as_str().unwrap());
    }
    produce
        .env("ANABRANCH_PRODUCE_TOPIC", crate::support::TOPIC)
        .env("ANABRANCH_PRODUCE_MODE", "ordered");
    let sent = run_with(&mut produce, b"by the environment\n").expect_code(0);
    let said = sent.sentence();
    assert!(said.starts_with("1 of 1 messages delivered in "), "{said}");
    assert_eq!(broker.read_all(), b"by the environment\n");
}

#[test]
fn what_keeps_to_the_limits_of_retention_stays() {
    let broker = Serve::with(&["--max-bytes", "1KiB", "--max-age", "7d"]);
    let sent = run_with(&mut broker.produce(&[]), b"one\n").expect_code(0);
    assert_eq!(sent.json()["delivered"], 1);
    assert_eq!(broker.read_all(), b"one\n");
}

#[test]
fn a_certificate_for_development_is_valid_for_the_names_that_are_given_and_tells_its_end() {
    let broker = Serve::with(&["--dns-name", "broker.example", "--dns-name", "192.0.2.7"]);
    for name in ["broker.example", "192.0.2.7", "localhost"] {
        let mut ping = broker.client("ping", &["--count", "1", "--server-name", name]);
        run(&mut ping).expect_code(0);
    }
    let end = broker.announced["certificate_expires"].as_str().unwrap();
    assert_eq!(end.len(), "2027-01-31".len(), "{end}");

    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = crate::certificates::make(&folder, Some(std::time::Duration::ZERO));
    let (certificate, key) = (certificate.to_str().unwrap(), key.to_str().unwrap());
    let mut expired = Serve::with(&["--cert", certificate, "--key", key]);
    let warning = expired.log().next().unwrap();
    assert!(warning.contains("has expired on 1970-01-01"), "{warning}");
}

/// Asks for a path. Returns the status and the body.
fn ask(address: &str, path: &str) -> (u16, String) {
    let mut http = TcpStream::connect(address).unwrap();
    http.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
        .unwrap();
    let mut page = String::new();
    http.read_to_string(&mut page).unwrap();
    let status = page.split(' ').nth(1).unwrap().parse().unwrap();
    (status, page)
}

#[test]
fn a_thousand_idle_connections_do_not_keep_metrics_and_health_from_others() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let broker = Serve::with(&["--metrics", &address]);
    let idle: Vec<TcpStream> = (0..1000)
        .filter_map(|_| TcpStream::connect(&address).ok())
        .collect();
    assert_eq!(idle.len(), 1000);
    for path in ["/metrics", "/health/live", "/health/ready"] {
        assert_eq!(ask(&address, path).0, 200, "{path}");
    }
    assert_eq!(ask(&address, "/").0, 404);
    drop(idle);
    broker.stop();
}

#[test]
fn a_full_disk_is_told_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut serve = anabranch(["serve", "--listen", "127.0.0.1:0", "--reserve", "1000TiB"]);
    let mut serve = Process::spawn(serve.arg("--data").arg(folder.path()));
    let mut line = String::new();
    BufReader::new(serve.take_stdout())
        .read_line(&mut line)
        .unwrap();
    serve.signal("TERM");
    let ended = serve.end().expect_code(0);
    assert!(
        ended.stderr.contains("messages are refused: the disk has "),
        "{}",
        ended.stderr
    );
}

#[cfg(unix)]
#[test]
fn what_the_broker_writes_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;

    let broker = Serve::start();
    run_with(&mut broker.produce(&[]), b"secret\n").expect_code(0);
    let log = broker.folder().join("log");
    for entry in std::fs::read_dir(&log).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?} {mode:o}", entry.path());
    }
    assert_eq!(
        std::fs::metadata(&log).unwrap().permissions().mode() & 0o077,
        0
    );
}
