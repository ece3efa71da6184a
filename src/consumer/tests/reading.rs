use std::time::Duration;

use futures_util::StreamExt;

use super::{Writer, connection, cut, next, offsets, reader};
use crate::{
    Admin, Offset,
    admin::AdminError,
    broker::{
        Broker,
        tests::{
            faulty_store::{Appends, FaultyStore},
            rig::{broker, memory, soon, start, topic, with_topic},
        },
    },
    conn::{ClientTls, ConnectErrorKind, Trust},
    consumer::{ConsumeErrorKind, Consumer, Start},
    store::{Store, Trim},
    wire::FailureCode,
};

#[tokio::test]
async fn a_consumer_reads_what_is_there_and_then_what_comes() {
    let broker = start(with_topic()).await;
    let mut writer = Writer::new(broker.local_addr(), "p").await;
    writer.write(3, 2).await;
    let builder = reader(broker.local_addr()).from(Start::Earliest);
    let mut consumer = builder.subscribe().await.unwrap();
    assert_eq!((consumer.start(), consumer.end()), (Offset(0), Offset(6)));
    assert_eq!(offsets(&mut consumer, 5).await, [0, 1, 2, 3, 4]);
    assert!(!consumer.is_caught_up());
    let last = next(&mut consumer).await;
    assert_eq!((last.offset, last.skipped), (Offset(5), 0));
    assert_eq!(last.record.payload, "3 1");
    assert!(consumer.is_caught_up());
    assert_eq!(consumer.try_recv().unwrap(), None);
    writer.write(1, 1).await;
    assert_eq!(next(&mut consumer).await.offset, Offset(6));
}

#[tokio::test]
async fn an_offset_inside_a_batch_begins_with_that_message() {
    let broker = start(with_topic()).await;
    Writer::new(broker.local_addr(), "p")
        .await
        .write(3, 5)
        .await;
    let from = Start::Offset(Offset(7));
    let mut consumer = reader(broker.local_addr())
        .from(from)
        .subscribe()
        .await
        .unwrap();
    let first = next(&mut consumer).await;
    assert_eq!((first.offset, first.skipped), (Offset(7), 0));
    assert_eq!(first.record.payload, "2 2");
    assert_eq!(offsets(&mut consumer, 7).await, [8, 9, 10, 11, 12, 13, 14]);
}

#[tokio::test]
async fn a_consumer_resumes_after_the_connection_is_cut_without_a_gap_or_a_repeat() {
    let broker = start(with_topic()).await;
    let mut writer = Writer::new(broker.local_addr(), "p").await;
    // Little credit, so that connections are lost while all, half or none of it is spent.
    let builder = reader(broker.local_addr()).credit_bytes(600);
    let mut consumer = builder.subscribe().await.unwrap();
    let mut all = Vec::new();
    for round in 0..10 {
        writer.write(10, 3).await;
        all.extend(offsets(&mut consumer, 10 + round).await);
        cut(&consumer).await;
    }
    let rest = 300 - all.len();
    all.extend(offsets(&mut consumer, rest).await);
    assert_eq!(all, (0..300).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_consumer_survives_the_broker_s_restart() {
    let store = with_topic();
    let first = start(store.clone()).await;
    let address = first.local_addr();
    let mut writer = Writer::new(address, "p").await;
    writer.write(2, 2).await;
    let mut consumer = reader(address)
        .from(Start::Earliest)
        .subscribe()
        .await
        .unwrap();
    assert_eq!(offsets(&mut consumer, 3).await, [0, 1, 2]);
    drop(first);
    let again = async {
        loop {
            match broker(store.clone()).listen(address).bind().await {
                Ok(broker) => return broker,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    let _second = soon("the port", again).await;
    let mut writer = Writer::new(address, "q").await;
    writer.write(1, 2).await;
    assert_eq!(offsets(&mut consumer, 3).await, [3, 4, 5]);
}

#[tokio::test]
async fn messages_that_retention_dropped_are_counted() {
    let store = with_topic();
    let broker = start(store.clone()).await;
    let mut writer = Writer::new(broker.local_addr(), "p").await;
    writer.write(10, 1).await;
    let all_but_the_last = Trim {
        max_bytes: Some(1),
        ..Trim::default()
    };
    store.trim(&topic("t"), all_but_the_last).await.unwrap();
    let kept = store.topic(&topic("t")).await.unwrap().unwrap().first;
    assert!(kept > Offset(2));
    let from = Start::Offset(Offset(2));
    let mut consumer = reader(broker.local_addr())
        .from(from)
        .subscribe()
        .await
        .unwrap();
    writer.write(2, 1).await;
    let first = next(&mut consumer).await;
    assert_eq!(first.skipped, first.offset.0 - 2);
    assert_eq!(next(&mut consumer).await.skipped, 0);
}

#[tokio::test]
async fn what_waits_for_the_application_is_bounded() {
    let broker = start(with_topic()).await;
    let mut writer = Writer::new(broker.local_addr(), "p").await;
    writer.write(50, 1).await;
    let builder = reader(broker.local_addr()).from(Start::Earliest);
    let mut consumer = builder.credit_bytes(100).subscribe().await.unwrap();
    next(&mut consumer).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    // Each batch has more than 22 bytes.
    let mut at_hand = 0;
    while consumer.try_recv().unwrap().is_some() {
        at_hand += 1;
    }
    assert!(at_hand <= 100 / 22 + 1, "{at_hand}");
    assert_eq!(offsets(&mut consumer, 49 - at_hand).await.last(), Some(&49));
}

#[tokio::test]
async fn a_batch_larger_than_the_whole_credit_gets_through() {
    let broker = start(with_topic()).await;
    let mut writer = Writer::new(broker.local_addr(), "p").await;
    writer.write(3, 1000).await;
    let builder = reader(broker.local_addr()).from(Start::Earliest);
    let mut consumer = builder.credit_bytes(1).subscribe().await.unwrap();
    assert_eq!(
        offsets(&mut consumer, 3000).await,
        (0..3000).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_damaged_batch_ends_the_consumer_behind_what_came_before_it() {
    let store = FaultyStore::new(Appends::Succeed);
    *store.damaged.lock().unwrap() = Some(Offset(4));
    let broker = start(store).await;
    Writer::new(broker.local_addr(), "p")
        .await
        .write(4, 2)
        .await;
    let builder = reader(broker.local_addr()).from(Start::Earliest);
    let mut consumer = builder.subscribe().await.unwrap();
    for offset in 0..4 {
        let received = soon("a message", consumer.next()).await.unwrap().unwrap();
        assert_eq!(received.offset, Offset(offset));
    }
    let error = soon("the error", consumer.next())
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.kind(), ConsumeErrorKind::Corrupt);
    assert_eq!(error.to_string(), "the batch at offset 4 is damaged");
    assert!(consumer.next().await.is_none(), "the stream is over");
    let again = consumer.recv().await.unwrap_err();
    assert_eq!(again.kind(), ConsumeErrorKind::Corrupt);

    let behind = reader(broker.local_addr()).from(Start::Offset(Offset(6)));
    let mut behind = behind.subscribe().await.unwrap();
    assert_eq!(offsets(&mut behind, 2).await, [6, 7]);
}

#[tokio::test]
async fn a_refusal_is_told_when_subscribing() {
    let broker = start(memory()).await;
    let error = reader(broker.local_addr()).subscribe().await.unwrap_err();
    let unknown = ConsumeErrorKind::Refused(FailureCode::UnknownTopic);
    assert_eq!(error.kind(), unknown);

    let broker = start(with_topic()).await;
    let beyond = reader(broker.local_addr()).from(Start::Offset(Offset(1)));
    let error = beyond.subscribe().await.unwrap_err();
    let out_of_range = ConsumeErrorKind::Refused(FailureCode::OffsetOutOfRange);
    assert_eq!(error.kind(), out_of_range);
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn a_topic_that_lost_its_end_ends_the_consumer() {
    let first = start(with_topic()).await;
    let address = first.local_addr();
    Writer::new(address, "p").await.write(3, 1).await;
    let mut consumer = reader(address)
        .from(Start::Earliest)
        .subscribe()
        .await
        .unwrap();
    assert_eq!(offsets(&mut consumer, 3).await, [0, 1, 2]);
    drop(first);
    let empty = async {
        loop {
            match broker(with_topic()).listen(address).bind().await {
                Ok(broker) => return broker,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    let _empty = soon("the port", empty).await;
    let error = soon("the error", consumer.recv()).await.unwrap_err();
    let replaced = ConsumeErrorKind::Refused(FailureCode::TopicReplaced);
    assert_eq!(error.kind(), replaced);
}

#[tokio::test]
async fn wrong_options_are_all_told_before_anything_is_sent() {
    let error = Consumer::builder()
        .credit_bytes(0)
        .subscribe()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ConsumeErrorKind::Config);
    let text = error.to_string();
    for field in ["servers", "topic", "credit_bytes"] {
        assert!(text.contains(field), "{text}");
    }
}

#[tokio::test]
async fn a_recv_that_is_given_up_loses_nothing() {
    let broker = start(with_topic()).await;
    let mut writer = Writer::new(broker.local_addr(), "p").await;
    let mut consumer = reader(broker.local_addr()).subscribe().await.unwrap();
    let mut got = Vec::new();
    for _ in 0..20 {
        writer.write(1, 3).await;
        for _ in 0..2 {
            let short = Duration::from_micros(fastrand::u64(0..2000));
            if let Ok(received) = tokio::time::timeout(short, consumer.recv()).await {
                got.push(received.unwrap().offset.0);
            }
        }
    }
    let rest = 60 - got.len();
    got.extend(offsets(&mut consumer, rest).await);
    assert_eq!(got, (0..60).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_development_certificate_is_made_and_can_be_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::builder()
        .listen((std::net::Ipv4Addr::LOCALHOST, 0).into())
        .development_certificate(folder.path())
        .store(memory())
        .bind()
        .await
        .unwrap();
    let mut config = connection(broker.local_addr());
    let error = Admin::connect(config.clone()).await.unwrap_err();
    let AdminError::Connection(error) = error else {
        panic!("{error}");
    };
    let untrusted = ConnectErrorKind::Untrusted;
    assert_eq!(error.kind(), untrusted, "that of another folder");
    config.tls = ClientTls::trusting(Trust::CaFile(folder.path().join("ca.pem")));
    let mut admin = Admin::connect(config).await.unwrap();
    assert_eq!(admin.topics().await.unwrap(), []);
}
