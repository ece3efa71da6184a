//! Tests with the store on disk.

use std::{path::Path, sync::Arc, time::Duration};

use super::{
    super::Broker,
    rig::{Client, batch, place, produce, producer, soon, start, subscribe},
};
use crate::{
    Offset,
    store::{LogConfig, LogStore, Store, StoreState},
    wire::{FailureCode, Packet, Start},
};

async fn open(folder: &Path) -> Broker {
    let store = soon("the store", LogStore::open(folder, LogConfig::default()));
    start(Arc::new(store.await.unwrap()) as Arc<dyn Store>).await
}

#[tokio::test]
async fn a_broker_whose_disk_is_full_refuses_in_words_and_serves_its_readers() {
    let folder = tempfile::tempdir().unwrap();
    let broker = open(folder.path()).await;
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    let mut lane = client.ask([produce(1, "t", batch(["a"]))]).await;
    let first = place(lane.stored().await);
    assert_eq!(broker.store_state(), StoreState::Ready);
    let shutdown = broker.shutdown(Duration::from_secs(20));
    soon("the shutdown", shutdown).await.unwrap();

    // The disk counts as full: more space must be left free than there is.
    let config = LogConfig {
        min_free_bytes: u64::MAX,
        ..LogConfig::default()
    };
    let store = LogStore::open(folder.path(), config).await.unwrap();
    let broker = start(Arc::new(store) as Arc<dyn Store>).await;
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    let known = produce(1, "t", batch(["a"]));
    let mut lane = client.ask([known, produce(2, "t", batch(["b"]))]).await;
    assert_eq!(place(lane.stored().await), first, "what is stored is known");
    let Some(Packet::Refused(refused)) = lane.next().await else {
        panic!("not refused")
    };
    assert_eq!(refused.failure.code, FailureCode::StoreRefuses);
    let StoreState::Refusing(why) = broker.store_state() else {
        panic!("it should say that it refuses")
    };
    assert!(refused.failure.detail.contains(&why), "{refused:?}");
    let mut reader = client.ask([subscribe("t", Start::Earliest, 1 << 20)]).await;
    reader.next().await.unwrap();
    assert_eq!(reader.delivery().await.batch, batch(["a"]));
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_restart_and_a_repeat_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let broker = open(folder.path()).await;
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    let mut lane = client.open().await;
    for request in 1..=20 {
        lane.send(produce(request, "t", batch([request.to_string()])))
            .await;
    }
    let mut first = Vec::new();
    for _ in 1..=20 {
        first.push(place(lane.stored().await));
    }
    drop(client);
    let shutdown = broker.shutdown(Duration::from_secs(20));
    soon("the shutdown", shutdown).await.unwrap();

    let broker = open(folder.path()).await;
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    let mut reader = client
        .ask([subscribe("t", Start::Earliest, u64::MAX)])
        .await;
    let Some(Packet::Subscribed(subscribed)) = reader.next().await else {
        panic!("not subscribed");
    };
    assert_eq!((subscribed.next, subscribed.end), (Offset(0), Offset(20)));
    for offset in 0..20 {
        let delivery = reader.delivery().await;
        assert_eq!(delivery.base, Offset(offset));
        assert_eq!(delivery.batch, batch([(offset + 1).to_string()]));
    }
    let mut lane = client.ask([produce(20, "t", batch(["20"]))]).await;
    assert_eq!(place(lane.stored().await), first[19]);
    lane.send(produce(21, "t", batch(["21"]))).await;
    assert_eq!(lane.stored().await.base, Offset(20));
    assert_eq!(reader.delivery().await.base, Offset(20));
}

#[tokio::test]
async fn many_producers_at_once_each_keep_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let broker = open(folder.path()).await;
    let address = broker.local_addr();
    let producing = (0..8).map(|n| async move {
        let name = format!("p{n}");
        let (client, _session, _) = Client::enter(address, producer(&name, 1)).await;
        let mut lane = client.open().await;
        for request in 0..50 {
            let payload = format!("{n} {request}");
            lane.send(produce(request, "t", batch([payload]))).await;
        }
        for request in 0..50 {
            assert_eq!(lane.stored().await.request.0, request);
        }
    });
    soon("the answers", futures_util::future::join_all(producing)).await;

    let (client, _session) = Client::producer(address, "reader").await;
    let mut reader = client
        .ask([subscribe("t", Start::Earliest, u64::MAX)])
        .await;
    reader.next().await;
    let mut next = [0; 8];
    for offset in 0..400 {
        let delivery = reader.delivery().await;
        assert_eq!(delivery.base, Offset(offset));
        let records = crate::wire::Batch::decode(delivery.batch).unwrap();
        let payload = records.records().next().unwrap().payload;
        let text = std::str::from_utf8(&payload).unwrap();
        let (n, request) = text.split_once(' ').unwrap();
        let n: usize = n.parse().unwrap();
        assert_eq!(request, next[n].to_string());
        next[n] += 1;
    }
    assert_eq!(next, [50; 8]);
}
