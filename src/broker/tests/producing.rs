use std::time::Duration;

use bytes::Bytes;

use super::{
    super::Limits,
    odd::{Mood, Odd},
    rig::{Client, batch, broker, memory, place, produce, soon, start, topic},
};
use crate::{
    Offset, RequestId,
    wire::{Batch, Connect, Failure, FailureCode, Packet, Record, Refused},
};

#[tokio::test]
async fn batches_of_one_stream_are_stored_in_their_order() {
    let store = Odd::new(Mood::Well);
    let broker = start(store.clone()).await;
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    let mut lane = client.open().await;
    for request in 0..200 {
        lane.send(produce(request, "t", batch([request.to_string()])))
            .await;
    }
    for request in 0..200 {
        let stored = lane.stored().await;
        assert_eq!(stored.request, RequestId(request));
        assert_eq!(stored.base, Offset(request));
    }
    let order: Vec<_> = store.groups().into_iter().flatten().collect();
    let expected: Vec<_> = (0..200).map(|n| (topic("t"), RequestId(n))).collect();
    assert_eq!(order, expected);
}

#[tokio::test]
async fn a_stream_goes_on_being_read_while_earlier_batches_are_made_durable() {
    let store = Odd::new(Mood::Shut);
    let broker = start(store.clone()).await;
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    let mut lane = client.ask([produce(1, "t", batch(["a"]))]).await;
    store.has_begun(1).await;
    lane.send(produce(2, "t", batch(["b"]))).await;
    lane.send(produce(3, "t", batch(["c"]))).await;
    lane.send(Packet::Probe { nonce: 9 }).await;
    // The probe stands behind both batches, and is answered while the first is not durable yet.
    assert_eq!(lane.next().await, Some(Packet::Probed { nonce: 9 }));
    store.turn(Mood::Well);
    for request in 1..=3 {
        assert_eq!(lane.stored().await.request, RequestId(request));
    }
    let sizes: Vec<usize> = store.groups().iter().map(Vec::len).collect();
    assert_eq!(sizes, [1, 2], "what gathered meanwhile is one group");
}

#[tokio::test]
async fn one_stream_does_not_wait_for_another() {
    let broker = start(memory()).await;
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    let mut half = client.open().await;
    half.send_bytes(&[200, 0, 0, 0, 4]).await;
    let mut lane = client.ask([produce(1, "t", batch(["a"]))]).await;
    assert_eq!(lane.stored().await.base, Offset(0));
}

#[tokio::test]
async fn what_is_read_and_unanswered_is_bounded() {
    let store = Odd::new(Mood::Shut);
    let broker = broker(store.clone()).limits(Limits {
        stream_batches: 2,
        ..Limits::default()
    });
    let broker = broker.bind().await.unwrap();
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    let mut lane = client.open().await;
    for request in 0..2 {
        lane.send(produce(request, "t", batch(["a"]))).await;
    }
    lane.send(Packet::Probe { nonce: 9 }).await;
    store.has_begun(1).await;
    assert_eq!(lane.within(Duration::from_millis(100)).await, None);
    store.turn(Mood::Well);
    assert_eq!(lane.stored().await.request, RequestId(0));
    let rest = [lane.next().await.unwrap(), lane.next().await.unwrap()];
    assert!(rest.contains(&Packet::Probed { nonce: 9 }), "{rest:?}");
}

#[tokio::test]
async fn a_full_store_refuses_and_says_so() {
    let store = Odd::new(Mood::Full);
    let broker = start(store.clone()).await;
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    let mut lane = client.ask([produce(7, "t", batch(["a"]))]).await;
    let Some(Packet::Refused(refused)) = lane.next().await else {
        panic!("not refused")
    };
    assert_eq!(refused.request, RequestId(7));
    assert_eq!(refused.failure.code, FailureCode::StoreRefuses);
    assert!(refused.failure.detail.contains("the disk is full"));
    store.turn(Mood::Well);
    lane.send(produce(7, "t", batch(["a"]))).await;
    assert_eq!(lane.stored().await.request, RequestId(7));
}

#[tokio::test]
async fn a_repeat_is_answered_with_the_first_answer() {
    let broker = start(memory()).await;
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    let mut lane = client.open().await;
    lane.send(produce(1, "t", batch(["a", "b"]))).await;
    lane.send(produce(2, "t", batch(["c"]))).await;
    let first = place(lane.stored().await);
    assert_eq!(lane.stored().await.base, Offset(2));
    drop(client);

    // The same producer on another connection: its instance tells.
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    let mut lane = client.ask([produce(1, "t", batch(["a", "b"]))]).await;
    assert_eq!(place(lane.stored().await), first);
    lane.send(produce(3, "t", batch(["d"]))).await;
    assert_eq!(
        lane.stored().await.base,
        Offset(3),
        "nothing came in between"
    );
}

#[tokio::test]
async fn a_producer_is_fenced_by_a_later_one_of_its_name() {
    let broker = start(memory()).await;
    let (first, _session) = Client::producer(broker.local_addr(), "p").await;
    let second = super::rig::producer("p", 2);
    let _second = Client::enter(broker.local_addr(), second).await;
    let mut lane = first.ask([produce(1, "t", batch(["a"]))]).await;
    assert_eq!(refused(lane.next().await), FailureCode::Fenced);
}

#[tokio::test]
async fn a_damaged_or_oversized_batch_is_refused_and_the_lane_goes_on() {
    let broker = broker(memory()).limits(Limits {
        max_message: 100,
        max_batch_messages: 3,
        ..Limits::default()
    });
    let broker = broker.bind().await.unwrap();
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    let mut damaged = batch(["a"]).to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    let mut lane = client.open().await;
    for (wrong, code) in [
        (Bytes::from(damaged), FailureCode::Corrupt),
        (Bytes::new(), FailureCode::Corrupt),
        (batch([[0; 101]]), FailureCode::TooLarge),
        (batch(["a", "b", "c", "d"]), FailureCode::TooLarge),
    ] {
        lane.send(produce(1, "t", wrong)).await;
        assert_eq!(refused(lane.next().await), code);
    }
    lane.send(produce(1, "t", batch([[0; 100]]))).await;
    assert_eq!(lane.stored().await.base, Offset(0));
}

#[tokio::test]
async fn a_store_that_panics_or_owes_answers_leaves_the_fate_unknown_and_the_broker_serving() {
    for mood in [Mood::Panics, Mood::Mute] {
        let store = Odd::new(mood);
        let broker = start(store.clone()).await;
        let (client, _session) = Client::producer(broker.local_addr(), "p").await;
        let mut lane = client.ask([produce(1, "t", batch(["a"]))]).await;
        assert_eq!(refused(lane.next().await), FailureCode::StoreFailed);
        store.turn(Mood::Well);
        lane.send(produce(1, "t", batch(["a"]))).await;
        assert_eq!(lane.stored().await.request, RequestId(1));
    }
}

#[tokio::test]
async fn topics_are_made_only_where_that_is_allowed_and_up_to_the_limit() {
    let store = memory();
    let none = broker(store.clone()).auto_create(false);
    let none = none.bind().await.unwrap();
    let (client, _session) = Client::producer(none.local_addr(), "p").await;
    let mut lane = client.ask([produce(1, "t", batch(["a"]))]).await;
    assert_eq!(refused(lane.next().await), FailureCode::UnknownTopic);

    let two = broker(store).limits(Limits {
        topics: 2,
        ..Limits::default()
    });
    let two = two.bind().await.unwrap();
    let (client, _session) = Client::producer(two.local_addr(), "q").await;
    let mut lane = client.open().await;
    for (request, name) in [(1, "a"), (2, "b")] {
        lane.send(produce(request, name, batch(["a"]))).await;
        lane.stored().await;
    }
    lane.send(produce(3, "c", batch(["a"]))).await;
    assert_eq!(refused(lane.next().await), FailureCode::Limit);
    lane.send(produce(4, "a", batch(["a"]))).await;
    assert_eq!(lane.stored().await.base, Offset(1));
}

#[tokio::test]
async fn nonsense_on_a_stream_fails_that_stream_alone() {
    let broker = start(memory()).await;
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    let after_a_batch = [produce(1, "t", batch(["a"])), Packet::Ping { nonce: 1 }];
    let mut lane = client.ask(after_a_batch).await;
    assert_eq!(lane.stored().await.request, RequestId(1));
    assert_eq!(failed(lane.next().await), FailureCode::Protocol);
    assert_eq!(lane.next().await, None);

    for (bytes, code) in [
        (&[1, 0, 0, 0, 0x77][..], FailureCode::Protocol),
        (&[0, 0, 0, 0][..], FailureCode::Protocol),
        (&[255, 255, 255, 255, 4][..], FailureCode::TooLarge),
    ] {
        let mut stream = client.open().await;
        stream.send_bytes(bytes).await;
        assert_eq!(failed(stream.next().await), code);
    }
    let mut lane = client.ask([produce(2, "t", batch(["a"]))]).await;
    assert_eq!(lane.stored().await.base, Offset(1));
}

#[tokio::test]
async fn a_session_without_a_producer_cannot_produce() {
    let broker = start(memory()).await;
    let (client, _session, connected) =
        Client::enter(broker.local_addr(), Connect::default()).await;
    assert_eq!(connected.producer, None);
    let mut lane = client.ask([produce(1, "t", batch(["a"]))]).await;
    assert_eq!(failed(lane.next().await), FailureCode::Protocol);
}

#[tokio::test]
async fn a_lane_that_ends_gets_all_its_answers_and_a_clean_end() {
    let store = Odd::new(Mood::Shut);
    let broker = start(store.clone()).await;
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    let mut lane = client.open().await;
    for request in 0..3 {
        lane.send(produce(request, "t", batch(["a"]))).await;
    }
    lane.send.finish().unwrap();
    store.has_begun(1).await;
    store.turn(Mood::Well);
    for request in 0..3 {
        assert_eq!(lane.stored().await.request, RequestId(request));
    }
    assert_eq!(lane.next().await, None);
}

#[tokio::test]
async fn the_time_a_batch_was_held_covers_the_stream_s_delay() {
    let delay = Duration::from_millis(30);
    let broker = broker(memory()).stream_delay(Some(delay));
    let broker = broker.bind().await.unwrap();
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    let mut lane = client.ask([produce(1, "t", batch(["a"]))]).await;
    assert!(lane.stored().await.held_us >= 30_000);
}

#[tokio::test]
async fn what_is_stored_is_what_came_in() {
    let broker = start(memory()).await;
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    let sent = batch(["one", "two"]);
    let mut lane = client.ask([produce(1, "t", sent.clone())]).await;
    lane.stored().await;
    let wanted = super::rig::subscribe("t", crate::wire::Start::Earliest, 1);
    let mut reader = client.ask([wanted]).await;
    soon("the answer", reader.next()).await;
    let delivery = reader.delivery().await;
    assert_eq!(delivery.batch, sent);
    let records: Vec<Record> = Batch::decode(delivery.batch).unwrap().records().collect();
    assert_eq!(records[1].payload, "two");
}

fn refused(packet: Option<Packet>) -> FailureCode {
    match packet {
        Some(Packet::Refused(Refused {
            failure: Failure { code, .. },
            ..
        })) => code,
        other => panic!("not refused: {other:?}"),
    }
}

fn failed(packet: Option<Packet>) -> FailureCode {
    match packet {
        Some(Packet::Failed(failure)) => failure.code,
        other => panic!("not failed: {other:?}"),
    }
}
