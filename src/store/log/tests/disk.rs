//! Space on the disk: given back, and run out of.

use std::{fs, path::Path};

use tempfile::TempDir;

use super::{super::*, *};

fn disk_use(path: &Path) -> u64 {
    // The store may remove one of them meanwhile.
    let sizes = files(path)
        .into_iter()
        .filter_map(|file| fs::metadata(file).ok());
    sizes.map(|file| file.len()).sum()
}

fn small() -> LogConfig {
    LogConfig {
        fsync: Fsync::Never,
        segment_bytes: 4 << 20,
        ..LogConfig::default()
    }
}

/// Does what the store's own thread does, and waits for it.
async fn maintained(store: &LogStore) {
    store
        .on_disk(|shared| {
            shared.maintain(false).unwrap();
            Ok(())
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn the_space_of_trimmed_batches_goes_back_to_the_disk() {
    let folder = folder();
    let store = LogStore::open(folder.path(), small()).await.unwrap();
    let p = producer(&store, "p").await;
    for request in 0..100 {
        base(&store, sized(p, request, "a", 1 << 20)).await;
    }
    assert!(disk_use(folder.path()) > 100 << 20);

    let to_one = Trim {
        max_bytes: Some(1 << 20),
        ..Trim::default()
    };
    let went = store.trim(&topic("a"), to_one).await.unwrap();
    assert_eq!(went, 99 << 20);
    maintained(&store).await;
    // The segment that is written to, the next one, and the newest one that is full.
    let used = disk_use(folder.path());
    assert!(used < 13 << 20, "{used}");
    assert_eq!(bases(&store, "a", 0).await, [99]);
    let copy = copy_of(folder.path());
    let store = LogStore::open(copy.path(), small()).await.unwrap();
    assert_eq!(bases(&store, "a", 0).await, [99]);
}

#[tokio::test]
async fn compaction_keeps_what_is_needed_within_one_and_a_half_times_its_size_and_loses_nothing() {
    let folder = folder();
    let store = LogStore::open(folder.path(), small()).await.unwrap();
    let p = producer(&store, "p").await;
    // Two topics that share every segment, of which one is trimmed: most of each is garbage.
    for round in 0..20 {
        let group = (0..25)
            .flat_map(|n| {
                let request = 2 * (round * 25 + n);
                [
                    sized(p, request, "goes", 60_000),
                    sized(p, request + 1, "stays", 9_000),
                ]
            })
            .collect();
        for answer in store.append(group).await {
            answer.unwrap();
        }
    }
    assert!(disk_use(folder.path()) > 30_000_000);
    let all = Trim {
        older_than: Some(Timestamp(u64::MAX)),
        ..Trim::default()
    };
    store.trim(&topic("goes"), all).await.unwrap();
    store.reclaim().await.unwrap();
    let needed = 500 * 9_053;
    let used = disk_use(folder.path());
    // The newest sealed segment, the one that is written to and the next one are left alone.
    assert!(used < needed * 3 / 2 + (12 << 20), "{used}");
    assert!(check(folder.path()).is_err(), "it is in use");

    let expect = async |store: &LogStore| {
        let read = store
            .read(&topic("stays"), Offset(0), usize::MAX)
            .await
            .unwrap();
        assert_eq!(read.len(), 500);
        for (n, found) in read.iter().enumerate() {
            assert_eq!(found.base, Offset(n as u64));
            assert_eq!(
                found.batch,
                sized(p, 2 * n as u64 + 1, "stays", 9_000).batch
            );
        }
    };
    expect(&store).await;
    let copy = copy_of(folder.path());
    let killed = LogStore::open(copy.path(), small()).await.unwrap();
    expect(&killed).await;
    store.close().await.unwrap();
    let report = check(folder.path()).unwrap();
    assert_eq!(report.problems, [""; 0], "{report}");
    let store = LogStore::open(folder.path(), small()).await.unwrap();
    expect(&store).await;
    // What is left of the trimmed topic knows where it ends.
    assert_eq!(base(&store, sized(p, 5000, "goes", 100)).await, 500);
}

#[tokio::test]
async fn a_group_larger_than_a_segment_is_stored_all_the_same() {
    let folder = folder();
    let config = LogConfig {
        segment_bytes: 64 << 10,
        ..LogConfig::default()
    };
    let store = LogStore::open(folder.path(), config.clone()).await.unwrap();
    let p = producer(&store, "p").await;
    for request in 0..5 {
        base(&store, sized(p, 2 * request, "a", 300_000)).await;
        base(&store, sized(p, 2 * request + 1, "a", 100)).await;
    }
    let copy = copy_of(folder.path());
    let killed = LogStore::open(copy.path(), config.clone()).await.unwrap();
    let expected: Vec<_> = (0..10).collect();
    assert_eq!(bases(&killed, "a", 0).await, expected);
    store.close().await.unwrap();
    let store = LogStore::open(folder.path(), config).await.unwrap();
    assert_eq!(bases(&store, "a", 0).await, expected);
}

/// A small disk of its own, where this may be had; a test that needs one says so and passes where it may not. The
/// tests of `limits` look everywhere.
#[cfg(target_os = "linux")]
struct SmallDisk(TempDir);

#[cfg(target_os = "linux")]
impl SmallDisk {
    fn mount(megabytes: u32) -> Option<Self> {
        let at = folder();
        let size = format!("size={megabytes}m");
        let mut mount = std::process::Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &size, "none"])
            .arg(at.path());
        match mount.output() {
            Ok(done) if done.status.success() => Some(Self(at)),
            _ => {
                eprintln!("not tested: a small disk cannot be mounted here");
                None
            }
        }
    }
}

#[cfg(target_os = "linux")]
impl Drop for SmallDisk {
    fn drop(&mut self) {
        let mut unmount = std::process::Command::new("umount");
        let _ = unmount.arg("-l").arg(self.0.path()).output();
    }
}

/// Fills a disk of `megabytes` but for `ballast` of them, and finds out what becomes of the store.
#[cfg(target_os = "linux")]
async fn fill_a_disk(megabytes: u32, ballast: usize) {
    let Some(disk) = SmallDisk::mount(megabytes) else {
        return;
    };
    let config = LogConfig {
        retry_after: Duration::ZERO,
        min_free_bytes: 0,
        segment_bytes: 4 << 20,
        ..LogConfig::default()
    };
    let data = disk.0.path().join("data");
    let store = LogStore::open(&data, config).await.unwrap();
    let p = producer(&store, "p").await;
    let rest = disk.0.path().join("ballast");
    fs::write(&rest, vec![1; ballast << 20]).unwrap();
    // What the store gives back when it meets the end of the disk is taken too.
    let last = disk.0.path().join("last");
    let fill = || {
        let mut last = File::options()
            .create(true)
            .append(true)
            .open(&last)
            .unwrap();
        while last.write_all(&[1; 4096]).is_ok() {}
    };
    let mend = || {
        fs::remove_file(&rest).unwrap();
        fs::remove_file(&last).unwrap();
    };
    fails_and_comes_back(store, &data, p, true, (fill, mend)).await;
}

/// What a store does that cannot write any more at some time from now on, for good after `fill`, until `mend`. It answers `Failed` or
/// `Refuses`, says that it refuses, knows what it has, and afterwards has everything once and in order.
#[cfg(unix)]
pub(super) async fn fails_and_comes_back(
    store: LogStore,
    data: &Path,
    p: ProducerId,
    reads_go_on: bool,
    (fill, mend): (impl Fn(), impl FnOnce()),
) {
    let group = |first| -> Vec<_> {
        let requests = first..first + 4;
        requests.map(|n| sized(p, n, "a", 300_000)).collect()
    };
    let mut request = 0;
    let error = loop {
        let answers = store.append(group(request)).await;
        if answers.iter().any(Result::is_err) {
            fill();
            let again = store.append(group(request)).await;
            if let Some(error) = again.into_iter().find_map(Result::err) {
                break error;
            }
        }
        request += 4;
        assert!(request < 2000, "the disk should be full by now");
    };
    assert!(matches!(store.state(), StoreState::Refusing(_)));
    let is_failed = |error: &StoreError| matches!(error, StoreError::Failed(_));
    let is_refused = |error: &StoreError| matches!(error, StoreError::Refuses(_));
    assert!(is_failed(&error) || is_refused(&error), "{error:?}");

    // Each of these tries the disk, and there is no room.
    for answer in store.append(group(request)).await {
        let again = answer.unwrap_err();
        assert_eq!(
            is_failed(&again),
            is_failed(&error),
            "what was in doubt still is"
        );
    }
    // As large as the group: a smaller one may still find room in the segment that is written to.
    let other = append(&store, sized(p, 5000, "a", 1_200_000)).await;
    assert!(is_refused(&other.unwrap_err()));
    let mut stored: Vec<_> = (0..request).collect();
    if reads_go_on {
        assert_eq!(bases(&store, "a", 0).await, stored, "reads go on");
    } else if let Ok(read) = store.read(&topic("a"), Offset(0), usize::MAX).await {
        let read: Vec<_> = read.iter().map(|batch| batch.base.0).collect();
        assert_eq!(read, stored, "what is read is what is stored");
    }
    assert_eq!(producer(&store, "p").await, p, "who is known may come back");
    let known = append(&store, sized(p, 0, "a", 300_000)).await.unwrap();
    assert!(known.repeat, "what is stored is answered");

    mend();
    for answer in store.append(group(request)).await {
        let place = answer.unwrap().base;
        assert_eq!(
            place,
            Offset(request),
            "whether it was stored before or not"
        );
        stored.push(request);
        request += 1;
    }
    assert_eq!(store.state(), StoreState::Ready);
    assert_eq!(bases(&store, "a", 0).await, stored);
    let store = reopened(store, data).await;
    assert_eq!(bases(&store, "a", 0).await, stored);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_disk_that_is_full_refuses_until_there_is_room_and_stores_nothing_twice() {
    fill_a_disk(48, 28).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn appends_leave_room_on_the_disk_for_the_trim_that_makes_room_for_appends() {
    let Some(disk) = SmallDisk::mount(300) else {
        return;
    };
    let config = LogConfig {
        min_free_bytes: 120 << 20,
        segment_bytes: 16 << 20,
        ..LogConfig::default()
    };
    let store = LogStore::open(disk.0.path(), config).await.unwrap();
    let p = producer(&store, "p").await;
    let mut request = 0;
    let error = loop {
        match append(&store, sized(p, request, "a", 1 << 20)).await {
            Ok(_) => request += 1,
            Err(error) => break error,
        }
        assert!(request < 300, "the disk should be full by now");
    };
    assert!(matches!(error, StoreError::Refuses(_)), "{error:?}");
    assert!(matches!(store.state(), StoreState::Refusing(_)));

    let all = Trim {
        max_bytes: Some(0),
        ..Trim::default()
    };
    let went = store.trim(&topic("a"), all).await.unwrap();
    assert_eq!(went, request << 20);
    store.reclaim().await.unwrap();
    let answer = append(&store, sized(p, request, "a", 1 << 20)).await;
    assert_eq!(answer.unwrap().base, Offset(request));
    assert_eq!(store.state(), StoreState::Ready);
}
