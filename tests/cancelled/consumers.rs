//! The futures of a consumer, and of a broker.

use std::{sync::Arc, time::Duration};

use anabranch::{
    Offset, TopicName,
    admin::TopicRetention,
    consumer::{Builder, Consumer, Start},
    store::Store,
};

use crate::{
    cut, for_all_k, small,
    world::{LONG, TOPIC, World, text},
};

const MESSAGES: u64 = 5;

async fn filled(world: &World) {
    let producer = small(world).connect().await.unwrap();
    for n in 0..MESSAGES {
        producer.send(n.to_string()).await.unwrap();
    }
    producer.close(LONG).await.unwrap();
}

fn reader(world: &World) -> Builder {
    Consumer::builder()
        .connection(world.client())
        .topic(TOPIC)
        .name("reader")
        .from(Start::Earliest)
}

#[test]
fn subscribe() {
    for_all_k(async |world, k| {
        filled(&world).await;
        let subscribed = cut(&world.network, k, reader(&world).subscribe()).await;
        let completed = subscribed.is_some();
        drop(subscribed);
        let mut next = reader(&world).subscribe().await.unwrap();
        assert_eq!(next.recv().await.unwrap().offset, Offset(0));
        completed
    });
}

#[test]
fn recv() {
    for_all_k(async |world, k| {
        filled(&world).await;
        let mut consumer = reader(&world).subscribe().await.unwrap();
        let mut got = Vec::new();
        let first = cut(&world.network, k, consumer.recv()).await;
        let completed = first.is_some();
        got.extend(first.map(Result::unwrap));
        while (got.len() as u64) < MESSAGES {
            // Every call is dropped once before it is made in earnest.
            let early = cut(&world.network, 1, consumer.recv()).await;
            match early {
                Some(received) => got.push(received.unwrap()),
                None => got.push(consumer.recv().await.unwrap()),
            }
        }
        for (n, received) in got.iter().enumerate() {
            assert_eq!(text(&received.record.payload), n.to_string());
        }
        completed
    });
}

async fn position(world: &World) -> Offset {
    let topic = TopicName::new(TOPIC).unwrap();
    let position = world.store.position(&topic, "reader").await;
    position.unwrap().unwrap()
}

#[test]
fn ack() {
    for_all_k(async |world, k| {
        filled(&world).await;
        let mut consumer = reader(&world).subscribe().await.unwrap();
        let received = consumer.recv().await.unwrap();
        let acked = cut(&world.network, k, consumer.ack(received.offset)).await;
        if let Some(acked) = &acked {
            acked.as_ref().unwrap();
            assert_eq!(position(&world).await, Offset(1));
        }
        // Not taken back, and no hindrance for the next.
        let second = consumer.recv().await.unwrap();
        consumer.ack(second.offset).await.unwrap();
        assert_eq!(position(&world).await, Offset(2));
        acked.is_some()
    });
}

#[test]
fn close() {
    for_all_k(async |world, k| {
        filled(&world).await;
        let mut consumer = reader(&world).subscribe().await.unwrap();
        let received = consumer.recv().await.unwrap();
        consumer.ack_nowait(received.offset).unwrap();
        let closed = cut(&world.network, k, consumer.close(LONG)).await;
        if let Some(closed) = &closed {
            closed.as_ref().unwrap();
            assert_eq!(position(&world).await, Offset(1));
        }
        let mut next = reader(&world).subscribe().await.unwrap();
        let again = next.recv().await.unwrap().offset;
        assert!(again <= Offset(1), "{again} was never acknowledged");
        closed.is_some()
    });
}

#[test]
fn a_store_that_is_opened() {
    // Real files and real threads: a future that is dropped leaves the folder to the next one.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        use anabranch::store::{LogConfig, LogStore, OpenError};
        for k in 0..20 {
            let folder = tempfile::tempdir().unwrap();
            let mut opening = Box::pin(LogStore::open(folder.path(), LogConfig::default()));
            for _ in 0..k {
                if futures_util::poll!(&mut opening).is_ready() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            drop(opening);
            let store = loop {
                match LogStore::open(folder.path(), LogConfig::default()).await {
                    Ok(store) => break Arc::new(store),
                    Err(OpenError::InUse(_)) => tokio::task::yield_now().await,
                    Err(error) => panic!("{error}"),
                }
            };
            store
                .create_topic(&TopicName::new("t").unwrap(), TopicRetention::default())
                .await
                .unwrap();
            store.close().await.unwrap();
        }
    });
}
