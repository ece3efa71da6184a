//! What the program says on standard error, `--version`, and what is generated from the command line.

use serde_json::Value;

use crate::{
    support::{Serve, anabranch, run, run_with},
    terminal,
};

#[test]
fn quiet_says_nothing_but_errors() {
    let broker = Serve::start();
    let mut produce = broker.client("produce", &["--topic", "t", "--quiet"]);
    assert_eq!(run_with(&mut produce, b"line\n").expect_code(0).stderr, "");
    let mut produce = broker.client("produce", &["--topic", "t", "-q", "no-such-file"]);
    let ended = run(&mut produce).expect_code(1);
    assert!(ended.sentence().starts_with("error: "), "{}", ended.stderr);
    let mut ping = anabranch(["ping", "--count", "1", "--insecure", "-q", "--server"]);
    let ended = run(ping.arg(broker.address().to_string())).expect_code(0);
    assert_eq!(ended.stderr, "");
}

#[test]
fn insecure_warns() {
    let broker = Serve::start();
    let mut ping = anabranch(["ping", "--count", "1", "--insecure", "--server"]);
    let ended = run(ping.arg(broker.address().to_string())).expect_code(0);
    let said = ended.sentence();
    assert!(
        said.starts_with("warning: --insecure: any server is accepted"),
        "{said}"
    );
}

#[test]
fn a_log_in_json_has_one_object_on_each_line_of_standard_error() {
    let broker = Serve::start();
    let json = ["--log-format", "json"];
    let mut produce = broker.client("produce", &["--topic", "t", "-v"]);
    let sent = run_with(produce.args(json), b"line\n").expect_code(0);
    let mut missing = broker.client("produce", &["--topic", "t", "no-such-file"]);
    let failed = run(missing.args(json)).expect_code(1);
    let objects: Vec<Value> = (sent.stderr.lines().chain(failed.stderr.lines()))
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    let has = |level: &str, words: &str| {
        objects.iter().any(|object| {
            object["level"] == level && object["message"].as_str().unwrap().contains(words)
        })
    };
    assert!(has("INFO", "1 of 1 messages delivered"), "{objects:#?}");
    assert!(has("ERROR", "cannot read no-such-file"), "{objects:#?}");
}

#[test]
fn verbose_tells_what_happens() {
    let broker = Serve::start();
    let connects = |more: &[&str]| {
        let mut produce = broker.client("produce", &["--topic", "t"]);
        let ended = run_with(produce.args(more), b"line\n").expect_code(0);
        ended.stderr.lines().count()
    };
    assert_eq!(connects(&[]), 1);
    assert!(connects(&["-v"]) > 1);
}

#[test]
fn colours_are_for_terminals_and_not_where_no_color_is_set() {
    let ping = || {
        let mut ping = anabranch(["ping", "--server", "127.0.0.1:1", "--insecure", "-vv"]);
        ping.args(["--connect-timeout", "50ms"]);
        ping
    };
    let colour = "\u{1b}[3";
    assert!(terminal::run(&mut ping()).contains(colour));
    assert!(terminal::run(ping().env("NO_COLOR", "")).contains(colour));
    let plain = terminal::run(ping().env("NO_COLOR", "1"));
    assert!(
        plain.contains("DEBUG") && !plain.contains(colour),
        "{plain}"
    );
    assert!(!run(&mut ping()).expect_code(1).stderr.contains(colour));
}

#[test]
fn the_version_names_commit_protocol_and_features() {
    let text = |flag: &str| {
        let ended = run(&mut anabranch([flag])).expect_code(0);
        String::from_utf8(ended.stdout).unwrap()
    };
    let long = text("--version");
    for line in [
        "commit: ",
        "wire: anabranch/",
        "features: producer, broker, spool",
    ] {
        assert!(long.lines().any(|l| l.starts_with(line)), "{long}");
    }
    assert_eq!(text("-V").lines().count(), 1);
}

#[test]
fn completions_and_man_pages_come_from_the_program() {
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&mut anabranch(["completions", shell])).expect_code(0);
        let script = String::from_utf8(script.stdout).unwrap();
        assert!(
            script.contains("--delivery-timeout") || script.contains("delivery-timeout"),
            "{shell}"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    run(anabranch(["man"]).arg(&pages)).expect_code(0);
    let page = std::fs::read_to_string(pages.join("anabranch-consume.1")).unwrap();
    for part in [
        "\\-\\-since",
        "ANABRANCH_CONSUME_SINCE",
        "15m for 15 minutes ago",
    ] {
        assert!(page.contains(part), "{part} in {page}");
    }
}

#[cfg(unix)]
#[test]
fn a_limit_of_files_that_is_too_low_is_told_in_a_sentence() {
    for command in ["ping", "serve"] {
        let program = anabranch([command]);
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "ulimit -n 6; exec \"$@\"", "sh"]);
        shell.arg(program.get_program()).args(program.get_args());
        let ended = run(&mut shell).expect_code(1);
        assert!(ended.sentence().contains("ulimit -n"), "{}", ended.stderr);
    }
}
