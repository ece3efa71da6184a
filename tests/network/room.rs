use std::time::Duration;

use anabranch::producer::{Fate, SendErrorKind, WhenFull};
use futures_util::FutureExt;

use crate::support::{Far, LONG, begun, text};

const ROOM: usize = 10;

#[tokio::test]
async fn a_message_over_the_limit_is_refused_before_anything_is_queued() {
    let far = Far::with_memory().await;
    let producer = far
        .producer()
        .max_message_bytes(100)
        .connect()
        .await
        .unwrap();
    let error = producer.try_send_async(vec![0; 101]).unwrap_err();
    assert_eq!(error.kind(), SendErrorKind::TooLarge);
    assert_eq!(error.fate(), Fate::NotStored);
    assert_eq!(error.into_message().unwrap().payload().len(), 101);
    assert_eq!(producer.stats().queued_messages, 0);
    producer.send(vec![0; 100]).await.unwrap();
    producer.close(LONG).await.unwrap();
}

#[tokio::test]
async fn a_full_buffer_hands_the_message_back_to_who_does_not_wait() {
    let far = Far::with_memory().await;
    let producer = far
        .producer()
        .buffer_messages(ROOM)
        .buffer_bytes(1 << 20)
        .build()
        .unwrap();
    far.broker.shutdown(LONG).await.unwrap();
    for i in 0..ROOM {
        drop(producer.try_send_async(format!("{i}")).unwrap());
    }
    let error = producer.try_send_async("one more").unwrap_err();
    assert_eq!(error.kind(), SendErrorKind::Full);
    assert!(error.is_retryable());
    assert_eq!(text(error.into_message().unwrap().payload()), "one more");
}

#[tokio::test]
async fn with_when_full_error_nobody_waits() {
    let far = Far::with_memory().await;
    let producer = far
        .producer()
        .buffer_messages(1)
        .buffer_bytes(1 << 20)
        .when_full(WhenFull::Error)
        .build()
        .unwrap();
    far.broker.shutdown(LONG).await.unwrap();
    drop(producer.send_async("first").await.unwrap());
    let outcome = producer.send_async("second").now_or_never().unwrap();
    assert_eq!(outcome.unwrap_err().kind(), SendErrorKind::Full);
}

#[tokio::test]
async fn with_when_full_wait_for_the_wait_ends() {
    let far = Far::with_memory().await;
    let producer = far
        .producer()
        .buffer_messages(1)
        .buffer_bytes(1 << 20)
        .when_full(WhenFull::WaitFor(Duration::from_millis(50)))
        .build()
        .unwrap();
    far.broker.shutdown(LONG).await.unwrap();
    drop(producer.send_async("first").await.unwrap());
    let error = producer.send_async("second").await.unwrap_err();
    assert_eq!(error.kind(), SendErrorKind::Full);
    assert_eq!(text(error.into_message().unwrap().payload()), "second");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_room_gets_it_in_turn_and_nothing_is_lost() {
    let far = Far::with_memory().await;
    let producer = far
        .producer()
        .buffer_messages(ROOM)
        .buffer_bytes(1 << 20)
        .connect()
        .await
        .unwrap();
    let calls: Vec<_> = (0..500)
        .map(|i| begun(producer.send(format!("{i}"))))
        .collect();
    for call in calls.into_iter().rev() {
        call.await.unwrap();
    }
    let expected: Vec<_> = (0..500).map(|i| i.to_string()).collect();
    assert_eq!(far.payloads().await, expected);
    assert_eq!(producer.stats().waiting, 0);
    producer.close(LONG).await.unwrap();
}

#[tokio::test]
async fn a_call_that_is_dropped_while_it_waits_leaves_nothing_behind() {
    let far = Far::with_memory().await;
    let producer = far
        .producer()
        .buffer_messages(1)
        .buffer_bytes(1 << 20)
        .build()
        .unwrap();
    far.broker.shutdown(LONG).await.unwrap();
    drop(producer.send_async("first").await.unwrap());
    let waiting = begun(producer.send_async("second"));
    assert_eq!(producer.stats().waiting, 1);
    drop(waiting);
    assert_eq!(producer.stats().waiting, 0);
    let left = producer.close(Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(left.undelivered.len(), 1);
}

#[tokio::test]
async fn a_future_that_is_never_polled_sends_nothing_with_or_without_room() {
    let far = Far::with_memory().await;
    let producer = far
        .producer()
        .buffer_messages(1)
        .buffer_bytes(1 << 20)
        .connect()
        .await
        .unwrap();
    drop(producer.send("forgotten"));
    drop(producer.send_async("forgotten"));
    let accepted = producer.send_async("kept").await.unwrap();
    drop(producer.send("forgotten"));
    drop(producer.send_async("forgotten"));
    accepted.await.unwrap();
    producer.flush(LONG).await.unwrap();
    assert_eq!(far.payloads().await, ["kept"]);
    producer.close(LONG).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_future_can_be_given_to_another_task_and_outlives_the_handle() {
    let far = Far::with_memory().await;
    let producer = far.producer().connect().await.unwrap();
    let receipt = tokio::spawn(producer.send_async("one"));
    receipt.await.unwrap().unwrap().await.unwrap();
    let ack = tokio::spawn(producer.send("two"));
    drop(producer);
    ack.await.unwrap().unwrap();
    assert_eq!(far.payloads().await, ["one", "two"]);
}
