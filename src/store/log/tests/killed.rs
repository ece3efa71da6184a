//! Real processes with a log of small segments that are killed (SIGKILL): while they roll, take snapshots, compact and remove.
#![allow(clippy::disallowed_methods, reason = "it watches a real process")]

use std::{
    fs::OpenOptions,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::{super::*, *};

/// The test that the process runs. With [`FOLDER`] set, it is the process that is killed.
const TEST: &str = "store::log::tests::killed::a_process_that_is_killed_in_its_maintenance_loses_nothing_that_it_answered";
const FOLDER: &str = "ANABRANCH_KILLED_LOG";
const NAMES: [&str; 3] = ["goes", "stays", "slow"];
/// Bytes of a note: topic, request, base.
const NOTE: usize = 24;

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 128 << 10,
        min_free_bytes: 0,
        ..LogConfig::default()
    }
}

fn content(p: ProducerId, request: u64) -> Append {
    let name = NAMES[(request % 3) as usize];
    let len = if name == "goes" { 6000 } else { 300 };
    sized(p, request, name, len + (request % 97) as usize)
}

/// Appends until it is killed. Each answer is written down before the next append.
async fn work(folder: &Path) {
    let store = LogStore::open(folder.join("log"), config()).await.unwrap();
    let p = producer(&store, "p").await;
    let notes = folder.join("notes");
    let mut notes = OpenOptions::new()
        .append(true)
        .create(true)
        .open(notes)
        .unwrap();
    let mut request = notes.metadata().unwrap().len() / NOTE as u64;
    // What was stored and not written down is answered as a repeat.
    loop {
        let base = base(&store, content(p, request)).await;
        let note = [request % 3, request, base].map(u64::to_le_bytes).concat();
        notes.write_all(&note).unwrap();
        request += 1;
        if request.is_multiple_of(10) {
            let most = Trim {
                max_bytes: Some(100_000),
                ..Trim::default()
            };
            store.trim(&topic("goes"), most).await.unwrap();
        }
        if request.is_multiple_of(50) {
            store.reclaim().await.unwrap();
        }
    }
}

async fn holds(folder: &Path) -> usize {
    let store = LogStore::open(folder.join("log"), config()).await.unwrap();
    let p = producer(&store, "p").await;
    let notes = fs::read(folder.join("notes")).unwrap_or_default();
    let mut kept = 0;
    for name in NAMES {
        let first = info(&store, name).await.first;
        let read = store
            .read(&topic(name), Offset(0), usize::MAX)
            .await
            .unwrap();
        let read: std::collections::HashMap<_, _> =
            read.into_iter().map(|b| (b.base, b.batch)).collect();
        for note in notes.chunks_exact(NOTE) {
            let [of, request, base] =
                [0, 8, 16].map(|at| u64::from_le_bytes(note[at..at + 8].try_into().unwrap()));
            if NAMES[of as usize] != name {
                continue;
            }
            match read.get(&Offset(base)) {
                Some(batch) => {
                    assert_eq!(*batch, content(p, request).batch, "{name} {base}");
                    kept += 1;
                }
                None => assert!(
                    name == "goes" && base < first.0,
                    "{name} {base} was answered and is lost"
                ),
            }
        }
    }
    store.close().await.unwrap();
    let report = check(folder.join("log")).unwrap();
    assert_eq!(report.problems, [""; 0], "{report}");
    kept
}

/// Kills 12 times. More with `ANABRANCH_KILLS=count`.
#[test]
fn a_process_that_is_killed_in_its_maintenance_loses_nothing_that_it_answered() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    if let Some(folder) = std::env::var_os(FOLDER) {
        return runtime.block_on(work(Path::new(&folder)));
    }
    let kills = std::env::var("ANABRANCH_KILLS").ok();
    let kills = kills.and_then(|count| count.parse().ok()).unwrap_or(12);
    let folder = folder();
    let written = || fs::metadata(folder.path().join("notes")).map_or(0, |about| about.len());
    let mut rng = fastrand::Rng::new();
    let mut kept = 0;
    for _ in 0..kills {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", TEST])
            .env(FOLDER, folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // Some way into its work, which differs each time.
        let until = written() + NOTE as u64 * rng.u64(1..400);
        let began = Instant::now();
        while written() < until {
            assert!(
                began.elapsed() < Duration::from_secs(120),
                "it does nothing"
            );
            assert!(process.try_wait().unwrap().is_none(), "it has ended");
            std::thread::sleep(Duration::from_millis(1));
        }
        process.kill().unwrap();
        process.wait().unwrap();
        kept = runtime.block_on(holds(folder.path()));
    }
    println!(
        "{kills} kills, {} answers, {kept} of them kept",
        written() / NOTE as u64
    );
    assert!(kept > 20);
}
