use std::{collections::HashSet, num::NonZeroUsize, time::Duration};

use anabranch::{
    Message, TopicName,
    producer::{Fate, SendErrorKind, Strategy},
};
use futures_util::{FutureExt, SinkExt, StreamExt, stream};

use crate::support::{Far, LONG, TOPIC, begun, text};

/// Sends `n` messages and checks that each is stored once, at the offset that its receipt names.
async fn each_once(far: &Far, strategy: Strategy, n: usize) {
    let producer = far.producer().strategy(strategy).connect().await.unwrap();
    let mut receipts = Vec::new();
    for i in 0..n {
        receipts.push(producer.send_async(format!("{i}")).await.unwrap());
    }
    let mut offsets = Vec::new();
    for receipt in receipts {
        let ack = receipt.await.unwrap();
        assert_eq!(ack.topic().as_str(), TOPIC);
        offsets.push(ack.offset().unwrap());
    }
    let stored = far.stored(TOPIC).await;
    assert_eq!(stored.len(), n);
    let by_offset: std::collections::HashMap<_, _> = stored.into_iter().collect();
    for (i, offset) in offsets.into_iter().enumerate() {
        assert_eq!(text(&by_offset[&offset].payload), i.to_string());
    }
    let load = producer.stats();
    assert_eq!((load.queued_messages, load.in_flight_messages), (0, 0));
    producer.close(LONG).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_message_is_stored_once_where_its_receipt_says() {
    each_once(&Far::with_memory().await, Strategy::Adaptive, 20_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_message_is_stored_once_on_disk_over_many_lanes() {
    let lanes = NonZeroUsize::new(16).unwrap();
    each_once(&Far::with_log().await, Strategy::Fixed(lanes), 20_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_message_is_stored_once_with_a_stream_for_each() {
    let streams = NonZeroUsize::new(100).unwrap();
    each_once(
        &Far::with_memory().await,
        Strategy::PerMessage(streams),
        2_000,
    )
    .await;
}

#[tokio::test]
async fn a_message_may_go_to_a_topic_of_its_own() {
    let far = Far::with_memory().await;
    let producer = far.producer().connect().await.unwrap();
    let other = TopicName::new("other").unwrap();
    let there = producer
        .send_async(Message::new("there").with_topic(other.clone()))
        .await
        .unwrap();
    let here = producer.send_async("here").await.unwrap();
    assert_eq!(there.await.unwrap().topic(), &other);
    assert_eq!(here.await.unwrap().topic().as_str(), TOPIC);
    assert_eq!(far.stored("other").await.len(), 1);
    assert_eq!(far.payloads().await, ["here"]);
    producer.close(LONG).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_around_a_restart_of_the_broker_is_stored_once() {
    let mut far = Far::with_log().await;
    let producer = far.producer().connect().await.unwrap();
    let sender = producer.clone();
    let sending = tokio::spawn(async move {
        let mut receipts = Vec::new();
        for i in 0..3000_u32 {
            receipts.push(
                sender
                    .send_async(Message::new(format!("{i}")).with_key("k"))
                    .await
                    .unwrap(),
            );
            if i % 10 == 0 {
                tokio::task::yield_now().await;
            }
        }
        for receipt in receipts {
            receipt.await.unwrap();
        }
    });
    far = far.restart().await;
    far = far.restart().await;
    sending.await.unwrap();
    let expected: Vec<_> = (0..3000).map(|i| i.to_string()).collect();
    assert_eq!(far.payloads().await, expected);
    producer.close(LONG).await.unwrap();
}

#[tokio::test]
async fn a_flush_returns_when_everything_before_it_has_its_outcome() {
    let far = Far::with_log().await;
    let producer = far.producer().connect().await.unwrap();
    let mut receipts = Vec::new();
    for i in 0..500 {
        receipts.push(producer.send_async(format!("{i}")).await.unwrap());
    }
    let last = begun(producer.send("last"));
    producer.flush(LONG).await.unwrap();
    for receipt in &receipts {
        receipt.try_outcome().expect("it has its outcome").unwrap();
    }
    assert_eq!(far.payloads().await.len(), 501);
    last.await.unwrap();
    producer.close(LONG).await.unwrap();
}

#[tokio::test]
async fn a_close_that_cannot_deliver_hands_every_message_back() {
    let far = Far::with_memory().await;
    let producer = far.producer().build().unwrap();
    far.broker.shutdown(LONG).await.unwrap();
    let mut receipts = Vec::new();
    for i in 0..100 {
        receipts.push(producer.send_async(format!("{i}")).await.unwrap());
    }
    let undelivered = producer
        .close(Duration::from_millis(200))
        .await
        .unwrap_err()
        .undelivered;
    let payloads: HashSet<_> = undelivered
        .iter()
        .map(|u| text(u.message.payload()))
        .collect();
    assert_eq!(payloads, (0..100).map(|i| i.to_string()).collect());
    assert!(undelivered.iter().all(|u| u.fate == Fate::NotStored));
    for receipt in receipts {
        let error = receipt.await.unwrap_err();
        assert_eq!(error.kind(), SendErrorKind::Closed);
        assert_eq!(error.fate(), Fate::NotStored);
    }
}

#[tokio::test]
async fn while_one_handle_closes_the_others_take_nothing_more() {
    let far = Far::with_memory().await;
    let producer = far.producer().build().unwrap();
    far.broker.shutdown(LONG).await.unwrap();
    let receipt = producer.send_async("early").await.unwrap();
    let mut closing = Box::pin(producer.clone().close(LONG));
    assert!((&mut closing).now_or_never().is_none(), "it drains");
    let late = producer.send_async("late").await.unwrap_err();
    assert_eq!(late.kind(), SendErrorKind::Closed);
    let late = producer.try_send_async("late").unwrap_err();
    assert_eq!(late.kind(), SendErrorKind::Closed);
    assert_eq!(text(late.into_message().unwrap().payload()), "late");
    drop((closing, producer));
    assert_eq!(receipt.await.unwrap_err().kind(), SendErrorKind::Closed);
}

#[tokio::test]
async fn a_dropped_producer_tells_every_receipt() {
    let far = Far::with_memory().await;
    let producer = far.producer().build().unwrap();
    far.broker.shutdown(LONG).await.unwrap();
    let receipt = producer.send_async("lost").await.unwrap();
    drop(producer);
    let error = receipt.await.unwrap_err();
    assert_eq!(error.kind(), SendErrorKind::Closed);
    assert_eq!(text(error.into_message().unwrap().payload()), "lost");
}

#[tokio::test]
async fn a_dropped_receipt_changes_nothing() {
    let far = Far::with_memory().await;
    let producer = far.producer().connect().await.unwrap();
    drop(producer.send_async("unwatched").await.unwrap());
    producer.close(LONG).await.unwrap();
    assert_eq!(far.payloads().await, ["unwatched"]);
}

#[tokio::test]
async fn a_message_without_an_outcome_expires_with_its_fate() {
    let far = Far::with_memory().await;
    let producer = far
        .producer()
        .delivery_timeout(Duration::from_millis(100))
        .build()
        .unwrap();
    far.broker.shutdown(LONG).await.unwrap();
    let error = producer
        .send_async("late")
        .await
        .unwrap()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), SendErrorKind::Expired);
    assert_eq!(error.fate(), Fate::NotStored);
    let error = producer.send("late, in order").await.unwrap_err();
    assert_eq!(error.kind(), SendErrorKind::Expired);
    assert_eq!(error.fate(), Fate::NotStored);
}

#[tokio::test]
async fn a_producer_is_a_sink() {
    let far = Far::with_memory().await;
    let mut producer = far.producer().connect().await.unwrap();
    let mut messages = stream::iter((0..100).map(|i| Ok(Message::new(i.to_string()))));
    producer.send_all(&mut messages).await.unwrap();
    SinkExt::<Message>::flush(&mut producer).await.unwrap();
    assert_eq!(far.payloads().await.len(), 100);
    assert!(messages.next().await.is_none());
    producer.close(LONG).await.unwrap();
}

#[tokio::test]
async fn a_later_producer_of_the_same_name_fences_the_earlier() {
    let far = Far::with_memory().await;
    let first = far.producer().name("one").connect().await.unwrap();
    first.send("by the first").await.unwrap();
    let second = far.producer().name("one").connect().await.unwrap();
    second.send("by the second").await.unwrap();
    let error = first.send("again by the first").await.unwrap_err();
    assert_eq!(error.fate(), Fate::NotStored);
    assert!(!error.is_retryable(), "{error}");
    assert_eq!(far.payloads().await, ["by the first", "by the second"]);
    second.close(LONG).await.unwrap();
}
