//! What is not as it was written: rot, and what a power cut leaves.

use std::{
    fs::{self, OpenOptions},
    io::{Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use tempfile::TempDir;

use super::{super::*, *};

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
