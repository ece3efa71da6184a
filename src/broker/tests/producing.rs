use std::time::Duration;

use bytes::Bytes;

use super::{
    super::{Limits, Retention},
    faulty_store::{Appends, FaultyStore},
    rig::{Client, batch, broker, memory, place, produce, producer, soon, start, topic},
};
use crate::{
    Offset, RequestId,
    conn::CloseCode,
    wire::{Batch, Connect, Failure, FailureCode, Packet, Record, Refused},
};

#[tokio::test]
async fn batches_of_one_stream_are_stored_in_their_order() {
    let store = FaultyStore::new(Appends::Succeed);
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
    let store = FaultyStore::new(Appends::Block);
    let broker = start(store.clone()).await;
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    let mut lane = client.ask([produce(1, "t", batch(["a"]))]).await;
    store.wait_appends(1).await;
    lane.send(produce(2, "t", batch(["b"]))).await;
    lane.send(produce(3, "t", batch(["c"]))).await;
    lane.send(Packet::Probe { nonce: 9 }).await;
    // The probe follows both batches, and is answered before the first is durable.
    assert_eq!(lane.next().await, Some(Packet::Probed { nonce: 9 }));
    store.set(Appends::Succeed);
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
    let store = FaultyStore::new(Appends::Block);
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
    store.wait_appends(1).await;
    assert_eq!(lane.within(Duration::from_millis(100)).await, None);
    store.set(Appends::Succeed);
    assert_eq!(lane.stored().await.request, RequestId(0));
    let rest = [lane.next().await.unwrap(), lane.next().await.unwrap()];
    assert!(rest.contains(&Packet::Probed { nonce: 9 }), "{rest:?}");
}

#[tokio::test]
async fn a_full_store_refuses_and_says_so() {
    let store = FaultyStore::new(Appends::ReportFull);
    let broker = start(store.clone()).await;
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    let mut lane = client.ask([produce(7, "t", batch(["a"]))]).await;
    let Some(Packet::Refused(refused)) = lane.next().await else {
        panic!("not refused")
    };
    assert_eq!(refused.request, RequestId(7));
    assert_eq!(refused.failure.code, FailureCode::StoreRefuses);
    assert!(refused.failure.detail.contains("the disk is full"));
    store.set(Appends::Succeed);
    let mut lane = client.ask([produce(7, "t", batch(["a"]))]).await;
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

    // The same producer on another connection, as its instance shows.
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
    let address = broker.local_addr();
    let (first, _session, told) = Client::enter(address, producer("p", 1)).await;
    let (second, _session, _) = Client::enter(address, producer("p", 2)).await;
    assert_eq!(first.closed().await.0, CloseCode::Fenced);

    // It shows its id and stays fenced, however often it tries.
    let mut again = producer("p", 1);
    again.producer.as_mut().unwrap().id = told.producer.map(|p| p.id);
    for _ in 0..2 {
        let first = Client::dial(address).await.unwrap();
        let _session = first.ask([Packet::Connect(again.clone())]).await;
        assert_eq!(first.closed().await.0, CloseCode::Fenced);
    }
    let mut lane = second.ask([produce(1, "t", batch(["a"]))]).await;
    assert_eq!(lane.stored().await.base, Offset(0));
}

#[tokio::test]
async fn a_producer_that_is_connected_is_not_forgotten_however_quiet_it_is() {
    let store = FaultyStore::new(Appends::Succeed);
    let broker = broker(store.clone()).retention(Retention {
        every: Duration::from_millis(10),
        ..Retention::default()
    });
    let broker = broker.bind().await.unwrap();
    let address = broker.local_addr();
    let (_client, _session, told) = Client::enter(address, producer("p", 1)).await;
    // Before the broker lets the store forget producers, it registers the connected ones again.
    let mut heard = store.registered_again.subscribe();
    for _ in 0..2 {
        soon("the next round", heard.changed()).await.unwrap();
        let last = heard.borrow_and_update().clone();
        assert_eq!(last.and_then(|p| p.id), told.producer.map(|p| p.id));
    }
}

#[tokio::test]
async fn a_damaged_or_oversized_batch_is_refused_and_nothing_behind_it_on_its_stream_is_stored() {
    let broker = broker(memory()).limits(Limits {
        max_message: 100,
        max_batch_messages: 3,
        ..Limits::default()
    });
    let broker = broker.bind().await.unwrap();
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    let mut damaged = batch(["a"]).to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    for (wrong, code) in [
        (Bytes::from(damaged), FailureCode::Corrupt),
        (Bytes::new(), FailureCode::Corrupt),
        (batch([[0; 101]]), FailureCode::TooLarge),
        (batch(["a", "b", "c", "d"]), FailureCode::TooLarge),
    ] {
        let good = produce(2, "t", batch(["a"]));
        let mut lane = client.ask([produce(1, "t", wrong), good]).await;
        assert_eq!(refused(lane.next().await), code);
        assert_eq!(refused(lane.next().await), FailureCode::AfterRejected);
    }
    let mut lane = client.ask([produce(2, "t", batch([[0; 100]]))]).await;
    assert_eq!(lane.stored().await.base, Offset(0));
}

#[tokio::test]
async fn a_store_that_panics_or_owes_answers_leaves_the_fate_unknown_and_the_broker_serving() {
    for mood in [Appends::Panic, Appends::ReturnNothing] {
        let store = FaultyStore::new(mood);
        let broker = start(store.clone()).await;
        let (client, _session) = Client::producer(broker.local_addr(), "p").await;
        let mut lane = client.ask([produce(1, "t", batch(["a"]))]).await;
        assert_eq!(refused(lane.next().await), FailureCode::StoreFailed);
        store.set(Appends::Succeed);
        let mut lane = client.ask([produce(1, "t", batch(["a"]))]).await;
        assert_eq!(lane.stored().await.request, RequestId(1));
    }
}

#[tokio::test]
async fn nothing_behind_a_batch_whose_fate_is_unknown_is_stored_on_its_stream() {
    let store = FaultyStore::new(Appends::Block);
    let broker = start(store.clone()).await;
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    let one = |request| produce(request, "t", batch(["a"]));
    let mut lane = client.ask([one(1)]).await;
    store.wait_appends(1).await;
    // These are read, and wait for the group that will fail. A batch of another stream is not affected.
    lane.send(one(2)).await;
    lane.send(one(3)).await;
    let mut other = client.ask([one(4)]).await;
    store.set_once(Appends::ReturnNothing);
    assert_eq!(refused(lane.next().await), FailureCode::StoreFailed);
    for _ in 0..2 {
        assert_eq!(refused(lane.next().await), FailureCode::AfterRejected);
    }
    assert_eq!(other.stored().await.base, Offset(0));
    lane.send(one(5)).await;
    assert_eq!(refused(lane.next().await), FailureCode::AfterRejected);

    let mut lane = client.ask([one(2), one(3)]).await;
    assert_eq!(lane.stored().await.base, Offset(1));
    assert_eq!(lane.stored().await.base, Offset(2));
}

#[tokio::test]
async fn a_connection_that_its_producer_has_left_ends_before_the_next_one_begins() {
    let store = FaultyStore::new(Appends::Block);
    let broker = start(store.clone()).await;
    let one = |request| produce(request, "t", batch(["a"]));
    let (old, _session) = Client::producer(broker.local_addr(), "p").await;
    let _lane = old.ask([one(1)]).await;
    store.wait_appends(1).await;
    // The old connection is alive and sends more.
    let (new, _session) = Client::producer(broker.local_addr(), "p").await;
    assert_eq!(old.closed().await.0, CloseCode::Done);

    store.set(Appends::Succeed);
    let mut lane = new.ask([one(2), one(1)]).await;
    assert_eq!(lane.stored().await.base, Offset(1));
    assert_eq!(lane.stored().await.base, Offset(0));
}

#[tokio::test]
async fn a_producer_that_connects_again_is_told_what_is_stored() {
    let broker = start(memory()).await;
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    let mut lane = client.open().await;
    let mut stored = Vec::new();
    for request in 1..=2500 {
        lane.send(produce(request, "t", batch(["a"]))).await;
        stored.push(place(lane.stored().await));
    }
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    let mut recalled = Vec::new();
    for from in [3, 2003] {
        let from = RequestId(from);
        let mut question = client.ask([Packet::QueryStored { from }]).await;
        let Some(Packet::StoredList(page)) = question.next().await else {
            panic!("no answer");
        };
        recalled.extend(page.iter().map(|at| (at.request, at.base, at.time)));
    }
    assert_eq!(recalled, stored[2..]);

    let (reader, _session, _) = Client::enter(broker.local_addr(), Connect::default()).await;
    let from = RequestId(0);
    let mut question = reader.ask([Packet::QueryStored { from }]).await;
    assert_eq!(failed(question.next().await), FailureCode::Protocol);
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
    let mut lane = client.ask([produce(4, "a", batch(["a"]))]).await;
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
    let store = FaultyStore::new(Appends::Block);
    let broker = start(store.clone()).await;
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    let mut lane = client.open().await;
    for request in 0..3 {
        lane.send(produce(request, "t", batch(["a"]))).await;
    }
    lane.send.finish().unwrap();
    store.wait_appends(1).await;
    store.set(Appends::Succeed);
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
    assert!(lane.stored().await.processing_us >= 30_000);
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
