use std::{collections::HashMap, num::NonZeroUsize};

use anabranch::{Message, producer::Strategy};
use futures_util::{StreamExt, future::join_all, stream::FuturesUnordered};

use crate::support::{Far, LONG, TOPIC, begun, text};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sent_messages_are_stored_in_the_order_of_their_first_polls_whichever_is_polled_next() {
    let far = Far::with_memory().await;
    let producer = far.producer().connect().await.unwrap();
    let mut calls: Vec<_> = (0..2000)
        .map(|i| begun(producer.send(format!("{i}"))))
        .collect();
    calls.reverse();
    let mut offsets: Vec<_> = join_all(calls)
        .await
        .into_iter()
        .map(|a| a.unwrap().offset().unwrap().0)
        .collect();
    offsets.reverse();
    assert_eq!(offsets, (0..2000).collect::<Vec<u64>>());
    let expected: Vec<_> = (0..2000).map(|i| format!("{i}")).collect();
    assert_eq!(far.payloads().await, expected);
    producer.close(LONG).await.unwrap();
}

async fn keyed(strategy: Strategy, far: Far) -> Far {
    const KEYS: u32 = 40;
    const EACH: u32 = 250;
    let producer = far.producer().strategy(strategy).connect().await.unwrap();
    let mut receipts = FuturesUnordered::new();
    for n in 0..EACH {
        for key in 0..KEYS {
            let message = Message::new(format!("{n}")).with_key(format!("key-{key}"));
            receipts.push(producer.send_async(message).await.unwrap());
        }
    }
    while let Some(outcome) = receipts.next().await {
        outcome.unwrap();
    }
    let mut next: HashMap<String, u32> = HashMap::new();
    let stored = far.stored(TOPIC).await;
    assert_eq!(stored.len(), usize::try_from(KEYS * EACH).unwrap());
    for (_, record) in stored {
        let n = next.entry(text(&record.key.unwrap())).or_default();
        assert_eq!(text(&record.payload), n.to_string());
        *n += 1;
    }
    drop(receipts);
    producer.close(LONG).await.unwrap();
    far
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keyed_messages_keep_their_order_over_many_lanes() {
    let eight = NonZeroUsize::new(8).unwrap();
    keyed(Strategy::Fixed(eight), Far::with_memory().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keyed_messages_keep_their_order_with_a_stream_for_each_message() {
    let fifty = NonZeroUsize::new(50).unwrap();
    keyed(Strategy::PerMessage(fifty), Far::with_memory().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keyed_messages_keep_their_order_while_lanes_come_and_go() {
    keyed(Strategy::Adaptive, Far::with_log().await).await;
}
