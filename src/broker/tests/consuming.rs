use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use super::{
    super::{Limits, Retention},
    faulty_store::{Appends, FaultyStore},
    rig::{
        Client, RawStream, batch, broker, memory, produce, producer, soon, start, subscribe, topic,
        with_topic,
    },
};
use crate::{
    Offset, RequestId, Timestamp,
    store::{Append, Store, Trim},
    wire::{FailureCode, Packet, ResumePoint, Start, Subscribe, TopicRetention},
};

/// Stores batches of `payloads` in the topic `t`, each of one message.
async fn fill(client: &Client, payloads: impl IntoIterator<Item = Vec<u8>>) -> u64 {
    let mut lane = client.open().await;
    let mut bytes = 0;
    for (request, payload) in (1..).zip(payloads) {
        let batch = batch([payload]);
        bytes += u64::try_from(batch.len()).unwrap();
        lane.send(produce(request, "t", batch)).await;
        lane.stored().await;
    }
    bytes
}

/// Returns the start of a reader of the topic `t` that goes on at `offset`.
async fn resume(store: &dyn Store, offset: u64) -> Start {
    let info = store.topic(&topic("t")).await.unwrap().unwrap();
    Start::Resume(ResumePoint {
        offset: Offset(offset),
        topic: info.identity,
        checksum: None,
    })
}

fn named(name: &str, from: Start) -> Packet {
    Packet::Subscribe(Subscribe {
        topic: topic("t"),
        name: Some(name.to_owned()),
        from,
        credit: u64::MAX,
        reader: 0,
    })
}

async fn subscribed(stream: &mut RawStream) -> (Offset, Offset) {
    match stream.next().await {
        Some(Packet::Subscribed(subscribed)) => (subscribed.next, subscribed.end),
        other => panic!("not subscribed: {other:?}"),
    }
}

async fn failed(stream: &mut RawStream) -> FailureCode {
    match stream.next().await {
        Some(Packet::Failed(failure)) => failure.code,
        other => panic!("not failed: {other:?}"),
    }
}

#[tokio::test]
async fn a_subscriber_gets_no_more_than_its_credit() {
    let broker = start(with_topic()).await;
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    let all = fill(&client, (0..10).map(|_| vec![0; 100])).await;
    let one = all / 10;
    // Credit for two batches and one byte of a third, which is delivered whole and overdraws the credit.
    let mut reader = client
        .ask([subscribe("t", Start::Earliest, 2 * one + 1)])
        .await;
    assert_eq!(subscribed(&mut reader).await, (Offset(0), Offset(10)));
    for offset in 0..3 {
        assert_eq!(reader.delivery().await.base, Offset(offset));
    }
    assert_eq!(reader.within(Duration::from_millis(50)).await, None);
    // This grants what was overdrawn, to the byte, so nothing is delivered.
    reader.send(Packet::Credit { bytes: one - 1 }).await;
    assert_eq!(reader.within(Duration::from_millis(50)).await, None);
    reader.send(Packet::Credit { bytes: 1 }).await;
    assert_eq!(reader.delivery().await.base, Offset(3));
    assert_eq!(reader.within(Duration::from_millis(50)).await, None);
    reader.send(Packet::Credit { bytes: u64::MAX }).await;
    for offset in 4..10 {
        assert_eq!(reader.delivery().await.base, Offset(offset));
    }
}

#[tokio::test]
async fn no_credit_is_no_delivery() {
    let broker = start(with_topic()).await;
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    fill(&client, [vec![1]]).await;
    let mut reader = client.ask([subscribe("t", Start::Earliest, 0)]).await;
    subscribed(&mut reader).await;
    assert_eq!(reader.within(Duration::from_millis(50)).await, None);
}

#[tokio::test]
async fn a_subscriber_at_the_end_gets_what_is_stored_from_then_on() {
    let broker = start(with_topic()).await;
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    let mut early = client.ask([subscribe("t", Start::Latest, u64::MAX)]).await;
    assert_eq!(subscribed(&mut early).await, (Offset(0), Offset(0)));
    fill(&client, [vec![1], vec![2]]).await;
    let mut late = client.ask([subscribe("t", Start::Latest, u64::MAX)]).await;
    assert_eq!(subscribed(&mut late).await, (Offset(2), Offset(2)));
    let mut lane = client.ask([produce(9, "t", batch(["new"]))]).await;
    lane.stored().await;
    for offset in 0..3 {
        assert_eq!(early.delivery().await.base, Offset(offset));
    }
    assert_eq!(late.delivery().await.base, Offset(2));
}

#[tokio::test]
async fn an_offset_inside_a_batch_begins_with_that_batch_and_one_beyond_the_end_is_refused() {
    let broker = start(with_topic()).await;
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    let mut lane = client.ask([produce(1, "t", batch(["a", "b", "c"]))]).await;
    lane.stored().await;
    let inside = Start::Offset(Offset(2));
    let mut reader = client.ask([subscribe("t", inside, 1)]).await;
    assert_eq!(subscribed(&mut reader).await, (Offset(2), Offset(3)));
    assert_eq!(reader.delivery().await.base, Offset(0));
    let beyond = Start::Offset(Offset(4));
    let mut reader = client.ask([subscribe("t", beyond, 1)]).await;
    assert_eq!(failed(&mut reader).await, FailureCode::OffsetOutOfRange);
}

#[tokio::test]
async fn a_named_reader_continues_after_its_last_acknowledgement() {
    let store = with_topic();
    let broker = start(store.clone()).await;
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    fill(&client, (0..5).map(|n| vec![n])).await;
    let mut reader = client.ask([named("r", Start::Earliest)]).await;
    assert_eq!(subscribed(&mut reader).await.0, Offset(0));
    for offset in 0..5 {
        assert_eq!(reader.delivery().await.base, Offset(offset));
    }
    reader.send(Packet::Acknowledge { next: Offset(3) }).await;
    let acknowledged = Packet::Acknowledged { next: Offset(3) };
    assert_eq!(reader.next().await, Some(acknowledged));
    // An earlier one is answered and changes nothing.
    reader.send(Packet::Acknowledge { next: Offset(2) }).await;
    let acknowledged = Packet::Acknowledged { next: Offset(2) };
    assert_eq!(reader.next().await, Some(acknowledged));
    drop(reader);

    let mut again = client.ask([named("r", Start::Latest)]).await;
    assert_eq!(subscribed(&mut again).await.0, Offset(3));
    assert_eq!(again.delivery().await.base, Offset(3));
    let resumed = named("r", resume(&*store, 1).await);
    let mut resumed = client.ask([resumed]).await;
    assert_eq!(subscribed(&mut resumed).await.0, Offset(1));
    let mut other = client.ask([named("s", Start::Earliest)]).await;
    assert_eq!(subscribed(&mut other).await.0, Offset(0));
}

#[tokio::test]
async fn a_named_reader_has_a_position_from_its_first_subscription_on() {
    let broker = start(with_topic()).await;
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    let mut reader = client.ask([named("r", Start::Latest)]).await;
    assert_eq!(subscribed(&mut reader).await.0, Offset(0));
    drop(reader);
    fill(&client, [vec![1], vec![2]]).await;
    let mut reader = client.ask([named("r", Start::Latest)]).await;
    assert_eq!(
        subscribed(&mut reader).await.0,
        Offset(0),
        "nothing is passed over"
    );
}

#[tokio::test]
async fn the_last_acknowledgement_of_a_reader_that_ends_is_stored_and_answered() {
    let broker = start(with_topic()).await;
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    fill(&client, [vec![1], vec![2]]).await;
    let mut reader = client.ask([named("r", Start::Latest)]).await;
    assert_eq!(subscribed(&mut reader).await.0, Offset(2));
    drop(reader);
    fill_more(&client).await;
    let mut reader = client.ask([named("r", Start::Latest)]).await;
    subscribed(&mut reader).await;
    reader.delivery().await;
    reader.send(Packet::Acknowledge { next: Offset(3) }).await;
    reader.send.finish().unwrap();
    let acknowledged = Packet::Acknowledged { next: Offset(3) };
    assert_eq!(reader.next().await, Some(acknowledged));
    assert_eq!(reader.next().await, None);
}

async fn fill_more(client: &Client) {
    let mut lane = client.ask([produce(9, "t", batch(["more"]))]).await;
    lane.stored().await;
}

#[tokio::test]
async fn acknowledgements_that_cannot_be_end_the_subscription() {
    let broker = start(with_topic()).await;
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    fill(&client, [vec![1]]).await;
    let mut nameless = client.ask([subscribe("t", Start::Latest, 1)]).await;
    subscribed(&mut nameless).await;
    nameless.send(Packet::Acknowledge { next: Offset(1) }).await;
    assert_eq!(failed(&mut nameless).await, FailureCode::Protocol);
    let mut beyond = client.ask([named("r", Start::Latest)]).await;
    subscribed(&mut beyond).await;
    beyond.send(Packet::Acknowledge { next: Offset(2) }).await;
    assert_eq!(failed(&mut beyond).await, FailureCode::OffsetOutOfRange);
}

#[tokio::test]
async fn what_was_delivered_may_be_acknowledged_before_its_producer_is_told() {
    let store = with_topic();
    let broker = start(store.clone()).await;
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    let subscribe = Packet::Subscribe(Subscribe {
        topic: topic("t"),
        name: Some("r".to_owned()),
        from: Start::Earliest,
        reader: 0,
        credit: 0,
    });
    let mut reader = client.ask([subscribe]).await;
    subscribed(&mut reader).await;
    fill(&client, [vec![1]]).await;
    // It is in the store, but the committer has not moved the end.
    let other = producer("other", 1).producer.unwrap();
    let append = Append {
        producer: store.register_producer(&other).await.unwrap().id,
        request: RequestId(1),
        answered_below: RequestId(0),
        topic: topic("t"),
        count: 1,
        batch: batch([[2]]),
        time: Timestamp(1),
    };
    assert!(store.append(vec![append]).await[0].is_ok());
    reader.send(Packet::Credit { bytes: 1 << 20 }).await;
    assert_eq!(reader.delivery().await.base, Offset(0));
    assert_eq!(reader.delivery().await.base, Offset(1));
    reader.send(Packet::Acknowledge { next: Offset(2) }).await;
    let acknowledged = Packet::Acknowledged { next: Offset(2) };
    assert_eq!(reader.next().await, Some(acknowledged));
}

#[tokio::test]
async fn many_acknowledgements_in_a_row_end_at_the_last_one() {
    let store = FaultyStore::new(Appends::Succeed);
    let broker = start(store.clone()).await;
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    fill(&client, (0..100).map(|_| vec![1])).await;
    let mut reader = client.ask([named("r", resume(&*store, 100).await)]).await;
    subscribed(&mut reader).await;
    for next in 1..=100 {
        reader
            .send(Packet::Acknowledge { next: Offset(next) })
            .await;
    }
    loop {
        let Some(Packet::Acknowledged { next }) = reader.next().await else {
            panic!("not acknowledged")
        };
        if next == Offset(100) {
            break;
        }
    }
    let position = store.position(&topic("t"), "r").await.unwrap();
    assert_eq!(position, Some(Offset(100)));
}

#[tokio::test]
async fn a_reader_reads_in_bounded_chunks_whatever_its_credit() {
    let store = FaultyStore::new(Appends::Succeed);
    let limits = Limits {
        read_chunk: 2048,
        ..Limits::default()
    };
    let broker = broker(store.clone()).limits(limits).bind().await.unwrap();
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    fill(&client, (0..50).map(|_| vec![0; 500])).await;
    let mut reader = client
        .ask([subscribe("t", Start::Earliest, u64::MAX)])
        .await;
    subscribed(&mut reader).await;
    for offset in 0..50 {
        assert_eq!(reader.delivery().await.base, Offset(offset));
    }
    assert_eq!(store.largest_read.load(SeqCst), 2048);
}

#[tokio::test]
async fn a_reader_behind_what_is_kept_begins_with_the_oldest_kept() {
    let store = with_topic();
    let broker = start(store.clone()).await;
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    fill(&client, (0..10).map(|_| vec![0; 100])).await;
    let mut slow = client.ask([subscribe("t", Start::Earliest, 1)]).await;
    assert_eq!(subscribed(&mut slow).await.0, Offset(0));
    assert_eq!(slow.delivery().await.base, Offset(0));
    let all_but_the_last = Trim {
        max_bytes: Some(200),
        ..Trim::default()
    };
    store.trim(&topic("t"), all_but_the_last).await.unwrap();
    let first = store.topic(&topic("t")).await.unwrap().unwrap().first;
    assert!(first > Offset(0));
    let from = Start::Offset(Offset(1));
    let mut reader = client.ask([subscribe("t", from, u64::MAX)]).await;
    assert_eq!(subscribed(&mut reader).await.0, first);
    assert_eq!(reader.delivery().await.base, first);
}

#[tokio::test]
async fn retention_keeps_what_a_named_reader_has_not_acknowledged() {
    let retention = |keep_unread| Retention {
        max_bytes: Some(1),
        every: Duration::from_millis(10),
        keep_unread,
        ..Retention::default()
    };
    let kept_from = |store: Arc<dyn Store>| async move {
        store.topic(&topic("t")).await.unwrap().unwrap().first
    };
    for keep_unread in [true, false] {
        let store = with_topic();
        let broker = broker(store.clone()).retention(retention(keep_unread));
        let broker = broker.bind().await.unwrap();
        let (client, _session) = Client::producer(broker.local_addr(), "p").await;
        let mut reader = client.ask([named("r", Start::Earliest)]).await;
        subscribed(&mut reader).await;
        fill(&client, (0..5).map(|_| vec![0; 100])).await;
        if keep_unread {
            reader.send(Packet::Acknowledge { next: Offset(3) }).await;
        }
        // Everything before the position is dropped, and nothing after it.
        let goal = if keep_unread { Offset(3) } else { Offset(4) };
        let trimmed = async {
            while kept_from(store.clone()).await < goal {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        soon("the trim", trimmed).await;
        if keep_unread {
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert_eq!(kept_from(store.clone()).await, Offset(3));
        }
    }
}

#[tokio::test]
async fn retention_drops_what_is_too_old() {
    let store = with_topic();
    let retention = Retention {
        max_age: Some(Duration::from_millis(1)),
        every: Duration::from_millis(10),
        ..Retention::default()
    };
    let broker = broker(store.clone()).retention(retention);
    let broker = broker.bind().await.unwrap();
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    fill(&client, (0..5).map(|n| vec![n])).await;
    let dropped = async {
        while store.topic(&topic("t")).await.unwrap().unwrap().first < Offset(4) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("the end of the old ones", dropped).await;
    let mut lane = client.ask([produce(9, "t", batch(["new"]))]).await;
    assert_eq!(lane.stored().await.base, Offset(5), "offsets go on");
}

#[tokio::test]
async fn subscriptions_are_bounded_and_a_place_comes_free() {
    let limits = Limits {
        subscriptions: 1,
        ..Limits::default()
    };
    let broker = broker(with_topic()).limits(limits).bind().await.unwrap();
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    let mut first = client.ask([subscribe("t", Start::Latest, 1)]).await;
    subscribed(&mut first).await;
    let mut second = client.ask([subscribe("t", Start::Latest, 1)]).await;
    assert_eq!(failed(&mut second).await, FailureCode::Limit);
    first.send.finish().unwrap();
    assert_eq!(first.next().await, None);
    let mut third = client.ask([subscribe("t", Start::Latest, 1)]).await;
    subscribed(&mut third).await;
}

#[tokio::test]
async fn a_probe_is_answered_on_a_subscription_too() {
    let broker = start(with_topic()).await;
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    let mut reader = client.ask([Packet::Probe { nonce: 1 }]).await;
    assert_eq!(reader.next().await, Some(Packet::Probed { nonce: 1 }));
    reader.send(subscribe("t", Start::Latest, 1)).await;
    subscribed(&mut reader).await;
    reader.send(Packet::Probe { nonce: 2 }).await;
    assert_eq!(reader.next().await, Some(Packet::Probed { nonce: 2 }));
}

#[tokio::test]
async fn topics_are_listed_by_name_a_page_at_a_time() {
    let store = memory();
    for n in 0..Packet::MAX_TOPICS + 5 {
        store
            .create_topic(&topic(&format!("t{n:05}")), TopicRetention::default())
            .await
            .unwrap();
    }
    let broker = start(store).await;
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    let mut question = client.ask([Packet::ListTopics { after: None }]).await;
    let mut names = Vec::new();
    loop {
        let Some(Packet::Topics(page)) = question.next().await else {
            panic!("no topics")
        };
        let Some(last) = page.last() else { break };
        let after = Some(last.name.clone());
        names.extend(page.into_iter().map(|info| info.name));
        question.send(Packet::ListTopics { after }).await;
    }
    assert_eq!(names.len(), Packet::MAX_TOPICS + 5);
    assert!(names.is_sorted());
}
