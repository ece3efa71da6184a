//! What the store on disk promises beyond what every store does.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use tempfile::TempDir;

use super::{
    super::tests::{append, base, bases, batch, encoded, identity, info, producer, topic},
    *,
};
use crate::{RequestId, Timestamp};

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

async fn open(path: &Path) -> LogStore {
    LogStore::open(path, LogConfig::default()).await.unwrap()
}

async fn refused(path: &Path) -> OpenError {
    let opened = LogStore::open(path, LogConfig::default()).await;
    opened.expect_err("the folder should not open")
}

async fn reopened(store: LogStore, path: &Path) -> LogStore {
    store.close().await.unwrap();
    open(path).await
}

/// The folder as it is at this moment, as a process that is killed would leave it.
pub(in super::super) fn copy_of(from: &Path) -> TempDir {
    let to = folder();
    copy(from, to.path()).unwrap();
    to
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            copy_file(&entry.path(), &target)?;
        }
    }
    Ok(())
}

/// Leaves the holes out: a fresh journal is 64 MiB of them.
fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let (mut from, mut to) = (File::open(from)?, File::create(to)?);
    let mut chunk = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut chunk)?;
        match &chunk[..read] {
            [] => break,
            zeros if zeros.iter().all(|byte| *byte == 0) => {
                to.seek(SeekFrom::Current(read as i64))?;
            }
            bytes => to.write_all(bytes)?,
        }
    }
    let len = to.stream_position()?;
    to.set_len(len)
}

fn files(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).unwrap().map(|e| e.unwrap().path());
    entries
        .flat_map(|path| match path.is_dir() {
            true => files(&path),
            false => vec![path],
        })
        .collect()
}

fn journal(path: &Path) -> PathBuf {
    let journals = files(path).into_iter();
    let mut journals = journals.filter(|f| f.extension().is_some_and(|e| e == "jnl"));
    let journal = journals.next().unwrap();
    assert_eq!(journals.next(), None, "there should be one journal");
    journal
}

/// Where `needle` stands in a file.
fn find(file: &Path, needle: &[u8]) -> u64 {
    let content = fs::read(file).unwrap();
    let mut places = content.windows(needle.len()).enumerate();
    places.find(|(_, w)| *w == needle).unwrap().0 as u64
}

fn overwrite(file: &Path, at: u64, bytes: &[u8]) {
    let mut file = OpenOptions::new().write(true).open(file).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(bytes).unwrap();
}

fn sized(p: ProducerId, request: u64, name: &str, len: usize) -> Append {
    Append {
        batch: encoded(&vec![request.to_le_bytes()[0]; len - 4]),
        ..batch(p, request, name, 1)
    }
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_crash_without_any_close() {
    let first = folder();
    let store = open(first.path()).await;
    let p = producer(&store, "p").await;
    for request in 0..20 {
        base(&store, batch(p, request, "a", 2)).await;
    }
    let left_behind = copy_of(first.path());
    let store = open(left_behind.path()).await;
    let expected: Vec<_> = (0..20).map(|n| n * 2).collect();
    assert_eq!(bases(&store, "a", 0).await, expected);
    assert_eq!(base(&store, batch(p, 20, "a", 1)).await, 40);
}

#[tokio::test]
async fn repeats_windows_fences_and_positions_survive_a_reopening() {
    let folder = folder();
    let store = open(folder.path()).await;
    let fenced = store.enrol(&identity("p", 1)).await.unwrap();
    base(&store, batch(fenced, 1, "a", 1)).await;
    let p = store.enrol(&identity("p", 2)).await.unwrap();
    let first = append(&store, batch(p, 5, "a", 3)).await.unwrap();
    let moves = Append {
        answered_below: RequestId(5),
        ..batch(p, 6, "a", 1)
    };
    base(&store, moves).await;
    store
        .set_position(&topic("a"), "r", Offset(3))
        .await
        .unwrap();

    let store = reopened(store, folder.path()).await;
    let again = append(&store, batch(p, 5, "a", 3)).await.unwrap();
    let expected = Appended {
        repeat: true,
        ..first
    };
    assert_eq!(again, expected);
    let low = append(&store, batch(p, 4, "a", 1)).await;
    assert!(matches!(low, Err(StoreError::OutOfWindow)));
    let late = append(&store, batch(fenced, 2, "a", 1)).await;
    assert!(matches!(late, Err(StoreError::Fenced)));
    assert_eq!(store.enrol(&identity("p", 2)).await.unwrap(), p);
    let next = store.enrol(&identity("q", 1)).await.unwrap();
    assert!(next != p && next != fenced, "no id is given twice");
    let position = store.position(&topic("a"), "r").await.unwrap();
    assert_eq!(position, Some(Offset(3)));
}

#[tokio::test]
async fn a_producer_id_is_not_given_again_when_its_producer_was_forgotten() {
    let folder = folder();
    let store = open(folder.path()).await;
    let forgotten = producer(&store, "p").await;
    assert_eq!(store.forget_producers(Duration::ZERO).await.unwrap(), 1);
    let store = reopened(store, folder.path()).await;
    assert_ne!(producer(&store, "q").await, forgotten);
}

#[tokio::test]
async fn offsets_go_on_after_a_topic_was_trimmed_empty_and_the_store_reopened() {
    let folder = folder();
    let store = open(folder.path()).await;
    let p = producer(&store, "p").await;
    base(&store, batch(p, 1, "a", 9)).await;
    let all = Trim {
        max_bytes: Some(0),
        ..Trim::default()
    };
    store.trim(&topic("a"), all).await.unwrap();
    let store = reopened(store, folder.path()).await;
    assert_eq!(bases(&store, "a", 0).await, []);
    assert_eq!(base(&store, batch(p, 2, "a", 1)).await, 9);
}

#[tokio::test]
async fn confirmed_requests_leave_nothing_behind_on_disk() {
    let folder = folder();
    let store = open(folder.path()).await;
    let p = producer(&store, "p").await;
    for request in 0..200 {
        let confirms = Append {
            answered_below: RequestId(request),
            ..batch(p, request, "a", 1)
        };
        base(&store, confirms).await;
    }
    let entries = || {
        let disk = store.shared.disk();
        let rows = &disk.engine.as_ref().unwrap().rows;
        rows.prefix([rows::tag::DEDUPE]).count()
    };
    assert_eq!(entries(), 1);
    store.enrol(&identity("p", 2)).await.unwrap();
    assert_eq!(entries(), 0, "a fenced producer's window goes with it");
}

#[tokio::test]
async fn one_folder_has_one_store() {
    let folder = folder();
    let store = open(folder.path()).await;
    let error = refused(folder.path()).await;
    assert!(matches!(error, OpenError::InUse(_)));
    let path = folder.path().display();
    assert_eq!(
        error.to_string(),
        format!("the data folder {path} is in use by another broker")
    );
    store.close().await.unwrap();
    let again = open(folder.path()).await;
    drop(again);
    open(folder.path()).await;
}

#[tokio::test]
async fn a_folder_that_is_missing_is_made() {
    let folder = folder();
    let deep = folder.path().join("not/there/yet");
    let store = open(&deep).await;
    let p = producer(&store, "p").await;
    assert_eq!(base(&store, batch(p, 1, "a", 1)).await, 0);
}

#[tokio::test]
async fn a_folder_of_a_later_version_is_refused_and_left_alone() {
    let folder = folder();
    open(folder.path()).await.close().await.unwrap();
    fs::write(
        folder.path().join("format"),
        "anabranch data folder, format 2\n",
    )
    .unwrap();
    let error = refused(folder.path()).await;
    assert!(matches!(error, OpenError::LaterVersion { found: 2, .. }));
    assert!(error.to_string().contains("has format 2"), "{error}");

    fs::write(folder.path().join("format"), "something else").unwrap();
    let error = refused(folder.path()).await;
    assert!(matches!(error, OpenError::Damaged { .. }));
}

#[tokio::test]
async fn a_file_in_place_of_the_folder_is_said_to_be_one() {
    let folder = folder();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = refused(&file).await;
    assert!(matches!(error, OpenError::NotAFolder(_)), "{error:?}");
    let error = refused(&file.join("below")).await;
    assert!(matches!(error, OpenError::NotAFolder(_)), "{error:?}");
}

#[tokio::test]
async fn a_folder_of_somebody_else_is_not_written_to() {
    let folder = folder();
    fs::write(folder.path().join("thesis.txt"), "").unwrap();
    let error = refused(folder.path()).await;
    assert!(matches!(error, OpenError::NotOurs(_)), "{error:?}");
    assert_eq!(files(folder.path()).len(), 1);
}

// As root every folder can be written, but nobody makes folders in /sys.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_folder_that_may_not_be_written_is_said_to_be_such() {
    let error = refused(Path::new("/sys/anabranch")).await;
    assert!(matches!(error, OpenError::ReadOnly { .. }), "{error:?}");
    assert!(error.to_string().contains("/sys/anabranch"));
}

#[tokio::test]
async fn a_store_whose_making_was_cut_short_is_made_again() {
    let folder = folder();
    open(folder.path()).await.close().await.unwrap();
    fs::remove_file(folder.path().join("log/version")).unwrap();
    let store = open(folder.path()).await;
    assert_eq!(store.topics(None, 9).await.unwrap(), []);
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

    assert_eq!(bases(&store, "a", 0).await, [0], "up to the damage");
    for at in [2, 3] {
        let read = store.read(&topic("a"), Offset(at), usize::MAX).await;
        let Err(StoreError::Corrupt(said)) = read else {
            panic!("{read:?}")
        };
        assert!(said.contains(&format!("topic a, offset {at}")), "{said}");
    }
    assert_eq!(bases(&store, "a", 4).await, [4], "and from behind it on");
}

#[tokio::test]
async fn a_value_that_rots_on_disk_is_reported_with_its_place() {
    let folder = folder();
    let store = open(folder.path()).await;
    let p = producer(&store, "p").await;
    for request in 1..4 {
        base(&store, sized(p, request, "a", 5_000)).await;
    }
    store.reclaim().await.unwrap();
    store.close().await.unwrap();
    let value = [2; 1000];
    let holds = |file: &PathBuf| fs::read(file).unwrap().windows(1000).any(|w| w == value);
    let mut holders = files(&folder.path().join("log/keyspaces")).into_iter();
    let file = holders.find(holds).expect("it should be in a value file");
    overwrite(&file, find(&file, &value) + 500, b"rot");

    let store = open(folder.path()).await;
    assert_eq!(bases(&store, "a", 0).await, [0]);
    let read = store.read(&topic("a"), Offset(1), 1).await;
    let Err(StoreError::Corrupt(said)) = read else {
        panic!("{read:?}")
    };
    assert!(said.contains("topic a, offset 1"), "{said}");
    assert_eq!(bases(&store, "a", 2).await, [2]);
}

/// A folder as a kill leaves it, with three batches of 50 000 bytes in its journal; each filled with its number.
async fn three_batches() -> (TempDir, ProducerId) {
    let first = folder();
    let store = open(first.path()).await;
    let p = producer(&store, "p").await;
    for request in 1..4 {
        base(&store, sized(p, request, "a", 50_000)).await;
    }
    (copy_of(first.path()), p)
}

#[tokio::test]
async fn a_group_that_a_power_cut_tore_is_cut_off_and_all_before_it_is_there() {
    let (folder, p) = three_batches().await;
    let journal = journal(folder.path());
    // The end of the last group reached the disk, a page in its middle did not.
    let at = find(&journal, &[3; 1000]);
    overwrite(&journal, at + 8192, &[0; 4096]);

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
    let path = journal(folder.path());
    let at = find(&path, &[3; 1000]);
    // The group begins 66 bytes before the content of its batch and ends some 200 behind it.
    for end in [
        at - 66,
        at - 65,
        at - 20,
        at,
        at + 1,
        at + 49_990,
        at + 50_050,
    ] {
        let torn = copy_of(folder.path());
        let file = OpenOptions::new().write(true).open(journal(torn.path()));
        file.unwrap().set_len(end).unwrap();
        let store = open(torn.path()).await;
        assert_eq!(bases(&store, "a", 0).await, [0, 1], "cut at {end}");
    }
}

#[tokio::test]
async fn a_journal_damaged_in_its_middle_is_not_opened_as_if_nothing_were_missing() {
    let (folder, _) = three_batches().await;
    let journal = journal(folder.path());
    let at = find(&journal, &[2; 1000]);
    overwrite(&journal, at + 8192, &[0; 4096]);
    let before = fs::read(&journal).unwrap();

    let error = refused(folder.path()).await;
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    assert_eq!(fs::read(&journal).unwrap(), before, "nothing is cut off");

    // Who never syncs has accepted to lose what a power cut takes.
    let config = LogConfig {
        fsync: Fsync::Never,
        ..LogConfig::default()
    };
    let store = LogStore::open(folder.path(), config).await.unwrap();
    assert_eq!(bases(&store, "a", 0).await, [0]);
}

fn disk_use(path: &Path) -> u64 {
    // The database may delete one of them meanwhile.
    let sizes = files(path)
        .into_iter()
        .filter_map(|file| fs::metadata(file).ok());
    sizes.map(|file| file.len()).sum()
}

#[tokio::test]
async fn the_space_of_trimmed_batches_goes_back_to_the_disk() {
    let folder = folder();
    let config = LogConfig {
        fsync: Fsync::Never,
        ..LogConfig::default()
    };
    let store = LogStore::open(folder.path(), config).await.unwrap();
    let p = producer(&store, "p").await;
    // More than a memtable, so that a part is in value files before the trim and a part is not.
    for group in 0..10 {
        let group: Vec<_> = (0..10)
            .map(|n| sized(p, group * 10 + n, "a", 1 << 20))
            .collect();
        for answer in store.append(group).await {
            answer.unwrap();
        }
    }
    let tables = folder.path().join("log/keyspaces");
    store.reclaim().await.unwrap();
    assert!(disk_use(&tables) > 100 << 20, "{}", disk_use(&tables));

    let to_one = Trim {
        max_bytes: Some(1 << 20),
        ..Trim::default()
    };
    let went = store.trim(&topic("a"), to_one).await.unwrap();
    assert_eq!(went, 99 << 20);
    // Nothing else was called: a trim of this size gives the space back by itself.
    assert!(disk_use(&tables) < 2 << 20, "{}", disk_use(&tables));
    assert_eq!(bases(&store, "a", 0).await, [99]);
}

#[tokio::test]
async fn giving_space_back_moves_batches_that_stay_and_loses_none() {
    let folder = folder();
    let store = open(folder.path()).await;
    let p = producer(&store, "p").await;
    // Two topics that share every value file, of which one is trimmed: most of each file is garbage.
    for round in 0..4 {
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
        store.reclaim().await.unwrap();
    }
    let tables = folder.path().join("log/keyspaces");
    assert!(disk_use(&tables) > 6_900_000);
    let all = Trim {
        older_than: Some(Timestamp(u64::MAX)),
        ..Trim::default()
    };
    store.trim(&topic("goes"), all).await.unwrap();
    store.reclaim().await.unwrap();
    assert!(disk_use(&tables) < 1_500_000, "{}", disk_use(&tables));

    let store = reopened(store, folder.path()).await;
    let read = store.read(&topic("stays"), Offset(0), usize::MAX).await;
    let read = read.unwrap();
    assert_eq!(read.len(), 100);
    for (n, found) in read.iter().enumerate() {
        let expected = sized(p, 2 * n as u64 + 1, "stays", 9_000).batch;
        assert_eq!(found.batch, expected);
    }
}

#[tokio::test]
async fn positions_set_at_once_are_all_set() {
    let folder = folder();
    let store = open(folder.path()).await;
    let a = topic("a");
    store.create_topic(&a).await.unwrap();
    let names: Vec<_> = (0..50).map(|n| format!("reader {n}")).collect();
    let set = (0..50).map(|n| store.set_position(&a, &names[n], Offset(n as u64)));
    for answer in futures_util::future::join_all(set).await {
        answer.unwrap();
    }
    let store = reopened(store, folder.path()).await;
    for (n, name) in names.iter().enumerate() {
        let position = store.position(&a, name).await.unwrap();
        assert_eq!(position, Some(Offset(n as u64)));
    }
}

/// A small disk of its own, where this may be had; a test that needs one says so and passes where it may not.
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
        ..LogConfig::default()
    };
    let data = disk.0.path().join("data");
    let store = LogStore::open(&data, config).await.unwrap();
    let p = producer(&store, "p").await;
    let rest = disk.0.path().join("ballast");
    fs::write(&rest, vec![1; ballast << 20]).unwrap();

    let group = |first| -> Vec<_> {
        let requests = first..first + 4;
        requests.map(|n| sized(p, n, "a", 300_000)).collect()
    };
    let mut request = 0;
    let error = loop {
        let answers = store.append(group(request)).await;
        if let Some(error) = answers.into_iter().find_map(Result::err) {
            break error;
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
    let other = append(&store, sized(p, 5000, "a", 300_000)).await;
    assert!(is_refused(&other.unwrap_err()));
    let mut stored: Vec<_> = (0..request).collect();
    assert_eq!(bases(&store, "a", 0).await, stored, "reads go on");
    assert_eq!(producer(&store, "p").await, p, "who is known may come back");
    let known = append(&store, sized(p, 0, "a", 300_000)).await.unwrap();
    assert!(known.repeat, "what is stored is answered");

    fs::remove_file(&rest).unwrap();
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
    let store = reopened(store, &data).await;
    assert_eq!(bases(&store, "a", 0).await, stored);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_disk_that_is_full_for_the_journal_refuses_until_there_is_room_and_stores_nothing_twice()
{
    fill_a_disk(48, 28).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_disk_that_is_full_for_the_tables_refuses_until_there_is_room_and_stores_nothing_twice() {
    fill_a_disk(300, 190).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn appends_leave_room_on_the_disk_for_the_trim_that_makes_room_for_appends() {
    let Some(disk) = SmallDisk::mount(300) else {
        return;
    };
    let config = LogConfig {
        min_free_bytes: 120 << 20,
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
    let answer = append(&store, sized(p, request, "a", 1 << 20)).await;
    assert_eq!(answer.unwrap().base, Offset(request));
    assert_eq!(store.state(), StoreState::Ready);
}
