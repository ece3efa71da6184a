//! What is not as it was written: damage, and what a power cut leaves.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::{Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use tempfile::TempDir;

use super::{
    super::{format, *},
    simulated::{SimDisk, open_simulated},
    *,
};

/// The segment that holds `needle`, and where in it.
fn find(path: &Path, needle: &[u8]) -> (PathBuf, u64) {
    let segments = files(path).into_iter();
    let segments = segments.filter(|f| f.extension().is_some_and(|e| e == "seg"));
    for segment in segments {
        let content = fs::read(&segment).unwrap();
        let mut places = content.windows(needle.len()).enumerate();
        if let Some((at, _)) = places.find(|(_, w)| *w == needle) {
            return (segment, at as u64);
        }
    }
    panic!("no segment holds it");
}

fn overwrite(file: &Path, at: u64, bytes: &[u8]) {
    let mut file = OpenOptions::new().write(true).open(file).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(bytes).unwrap();
}

#[tokio::test]
async fn a_batch_that_does_not_match_its_checksum_is_reported_with_its_place() {
    let folder = folder();
    let store = open(folder.path()).await;
    let p = producer(&store, "p").await;
    base(&store, batch(p, 1, "a", 2)).await;
    for (request, bad) in [(2, &b"\0\0\0\0not what it says"[..]), (3, b"abc")] {
        let bad = Append {
            batch: Bytes::from_static(bad),
            ..batch(p, request, "a", 1)
        };
        base(&store, bad).await;
    }
    base(&store, batch(p, 4, "a", 1)).await;

    for store in [open(copy_of(folder.path()).path()).await, store] {
        assert_eq!(bases(&store, "a", 0).await, [0], "up to the damage");
        for at in [2, 3] {
            let read = store.read(&topic("a"), Offset(at), usize::MAX).await;
            let Err(StoreError::Corrupt(said)) = read else {
                panic!("{read:?}")
            };
            assert!(said.contains(&format!("topic a, offset {at}")), "{said}");
        }
        assert_eq!(bases(&store, "a", 4).await, [4], "and from after it on");
    }
}

#[tokio::test]
async fn a_batch_that_rots_on_disk_is_reported_with_its_place() {
    let folder = folder();
    let store = open(folder.path()).await;
    let p = producer(&store, "p").await;
    for request in 1..4 {
        base(&store, sized(p, request, "a", 5_000)).await;
    }
    store.close().await.unwrap();
    let (segment, at) = find(folder.path(), &[2; 1000]);
    overwrite(&segment, at + 500, &[9]);

    let report = check(folder.path()).unwrap();
    assert_eq!(report.problems.len(), 1, "{report}");
    assert!(
        report.problems[0].contains("segment 1 is damaged"),
        "{report}"
    );
    let store = open(folder.path()).await;
    assert_eq!(bases(&store, "a", 0).await, [0]);
    let read = store.read(&topic("a"), Offset(1), usize::MAX).await;
    let Err(StoreError::Corrupt(said)) = read else {
        panic!("{read:?}")
    };
    assert!(said.contains("topic a, offset 1"), "{said}");
    assert_eq!(bases(&store, "a", 2).await, [2]);
}

/// A folder as a kill leaves it, with three batches of 50 000 bytes; each filled with its number. No end mark tells of them: they
/// were written in the last second.
async fn three_batches() -> (TempDir, ProducerId) {
    let first = folder();
    let store = open(first.path()).await;
    let p = producer(&store, "p").await;
    for request in 1..4 {
        base(&store, sized(p, request, "a", 50_000)).await;
    }
    let left = copy_of(first.path());
    let _ = fs::remove_file(left.path().join("end"));
    (left, p)
}

#[tokio::test]
async fn a_group_that_a_power_cut_tore_is_cut_off_and_all_before_it_is_there() {
    let (folder, p) = three_batches().await;
    let (segment, at) = find(folder.path(), &[3; 1000]);
    // The end of the last group reached the disk, a page in its middle did not.
    overwrite(&segment, (at + 8192).next_multiple_of(4096), &[0; 4096]);

    let report = check(folder.path()).unwrap();
    assert_eq!(report.problems, [""; 0], "{report}");
    assert!(
        report.notes.iter().any(|n| n.contains("torn frame")),
        "{report}"
    );
    let store = open(folder.path()).await;
    assert_eq!(bases(&store, "a", 0).await, [0, 1]);
    assert_eq!(info(&store, "a").await.next, Offset(2));
    let again = append(&store, sized(p, 3, "a", 50_000)).await.unwrap();
    assert_eq!((again.base, again.repeat), (Offset(2), false));
    let store = reopened(store, folder.path()).await;
    assert_eq!(bases(&store, "a", 0).await, [0, 1, 2]);
}

#[tokio::test]
async fn a_group_whose_end_is_missing_is_cut_off_wherever_it_ends() {
    let (folder, _) = three_batches().await;
    let (segment, at) = find(folder.path(), &[3; 1000]);
    let segment = segment.file_name().unwrap();
    let first = at / 512 * 512;
    // A header, a record and the batch's own checksum are before the content.
    let begin = at - 48 - 53 - 4;
    for sector in [begin, first + 512, first + 20 * 512, first + 97 * 512] {
        let torn = copy_of(folder.path());
        overwrite(&torn.path().join(segment), sector, &[0; 60_000]);
        let store = open(torn.path()).await;
        assert_eq!(bases(&store, "a", 0).await, [0, 1], "cut at {sector}");
    }
}

#[tokio::test]
async fn a_log_damaged_in_its_middle_is_refused_with_the_place_and_left_alone() {
    let (folder, _) = three_batches().await;
    let (segment, at) = find(folder.path(), &[2; 1000]);
    overwrite(&segment, (at + 8192) / 512 * 512, &[0; 4096]);
    let before = contents(folder.path());

    let error = refused(folder.path()).await;
    let OpenError::Damaged { why, .. } = &error else {
        panic!("{error:?}")
    };
    assert!(why.contains("segment 1 is damaged at byte"), "{why}");
    assert!(contents(folder.path()) == before, "nothing is changed");
    let report = check(folder.path()).unwrap();
    assert_eq!(report.problems.len(), 1, "{report}");
    assert!(
        report.problems[0].contains("frame 2 does not match its checksums (1 message)"),
        "{report}"
    );
    assert_eq!(report.messages, 2, "{report}");
    assert!(contents(folder.path()) == before, "nothing is changed");

    // Without syncs, what a power cut takes is lost wherever it is.
    let config = LogConfig {
        fsync: Fsync::Never,
        ..LogConfig::default()
    };
    let store = LogStore::open(folder.path(), config).await.unwrap();
    assert_eq!(bases(&store, "a", 0).await, [0]);
}

#[tokio::test]
async fn a_group_that_was_whole_and_has_changed_is_not_taken_for_a_torn_one() {
    let (folder, _) = three_batches().await;
    let (segment, at) = find(folder.path(), &[3; 1000]);
    // In the content, in the records, in the header.
    for at in [at + 30_000, at - 20, at - 100] {
        let copy = copy_of(folder.path());
        let segment = copy.path().join(segment.file_name().unwrap());
        let byte = fs::read(&segment).unwrap()[at as usize];
        overwrite(&segment, at, &[byte ^ 1]);
        let error = refused(copy.path()).await;
        assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    }
}

/// All files of a folder, but for the lock.
fn contents(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = files(path).into_iter();
    files
        .map(|file| (file.clone(), fs::read(file).unwrap()))
        .collect()
}

#[tokio::test]
async fn what_changed_in_a_log_that_was_closed_well_is_told_while_the_store_runs() {
    let folder = folder();
    let store = open(folder.path()).await;
    let p = producer(&store, "p").await;
    for request in 1..4 {
        base(&store, sized(p, request, "a", 5_000)).await;
    }
    assert_eq!(store.verify().await.unwrap(), None);
    store.close().await.unwrap();
    let (segment, at) = find(folder.path(), &[2; 1000]);
    overwrite(&segment, at + 500, &[9]);

    let quiet = LogConfig {
        verify_rate: None,
        ..LogConfig::default()
    };
    let store = LogStore::open(folder.path(), quiet).await.unwrap();
    assert_eq!(store.damage(), None, "it was not looked for");
    let said = store.verify().await.unwrap().unwrap();
    assert!(said.contains("1 messages in 1 batches"), "{said}");
    assert!(said.contains("topic a, offset 1"), "{said}");
    assert_eq!(
        bases(&store, "a", 2).await,
        [2],
        "everything else is served"
    );
    let all = Trim {
        max_bytes: Some(0),
        ..Trim::default()
    };
    store.trim(&topic("a"), all).await.unwrap();
    assert_eq!(store.damage(), None, "it went with its batch");
    drop(store);
}

#[tokio::test]
async fn the_store_looks_for_damage_by_itself_and_so_does_a_read() {
    let (folder, _) = three_batches().await;
    open(folder.path()).await.close().await.unwrap();
    let (segment, at) = find(folder.path(), &[2; 1000]);
    overwrite(&segment, at + 500, &[9]);
    let store = open(folder.path()).await;
    while store.damage().is_none() {
        tokio::task::yield_now().await;
    }
    store.close().await.unwrap();

    let quiet = LogConfig {
        verify_rate: None,
        ..LogConfig::default()
    };
    let store = LogStore::open(folder.path(), quiet).await.unwrap();
    store.read(&topic("a"), Offset(1), 9).await.unwrap_err();
    let said = store.damage().unwrap();
    assert!(said.contains("topic a, offset 1"), "{said}");
}

#[tokio::test]
async fn a_check_counts_all_that_is_whole_before_and_after_the_damage() {
    for closed in [false, true] {
        let (folder, _) = three_batches().await;
        if closed {
            open(folder.path()).await.close().await.unwrap();
        }
        let (segment, at) = find(folder.path(), &[2; 1000]);
        // In the content, in the records, in the header.
        for at in [at + 30_000, at - 20, at - 100] {
            let copy = copy_of(folder.path());
            let segment = copy.path().join(segment.file_name().unwrap());
            let byte = fs::read(&segment).unwrap()[at as usize];
            overwrite(&segment, at, &[byte ^ 1]);
            let report = check(copy.path()).unwrap();
            assert_eq!(report.messages, 2, "{report}");
            assert_eq!(report.problems.len(), 1, "{report}");
            if closed {
                assert!(report.problems[0].contains("(1 message)"), "{report}");
            }
        }
    }
}

// ---- the end of the log

/// The folder of [`three_batches`] with three more, an end mark after the last one, and where the last two frames begin.
async fn marked() -> (TempDir, PathBuf, [u64; 2]) {
    let (folder, _) = three_batches().await;
    let store = open(folder.path()).await;
    let p = producer(&store, "q").await;
    for request in 11..14 {
        base(&store, sized(p, request, "b", 3_000)).await;
    }
    store.shared.write_mark();
    let left = copy_of(folder.path());
    let (segment, _) = find(left.path(), &[13; 2900]);
    let content = fs::read(&segment).unwrap();
    let frames = content
        .windows(4)
        .enumerate()
        .filter(|(_, w)| *w == b"ANBF");
    let frames: Vec<_> = frames.map(|(at, _)| at as u64).collect();
    let (_, last) = frames.split_at(frames.len() - 2);
    (left, segment, last.try_into().unwrap())
}

#[tokio::test]
async fn zeros_in_place_of_the_last_frames_are_refused_where_a_mark_tells_of_them() {
    let (folder, segment, frames) = marked().await;
    for (from, lost) in frames.into_iter().zip(["2 messages", "1 message"]) {
        let copy = copy_of(folder.path());
        let segment = copy.path().join(segment.file_name().unwrap());
        overwrite(&segment, from, &[0; 10_000]);
        let error = refused(copy.path()).await;
        let OpenError::Damaged { why, .. } = &error else {
            panic!("{error:?}")
        };
        assert!(why.contains("on disk and"), "{why}");
        assert!(why.contains(lost), "{why}");
        let report = check(copy.path()).unwrap();
        assert_eq!(report.problems, [why.as_str()], "{report}");

        repair(copy.path()).unwrap();
        let store = open(copy.path()).await;
        let p = producer(&store, "r").await;
        let next = base(&store, sized(p, 1, "b", 100)).await;
        assert!(next >= 3, "offset {next} was given before");
    }
}

#[tokio::test]
async fn a_mark_that_is_damaged_or_missing_keeps_no_log_from_opening() {
    let (folder, ..) = marked().await;
    let mark = folder.path().join("end");
    for content in [
        Some(vec![7; 1024]),
        Some(vec![7; 3]),
        Some(Vec::new()),
        None,
    ] {
        let copy = copy_of(folder.path());
        let mark = copy.path().join(mark.file_name().unwrap());
        match content {
            Some(content) => fs::write(mark, content).unwrap(),
            None => fs::remove_file(mark).unwrap(),
        }
        let store = open(copy.path()).await;
        assert_eq!(bases(&store, "b", 0).await, [0, 1, 2]);
        let p = producer(&store, "r").await;
        base(&store, sized(p, 1, "b", 100)).await;
        store.shared.write_mark();
        let again = copy_of(copy.path());
        assert_eq!(bases(&open(again.path()).await, "b", 0).await, [0, 1, 2, 3]);
    }
}

// ---- every byte of a small log

/// The files of a log, and what it holds.
struct Small {
    files: BTreeMap<String, Vec<u8>>,
    expected: BTreeMap<&'static str, Vec<StoredBatch>>,
    next: BTreeMap<&'static str, Offset>,
}

const TOPICS: [&str; 3] = ["a", "b", "c"];

/// Makes a log of some segments, snapshots and indexes, with a compacted segment.
async fn small_log(closed: bool) -> Small {
    let disk = Arc::new(SimDisk::default());
    let store = open_simulated(&disk, false).unwrap();
    let p = producer(&store, "p").await;
    let mut request = 0;
    for round in 0..9u8 {
        for name in TOPICS {
            request += 1;
            let len = if name == "a" { 20_000 } else { 300 };
            let one = Append {
                batch: encoded(&vec![round; len]),
                answered_below: RequestId(request - 3.min(request)),
                ..batch(p, request, name, 2)
            };
            base(&store, one).await;
        }
        store
            .set_position(&topic("b"), "r", Offset(round.into()))
            .await
            .unwrap();
    }
    let two = Trim {
        max_bytes: Some(50_000),
        ..Trim::default()
    };
    store.trim(&topic("a"), two).await.unwrap();
    store.reclaim().await.unwrap();
    for name in TOPICS {
        request += 1;
        base(&store, batch(p, request, name, 1)).await;
    }
    let (mut expected, mut next) = (BTreeMap::new(), BTreeMap::new());
    for name in TOPICS {
        expected.insert(
            name,
            store
                .read(&topic(name), Offset(0), usize::MAX)
                .await
                .unwrap(),
        );
        next.insert(name, info(&store, name).await.next);
    }
    if closed {
        store.close().await.unwrap();
    }
    let files = disk.content();
    assert!(
        files
            .keys()
            .any(|name| name.contains(".0001.seg") || name.ends_with(".snap"))
    );
    Small {
        files,
        expected,
        next,
    }
}

/// Whether nothing is lost in silence: refused in words, or all there, or reported where it is read.
async fn outcome(small: &Small, files: &BTreeMap<String, Vec<u8>>, what: &str) -> &'static str {
    let disk = SimDisk::with(files);
    let store = match open_simulated(&disk, true) {
        Ok(store) => store,
        Err(why) => {
            assert!(why.starts_with("Damaged"), "{what}: {why}");
            assert!(
                disk.content() == *files,
                "{what}: it was changed, and refused"
            );
            return "refused";
        }
    };
    let mut outcome = "all there";
    for name in TOPICS {
        let topic = topic(name);
        let info = store.topic(&topic).await.unwrap();
        let next = info
            .unwrap_or_else(|| panic!("{what}: topic {name} is lost"))
            .next;
        assert_eq!(
            next, small.next[name],
            "{what}: offsets would be used again"
        );
        let mut at = Offset(0);
        let mut found = Vec::new();
        while at < next {
            match store.read(&topic, at, usize::MAX).await {
                Ok(batches) => {
                    let last = batches.last();
                    at = last
                        .unwrap_or_else(|| panic!("{what}: {name} ends at {at}"))
                        .end();
                    found.extend(batches);
                }
                Err(StoreError::Corrupt(said)) => {
                    let damaged = small.expected[name].iter().find(|b| b.end() > at).unwrap();
                    assert!(
                        said.contains(&format!("topic {name}, offset ")),
                        "{what}: {said}"
                    );
                    found.push(damaged.clone());
                    at = damaged.end();
                    outcome = "reported";
                }
                Err(error) => panic!("{what}: {error}"),
            }
        }
        let wanted = &small.expected[name];
        // A trim that was not written yet may have been undone.
        let found = &found[found.len().saturating_sub(wanted.len())..];
        assert!(
            found == wanted,
            "{what}: topic {name} is not what was written"
        );
    }
    outcome
}

/// The bytes of a file that mean something, as one in each 997 of its trailing zeros.
fn places(bytes: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let end = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |at| at + 1);
    (0..end).chain((end..bytes.len()).step_by(997))
}

fn sweep(step: usize, closed: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let small = small_log(closed).await;
        assert_eq!(
            outcome(&small, &small.files, "as it was").await,
            "all there"
        );
        let mut rng = fastrand::Rng::with_seed(7);
        let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
        let mut count = 0;
        for (name, bytes) in &small.files {
            let mut from = rng.usize(0..step);
            for at in places(bytes) {
                // The content of the large batches is all alike.
                let alike = bytes[at.saturating_sub(64)..(at + 64).min(bytes.len())]
                    .windows(2)
                    .all(|w| w[0] == w[1]);
                if alike && at % 1009 != 0 {
                    continue;
                }
                from += 1;
                if !from.is_multiple_of(step) {
                    continue;
                }
                let mut files = small.files.clone();
                let bit = rng.u8(0..8);
                files.get_mut(name).unwrap()[at] ^= 1 << bit;
                let what = format!("{name}, byte {at}, bit {bit}");
                *outcomes
                    .entry(outcome(&small, &files, &what).await)
                    .or_default() += 1;
                if bytes[at] != 0 {
                    files.get_mut(name).unwrap()[at] = 0;
                    let what = format!("{name}, byte {at} zeroed");
                    *outcomes
                        .entry(outcome(&small, &files, &what).await)
                        .or_default() += 1;
                }
                if at % 13 == 0 {
                    let mut files = small.files.clone();
                    files.get_mut(name).unwrap().truncate(at);
                    let what = format!("{name}, cut at {at}");
                    *outcomes
                        .entry(outcome(&small, &files, &what).await)
                        .or_default() += 1;
                }
                count += 1;
            }
        }
        assert!(count > 100, "{count}");
        assert!(outcomes["refused"] > 50, "{outcomes:?}");
        eprintln!("{outcomes:?}");
    });
}

/// How many bytes are left out between two that are tried. `ANABRANCH_SWEEP=1` tries every byte.
fn step() -> usize {
    let step = std::env::var("ANABRANCH_SWEEP").ok();
    step.and_then(|step| step.parse().ok()).unwrap_or(23)
}

#[test]
fn any_byte_of_a_killed_log_may_change_or_be_missing_and_nothing_is_lost_in_silence() {
    sweep(step(), false);
}

#[test]
fn any_byte_of_a_closed_log_may_change_or_be_missing_and_nothing_is_lost_in_silence() {
    sweep(step(), true);
}

#[tokio::test]
async fn files_that_are_missing_doubled_swapped_or_foreign_are_told_apart() {
    for closed in [false, true] {
        let small = small_log(closed).await;
        let other = small_log(closed).await;
        let segments: Vec<_> = small
            .files
            .keys()
            .filter(|n| n.ends_with(".seg"))
            .cloned()
            .collect();
        for name in small.files.keys() {
            let mut files = small.files.clone();
            files.remove(name);
            let found = outcome(&small, &files, &format!("{name} removed")).await;
            let must = name.ends_with(".seg") || name == "manifest";
            assert_eq!(found == "refused", must, "{name} removed: {found}");
            if let Some(foreign) = other.files.get(name) {
                let mut files = small.files.clone();
                files.insert(name.clone(), foreign.clone());
                let found = outcome(&small, &files, &format!("{name} of another log")).await;
                assert_eq!(found == "refused", must, "{name} of another log: {found}");
            }
        }
        for a in &segments {
            for b in segments.iter().filter(|b| *b != a) {
                let mut files = small.files.clone();
                files.insert(b.clone(), small.files[a].clone());
                let found = outcome(&small, &files, &format!("{a} doubled as {b}")).await;
                assert_eq!(found, "refused");
                files.insert(a.clone(), small.files[b].clone());
                let found = outcome(&small, &files, &format!("{a} and {b} swapped")).await;
                assert_eq!(found, "refused");
            }
            let mut files = small.files.clone();
            files.insert(format::segment_name(99, 0), small.files[a].clone());
            let found = outcome(&small, &files, &format!("{a} doubled as a new one")).await;
            assert_eq!(found, "refused");
        }
    }
}

#[tokio::test]
async fn a_segment_that_is_cut_between_two_frames_is_not_taken_for_a_shorter_one() {
    for closed in [false, true] {
        let small = small_log(closed).await;
        let mut cuts = 0;
        for (name, bytes) in small
            .files
            .iter()
            .filter(|(name, _)| name.ends_with(".seg"))
        {
            let frames = bytes.windows(4).enumerate().filter(|(_, w)| *w == b"ANBF");
            for (at, _) in frames {
                let mut files = small.files.clone();
                files.get_mut(name).unwrap().truncate(at);
                let found = outcome(&small, &files, &format!("{name} cut at {at}")).await;
                assert_ne!(found, "all there", "{name} cut at {at}");
                cuts += 1;
            }
        }
        assert!(cuts > 10, "{cuts}");
    }
}

// ---- repair

#[tokio::test]
async fn a_repaired_log_has_all_that_is_whole_says_what_is_lost_and_keeps_what_it_replaces() {
    let (folder, p) = three_batches().await;
    let (segment, at) = find(folder.path(), &[2; 1000]);
    overwrite(&segment, at + 20_000, &[9]);
    refused(folder.path()).await;

    let report = repair(folder.path()).unwrap();
    assert!(
        report
            .repairs
            .iter()
            .any(|r| r.contains("1 message is lost")),
        "{report}"
    );
    let kept = files(folder.path()).into_iter().filter(|f| {
        let name = f.parent().unwrap().file_name().unwrap().to_str().unwrap();
        name.starts_with("damaged-")
    });
    assert!(kept.count() >= 2, "the segment and the manifest");
    let whole = check(folder.path()).unwrap();
    assert_eq!(whole.problems, [""; 0], "{whole}");

    let store = open(folder.path()).await;
    assert_eq!(bases(&store, "a", 0).await, [0, 2]);
    assert_eq!(info(&store, "a").await.next, Offset(3));
    assert!(
        append(&store, sized(p, 3, "a", 50_000))
            .await
            .unwrap()
            .repeat
    );
    assert_eq!(base(&store, sized(p, 4, "a", 100)).await, 3);
    let store = reopened(store, folder.path()).await;
    assert_eq!(bases(&store, "a", 0).await, [0, 2, 3]);
}

#[tokio::test]
async fn a_repair_never_gives_an_offset_again_that_a_lost_message_may_have_had() {
    for closed in [false, true] {
        let (folder, _) = three_batches().await;
        if closed {
            open(folder.path()).await.close().await.unwrap();
            // The snapshots tell where the topic ends.
            for snapshot in files(folder.path()) {
                if snapshot.extension().is_some_and(|e| e == "snap") {
                    fs::remove_file(snapshot).unwrap();
                }
            }
        }
        let (segment, at) = find(folder.path(), &[3; 1000]);
        // In the content, in the records, in the header, all of it.
        for (at, bytes) in [
            (at + 9_000, 1),
            (at - 20, 1),
            (at - 100, 1),
            (at - 105, 900),
        ] {
            let copy = copy_of(folder.path());
            let segment = copy.path().join(segment.file_name().unwrap());
            overwrite(&segment, at, &vec![0xab; bytes]);
            let report = repair(copy.path()).unwrap();
            assert!(!report.repairs.is_empty(), "{report}");
            assert_eq!(check(copy.path()).unwrap().problems, [""; 0]);
            let store = open(copy.path()).await;
            assert_eq!(bases(&store, "a", 0).await, [0, 1], "{report}");
            let p = producer(&store, "r").await;
            let next = base(&store, sized(p, 1, "a", 100)).await;
            assert!(next >= 3, "offset {next} was given before: {report}");
            if next > 3 {
                let gap = format!("topic a goes on at offset {next}");
                assert!(
                    report.repairs.iter().any(|line| line.contains(&gap)),
                    "{report}"
                );
            }
            assert_eq!(bases(&store, "a", 2).await, [next], "a read passes the gap");
        }
    }
}

#[tokio::test]
async fn a_repair_keeps_the_whole_batches_of_a_frame_in_which_one_is_damaged() {
    let first = folder();
    let store = open(first.path()).await;
    let p = producer(&store, "p").await;
    let group = (1..4)
        .map(|request| sized(p, request, "a", 5_000))
        .collect();
    for answer in store.append(group).await {
        answer.unwrap();
    }
    let left = copy_of(first.path());
    let (segment, at) = find(left.path(), &[2; 1000]);
    overwrite(&segment, at + 500, &[9]);
    let report = repair(left.path()).unwrap();
    assert!(
        report
            .repairs
            .iter()
            .any(|r| r.contains("1 message is lost")),
        "{report}"
    );
    let store = open(left.path()).await;
    assert_eq!(bases(&store, "a", 0).await, [0, 2]);
    assert_eq!(base(&store, sized(p, 4, "a", 100)).await, 3);
}

#[tokio::test]
async fn a_log_whose_manifest_is_lost_can_be_repaired_without_loss() {
    let (folder, p) = three_batches().await;
    fs::remove_file(folder.path().join("manifest")).unwrap();
    refused(folder.path()).await;
    repair(folder.path()).unwrap();
    let store = open(folder.path()).await;
    assert_eq!(bases(&store, "a", 0).await, [0, 1, 2]);
    assert!(
        append(&store, sized(p, 2, "a", 50_000))
            .await
            .unwrap()
            .repeat
    );
}

#[tokio::test]
async fn a_whole_log_is_not_touched_by_a_repair() {
    let (folder, _) = three_batches().await;
    let before = contents(folder.path());
    let report = repair(folder.path()).unwrap();
    assert_eq!(report.repairs, [""; 0], "{report}");
    assert!(contents(folder.path()) == before);
}
