//! `anabranch produce --spool` without a broker.

use crate::{
    support::{Serve, run, run_with},
    text,
};

#[test]
fn what_is_read_without_a_broker_is_delivered_by_a_later_run_that_reads_nothing() {
    // More than memory holds, and a few.
    for lines in [10, 60_000] {
        deliver_later(lines);
    }
}

fn deliver_later(count: u64) {
    let broker = Serve::start();
    let spool = tempfile::tempdir().unwrap();
    let spool = spool.path().to_str().unwrap();
    let text = text::log(count);
    let more = [
        "--mode",
        "ordered",
        "--spool",
        spool,
        "--delivery-timeout",
        "10s",
    ];
    let mut offline = broker.produce(&more);
    let stopped = broker.stop();
    let sent = run_with(&mut offline, text.as_bytes()).expect_code(0);
    let sent = sent.json();
    assert_eq!(sent["spooled"], count, "{sent}");
    assert_eq!(sent["in_spool"], count, "{sent}");
    assert_eq!(sent["failed"], 0, "{sent}");

    let broker = stopped.start_again();
    let later = run(&mut broker.produce(&["--spool", spool])).expect_code(0);
    assert_eq!(later.json()["in_spool"], 0);
    assert_eq!(later.json()["spool_delivered"], count);
    assert!(broker.read_all() == text.as_bytes());
}
