//! Tests of the log on disk: it is the same after a restart, and damaged entries are passed over.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Config,
    log::{Group, Log, LogError},
    mode::Size,
};
use crate::{
    TopicName,
    store::Append,
    wire::{BatchBuilder, Record},
};

const LITTLE: Size = Size {
    messages: 4,
    bytes: 1 << 20,
};

fn batch(payloads: &[&'static str]) -> (Bytes, u32) {
    let mut builder = BatchBuilder::new(0);
    for &payload in payloads {
        builder.push(&Record {
            payload: payload.into(),
            ..Record::default()
        });
    }
    let count = builder.count();
    (builder.finish(), count)
}

/// Makes a log with these entries.
async fn log(folder: &tempfile::TempDir, entries: &[&[&'static str]]) -> Log {
    let log = Log::open(&Config::new(folder.path())).unwrap();
    let writer = log.writer().await.unwrap();
    let topic = TopicName::new("t").unwrap();
    let entries: Vec<Append> = (0..)
        .zip(entries)
        .map(|(n, payloads)| {
            let (batch, count) = batch(payloads);
            log.entry(writer, (n, 0), &topic, (&batch, count))
        })
        .collect();
    log.write(&Group(entries)).await.unwrap();
    log
}

#[tokio::test]
async fn a_piece_that_was_planned_is_the_same_one_after_the_process_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let first = log(&folder, &[&["1", "2"], &["3"], &["4", "5"], &["6"]]).await;
    let planned = first.next_piece(LITTLE).await.unwrap().unwrap();
    assert_eq!(planned.positions, 0..5);
    first.close().await.unwrap();
    drop(first);

    let second = Log::open(&Config::new(folder.path())).unwrap();
    // The limit would permit a larger piece now.
    let more = Size {
        messages: 100,
        ..LITTLE
    };
    let again = second.next_piece(more).await.unwrap().unwrap();
    assert_eq!(again.positions, 0..5);
    second.set_done(5).await.unwrap();
    second.trim().await.unwrap();
    assert_eq!(second.held().messages, 1);
    let rest = second.next_piece(more).await.unwrap().unwrap();
    assert_eq!(rest.positions, 5..6);
    second.set_done(6).await.unwrap();
    assert!(second.next_piece(more).await.unwrap().is_none());
}

#[tokio::test]
async fn the_identity_of_a_folder_is_the_same_in_every_process() {
    let folder = tempfile::tempdir().unwrap();
    let first = Log::open(&Config::new(folder.path())).unwrap();
    let identity = first.identity().await.unwrap();
    assert_eq!(first.identity().await.unwrap(), identity);
    first.close().await.unwrap();
    drop(first);
    let second = Log::open(&Config::new(folder.path())).unwrap();
    assert_eq!(second.identity().await.unwrap(), identity);
}

#[tokio::test]
async fn damaged_entries_are_passed_over_and_counted_message_by_message() {
    let folder = tempfile::tempdir().unwrap();
    let log = log(&folder, &[&["1"]]).await;
    let writer = log.writer().await.unwrap();
    let topic = TopicName::new("t").unwrap();
    let (good, count) = batch(&["6"]);
    let entry = log.entry(writer, (0, 0), &topic, (&good, count));
    // One does not match its checksum. The other does, and is not an entry.
    let corrupt = Append {
        batch: Bytes::from_static(b"\0\0\0\0corrupt"),
        count: 2,
        ..entry.clone()
    };
    let nonsense = crc32fast::hash(b"nonsense").to_le_bytes();
    let nonsense = Append {
        batch: [&nonsense[..], b"nonsense"].concat().into(),
        count: 2,
        request: crate::RequestId(1),
        ..entry.clone()
    };
    let entry = Append {
        request: crate::RequestId(2),
        ..entry
    };
    log.write(&Group(vec![corrupt, nonsense, entry]))
        .await
        .unwrap();

    let all = Size {
        messages: 100,
        ..LITTLE
    };
    let piece = log.next_piece(all).await.unwrap().unwrap();
    assert_eq!(piece.positions, 0..6);
    let read: Vec<_> = piece
        .entries
        .iter()
        .map(|e| (e.positions.clone(), e.content.is_some()))
        .collect();
    assert_eq!(
        read,
        [(0..1, true), (1..3, false), (3..5, false), (5..6, true)]
    );
}

#[tokio::test]
async fn a_group_that_is_written_again_is_on_disk_once() {
    let folder = tempfile::tempdir().unwrap();
    let log = log(&folder, &[]).await;
    let writer = log.writer().await.unwrap();
    let topic = TopicName::new("t").unwrap();
    let (bytes, count) = batch(&["1", "2"]);
    let group = Group(vec![log.entry(writer, (7, 7), &topic, (&bytes, count))]);
    let first = log.write(&group).await.unwrap();
    let again = log.write(&group).await.unwrap();
    assert_eq!(first[0].base, again[0].base);
    assert_eq!(log.held().messages, 2);
}

#[tokio::test]
async fn a_disk_without_room_reports_that_nothing_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::new(folder.path());
    config.min_free_bytes = u64::MAX;
    let log = Arc::new(Log::open(&config).unwrap());
    let writer = log.writer().await.unwrap();
    let topic = TopicName::new("t").unwrap();
    let (bytes, count) = batch(&["1"]);
    let group = Group(vec![log.entry(writer, (0, 0), &topic, (&bytes, count))]);
    let error = log.write(&group).await.unwrap_err();
    assert!(matches!(error, LogError::NotWritten(_)), "{error}");
    assert_eq!(log.held(), Size::default());
}
