//! `anabranch log`: a damaged log is refused, reported, and repaired on request.

use std::{fs, path::Path};

use crate::support::{Serve, anabranch, run, run_with};

/// Flips one bit in the middle of the stored messages.
fn damage(log: &Path, message: &[u8]) {
    for entry in fs::read_dir(log).unwrap() {
        let path = entry.unwrap().path();
        let Ok(mut bytes) = fs::read(&path) else {
            continue;
        };
        let at = bytes.windows(message.len()).position(|w| w == message);
        if let Some(at) = at {
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
            return;
        }
    }
    panic!("the message is in no file");
}

#[test]
fn a_damaged_log_is_reported_and_repaired_on_request_only() {
    let serve = Serve::start();
    for line in [&b"first\n"[..], b"second\n", b"third\n"] {
        run_with(&mut serve.produce(&[]), line).expect_code(0);
    }
    let stopped = serve.stop();
    let log = stopped.folder().join("log");
    let check =
        |code| run(anabranch(["log", "check", "--output", "json"]).arg(&log)).expect_code(code);

    let whole = check(0).json();
    assert_eq!(
        (&whole["whole"], &whole["messages"]),
        (&true.into(), &3.into())
    );
    damage(&log, b"second");
    let damaged = check(1).json();
    assert_eq!(damaged["whole"], false);
    assert_eq!(
        damaged["problems"].as_array().unwrap().len(),
        1,
        "{damaged}"
    );
    assert_eq!(check(1).json(), damaged, "looking changed nothing");

    let repaired = run(anabranch(["log", "repair"]).arg(&log)).expect_code(0);
    assert!(repaired.stdout.windows(8).any(|w| w == b"repaired"));
    assert_eq!(check(0).json()["whole"], true);
    let serve = stopped.start_again();
    run_with(&mut serve.produce(&[]), b"fourth\n").expect_code(0);
    let read = String::from_utf8(serve.read_all()).unwrap();
    assert!(read.contains("first") && read.contains("fourth"), "{read}");
}

#[test]
fn a_folder_that_holds_no_log_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let ended = run(anabranch(["log", "check"]).arg(folder.path().join("none"))).expect_code(1);
    assert!(ended.stderr.starts_with("error: "), "{}", ended.stderr);
}
