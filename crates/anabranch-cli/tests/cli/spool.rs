//! `anabranch produce --spool` without a broker.

use crate::{
    support::{Serve, run, run_with},
    text,
};

#[test]
fn what_is_read_without_a_broker_is_delivered_by_a_later_run_that_reads_nothing() {
    let broker = Serve::start();
    let spool = tempfile::tempdir().unwrap();
    let spool = spool.path().to_str().unwrap();
    // More than memory holds.
    let text = text::log(60_000);
    let more = [
        "--mode",
        "ordered",
        "--spool",
        spool,
        "--delivery-timeout",
        "1s",
    ];
    let mut offline = broker.produce(&more);
    let stopped = broker.stop();
    let sent = run_with(&mut offline, text.as_bytes()).expect_code(1);
    let sent = sent.json();
    let spooled = sent["spooled"].as_u64().unwrap();
    // The messages in memory failed; all later ones are on disk.
    assert_eq!(sent["in_spool"], spooled);
    assert_eq!(sent["failed"].as_u64().unwrap() + spooled, 60_000);
    assert!(spooled > 30_000, "{sent}");

    let broker = stopped.start_again();
    let later = run(&mut broker.produce(&["--spool", spool])).expect_code(0);
    assert_eq!(later.json()["in_spool"], 0);
    let lines: Vec<_> = text.lines().collect();
    let later_lines = lines[lines.len() - usize::try_from(spooled).unwrap()..].join("\n") + "\n";
    assert!(broker.read_all() == later_lines.as_bytes());
}
