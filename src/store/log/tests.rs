//! The promises of the store on disk, beside those of every store.

mod corpus;
mod crash_points;
mod damage;
mod disk;
mod killed;
#[cfg(unix)]
mod limits;
mod simulated;

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::{
    super::tests::{
        KEPT, append, base, bases, batch, encoded, identity, info, producer, register, topic,
        with_id,
    },
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

/// Returns a copy of the folder, as a process that is killed at this moment would leave it: with the manifest the same before
/// and after, since a store changes files beside its calls.
pub(in super::super) fn copy_of(from: &Path) -> TempDir {
    loop {
        let to = folder();
        let manifest = || fs::read(from.join("manifest")).unwrap();
        let before = manifest();
        if copy(from, to.path()).is_ok() && manifest() == before {
            return to;
        }
    }
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

/// Leaves the holes out: a segment that is made ahead consists of them.
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
    let fenced = register(&store, identity("p", 1)).await;
    base(&store, batch(fenced, 1, "a", 1)).await;
    let p = register(&store, identity("p", 2)).await;
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
    let back = store.register_producer(&with_id("p", 1, fenced)).await;
    assert!(matches!(back, Err(StoreError::Fenced)));
    assert_eq!(register(&store, with_id("p", 2, p)).await, p);
    let recalled = store.stored_requests(p, RequestId(0), 9).await.unwrap();
    let recalled: Vec<_> = recalled.iter().map(|(id, at)| (id.0, at.base)).collect();
    assert_eq!(recalled, [(5, first.base), (6, Offset(first.base.0 + 3))]);
    let next = register(&store, identity("q", 1)).await;
    assert!(next > p, "no id is given twice");
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
    assert_eq!(bases(&store, "a", 0).await, [0_u64; 0]);
    assert_eq!(base(&store, batch(p, 2, "a", 1)).await, 9);
}

#[tokio::test]
async fn confirmed_requests_are_not_remembered_across_a_reopening() {
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
    for crash in [true, false] {
        let copy = copy_of(folder.path());
        let store = open(copy.path()).await;
        let store = if crash {
            store
        } else {
            reopened(store, copy.path()).await
        };
        let recalled = store.stored_requests(p, RequestId(0), 9).await.unwrap();
        assert_eq!(recalled.len(), 1);
        assert_eq!(recalled[0].0, RequestId(199));
    }
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_may_enter_a_folder_that_was_made() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = folder();
    let path = folder.path().join("data");
    open(&path).await;
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
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
async fn a_folder_of_another_version_is_refused_and_left_alone() {
    let folder = folder();
    open(folder.path()).await.close().await.unwrap();
    fs::write(
        folder.path().join("format"),
        "anabranch data folder, format 3\n",
    )
    .unwrap();
    let error = refused(folder.path()).await;
    assert!(matches!(error, OpenError::LaterVersion { found: 3, .. }));
    assert!(error.to_string().contains("has format 3"), "{error}");

    fs::write(
        folder.path().join("format"),
        "anabranch data folder, format 1\n",
    )
    .unwrap();
    let error = refused(folder.path()).await;
    assert!(matches!(error, OpenError::EarlierVersion { found: 1, .. }));
    assert!(error.to_string().contains("no longer reads"), "{error}");

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

// As root every folder can be written, but folders cannot be made in /sys.
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
    // Written last when a folder is made.
    fs::remove_file(folder.path().join("format")).unwrap();
    let store = open(folder.path()).await;
    assert_eq!(store.topics(None, 9).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_beside_appends_and_trims_see_every_batch_once_and_in_order() {
    const GROUPS: u64 = 60;
    const GROUP: u64 = 5;
    let folder = folder();
    let config = LogConfig {
        fsync: Fsync::Never,
        ..LogConfig::default()
    };
    let store = LogStore::open(folder.path(), config).await.unwrap();
    let name = topic("a");
    store.create_topic(&name, KEPT).await.unwrap();
    let p = producer(&store, "p").await;

    let appends = async {
        for group in 0..GROUPS {
            let requests = group * GROUP..(group + 1) * GROUP;
            let batches = requests.map(|n| batch(p, n, "a", 1)).collect();
            for answer in store.append(batches).await {
                answer.unwrap();
            }
        }
    };
    let reads = async {
        let mut next = 0;
        while next < GROUPS * GROUP {
            for found in store.read(&name, Offset(next), 100).await.unwrap() {
                assert_eq!(found.base, Offset(next));
                assert_eq!(found.batch, batch(p, next, "a", 1).batch);
                next = found.end().0;
            }
            // What has been read may go.
            let read = Trim {
                max_bytes: Some(0),
                keep_from: Some(Offset(next)),
                ..Trim::default()
            };
            store.trim(&name, read).await.unwrap();
        }
    };
    tokio::join!(appends, reads);
    let left = info(&store, "a").await;
    assert_eq!((left.first, left.bytes), (left.next, 0));
}

#[tokio::test]
async fn positions_set_at_once_are_all_set() {
    let folder = folder();
    let store = open(folder.path()).await;
    let a = topic("a");
    store.create_topic(&a, KEPT).await.unwrap();
    let names: Vec<_> = (0..50).map(|n| format!("reader {n}")).collect();
    let set = (0..50).map(|n| store.set_position(&a, &names[n], Offset(n as u64)));
    for answer in futures_util::future::join_all(set).await {
        answer.unwrap();
    }
    // Of two for one reader, the one that was set later counts.
    let set = (0..100).map(|n| store.set_position(&a, "same", Offset(n)));
    for answer in futures_util::future::join_all(set).await {
        answer.unwrap();
    }
    let same = store.position(&a, "same").await.unwrap();
    assert_eq!(same, Some(Offset(99)));

    let store = reopened(store, folder.path()).await;
    assert_eq!(store.position(&a, "same").await.unwrap(), same);
    for (n, name) in names.iter().enumerate() {
        let position = store.position(&a, name).await.unwrap();
        assert_eq!(position, Some(Offset(n as u64)));
    }
}
