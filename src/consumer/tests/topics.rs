//! Topics that do not exist, come, go, and are replaced by others of their name.

use super::{Writer, connection, next, offsets, reader};
use crate::{
    Admin, Offset, TopicName,
    admin::{AdminError, RetentionLimit, TopicRetention},
    broker::{
        Permissions, Tokens,
        tests::rig::{broker, memory, soon, start, topic},
    },
    consumer::{AckError, ConsumeError, ConsumeErrorKind, Consumer, Start},
    store::Store,
    tasks::Tasks,
    wire::FailureCode,
};

fn t() -> TopicName {
    topic("t")
}

async fn admin(address: std::net::SocketAddr) -> Admin {
    soon("a connection", Admin::connect(connection(address)))
        .await
        .unwrap()
}

/// Waits for the error that ends a consumer.
async fn end(consumer: &mut Consumer) -> ConsumeError {
    loop {
        if let Err(error) = soon("the end", consumer.recv()).await {
            return error;
        }
    }
}

const REPLACED: ConsumeErrorKind = ConsumeErrorKind::Refused(FailureCode::TopicReplaced);

#[tokio::test]
async fn reading_never_makes_a_topic() {
    let store = memory();
    let broker = start(store.clone()).await;
    let error = reader(broker.local_addr()).name("r").subscribe().await;
    let unknown = ConsumeErrorKind::Refused(FailureCode::UnknownTopic);
    assert_eq!(error.unwrap_err().kind(), unknown);
    assert_eq!(store.topic(&t()).await.unwrap(), None);
}

#[tokio::test]
async fn a_topic_that_is_waited_for_is_read_from_its_first_message() {
    let broker = start(memory()).await;
    let address = broker.local_addr();
    let waiting = reader(address).wait_for_topic(true).from(Start::Latest);
    let tasks = Tasks::new();
    let waiting = tasks.spawn(waiting.subscribe());
    let mut writer = Writer::new(address, "p").await;
    writer.write(2, 1).await;
    let mut consumer = soon("the topic", waiting).await.unwrap().unwrap();
    assert_eq!(offsets(&mut consumer, 2).await, [0, 1]);
}

#[tokio::test]
async fn a_reader_of_a_deleted_topic_is_told_and_a_new_topic_of_its_name_is_another() {
    let broker = start(memory()).await;
    let address = broker.local_addr();
    let mut writer = Writer::new(address, "p").await;
    writer.write(3, 1).await;
    let mut consumer = reader(address)
        .name("r")
        .from(Start::Earliest)
        .subscribe()
        .await
        .unwrap();
    assert_eq!(offsets(&mut consumer, 3).await, [0, 1, 2]);
    consumer.ack(Offset(2)).await.unwrap();
    let point = consumer.resume_point();

    let mut admin = admin(address).await;
    assert_eq!(admin.positions(&t()).await.unwrap()[0].next, Offset(3));
    assert_eq!(admin.delete_topic(&t()).await.unwrap(), 3);
    assert_eq!(end(&mut consumer).await.kind(), REPLACED);
    let late = consumer.ack(Offset(2)).await;
    assert!(matches!(late, Err(AckError::Ended(_))), "{late:?}");
    let again = admin.delete_topic(&t()).await.unwrap_err();
    assert_eq!(again.code(), Some(FailureCode::UnknownTopic));

    // A producer whose stream knew the topic makes it anew, from offset 0.
    writer.write(4, 1).await;
    let replaced = reader(address).from(Start::Resume(point)).subscribe().await;
    assert_eq!(replaced.unwrap_err().kind(), REPLACED);
    let mut consumer = reader(address)
        .name("r")
        .from(Start::Earliest)
        .subscribe()
        .await
        .unwrap();
    assert_eq!(
        offsets(&mut consumer, 4).await,
        [0, 1, 2, 3],
        "no old position"
    );
}

#[tokio::test]
async fn a_reader_goes_on_where_it_says_only_in_the_log_that_it_read() {
    let broker = start(memory()).await;
    let mut writer = Writer::new(broker.local_addr(), "p").await;
    writer.write(3, 1).await;
    let from = |address, point| reader(address).from(Start::Resume(point)).subscribe();
    let mut consumer = reader(broker.local_addr())
        .from(Start::Earliest)
        .subscribe()
        .await
        .unwrap();
    assert_eq!(offsets(&mut consumer, 2).await, [0, 1]);
    let point = consumer.resume_point();
    let mut same = from(broker.local_addr(), point).await.unwrap();
    assert_eq!(next(&mut same).await.offset, Offset(2));

    // The log of this topic was restored from a copy, and other messages were stored after it.
    let mut changed = point;
    changed.checksum = point.checksum.map(|sum| !sum);
    let error = from(broker.local_addr(), changed).await.unwrap_err();
    assert_eq!(error.kind(), REPLACED, "{error}");
    let mut beyond = point;
    beyond.offset = Offset(9);
    let error = from(broker.local_addr(), beyond).await.unwrap_err();
    assert_eq!(error.kind(), REPLACED, "{error}");

    // The broker was started with an empty store, and has more messages than were read.
    let anew = start(memory()).await;
    let mut writer = Writer::new(anew.local_addr(), "p").await;
    writer.write(5, 1).await;
    let error = from(anew.local_addr(), point).await.unwrap_err();
    assert_eq!(error.kind(), REPLACED);
    assert!(error.to_string().contains("log began anew"), "{error}");
}

#[tokio::test]
async fn a_running_consumer_ends_when_its_broker_comes_back_with_another_log() {
    let first = start(memory()).await;
    let address = first.local_addr();
    let mut writer = Writer::new(address, "p").await;
    writer.write(2, 1).await;
    let mut consumer = reader(address)
        .from(Start::Earliest)
        .subscribe()
        .await
        .unwrap();
    assert_eq!(offsets(&mut consumer, 2).await, [0, 1]);
    drop((writer, first));

    let store = memory();
    store
        .create_topic(&t(), TopicRetention::default())
        .await
        .unwrap();
    let second = async {
        loop {
            match broker(store.clone()).listen(address).bind().await {
                Ok(broker) => return broker,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    let _second = soon("the port", second).await;
    assert_eq!(end(&mut consumer).await.kind(), REPLACED);
}

#[tokio::test]
async fn a_later_reader_of_a_name_shuts_out_the_earlier_and_only_it_moves_the_position() {
    let broker = start(memory()).await;
    let address = broker.local_addr();
    let mut writer = Writer::new(address, "p").await;
    writer.write(3, 1).await;
    let named = || reader(address).name("r").from(Start::Earliest).subscribe();
    let mut first = named().await.unwrap();
    let mut second = named().await.unwrap();
    let error = end(&mut first).await;
    let fenced = ConsumeErrorKind::Refused(FailureCode::Fenced);
    assert_eq!(error.kind(), fenced);
    assert!(error.to_string().contains("from 127.0.0.1:"), "{error}");
    let ack = first.ack(Offset(0)).await;
    assert!(ack.is_err(), "{ack:?}");

    // The later one keeps its place across a reconnect.
    assert_eq!(next(&mut second).await.offset, Offset(0));
    super::cut(&second).await;
    assert_eq!(offsets(&mut second, 2).await, [1, 2]);
    second.ack(Offset(1)).await.unwrap();
    let position = admin(address).await.positions(&t()).await.unwrap();
    assert_eq!(position[0].next, Offset(2));
}

#[tokio::test]
async fn topics_are_made_changed_emptied_and_listed() {
    let store = memory();
    let broker = start(store.clone()).await;
    let address = broker.local_addr();
    let mut admin = admin(address).await;
    assert_eq!(admin.topics().await.unwrap(), []);
    let kept = TopicRetention {
        max_age: RetentionLimit::Unlimited,
        max_bytes: RetentionLimit::At(1 << 20),
    };
    admin.create_topic(&t(), kept).await.unwrap();
    let again = admin.create_topic(&t(), kept).await;
    // A refusal ends the stream of questions.
    assert_eq!(again.unwrap_err().code(), Some(FailureCode::TopicExists));
    let mut admin = self::admin(address).await;
    let info = admin.topic(&t()).await.unwrap().unwrap();
    assert_eq!(info.retention, kept);

    let mut writer = Writer::new(address, "p").await;
    writer.write(4, 1).await;
    assert_eq!(admin.purge_topic(&t()).await.unwrap(), 4);
    let info = admin.topic(&t()).await.unwrap().unwrap();
    assert_eq!(
        (info.first, info.next, info.bytes),
        (Offset(4), Offset(4), 0)
    );
    let less = TopicRetention::default();
    admin.set_retention(&t(), less).await.unwrap();
    let info = admin.topic(&t()).await.unwrap().unwrap();
    assert_eq!(info.retention, less);
    admin.close().await;
}

#[tokio::test]
async fn topics_are_changed_only_with_the_right_to() {
    let mut tokens = Tokens::new();
    let permitted = |words: &str| format!("a {words}").parse::<Tokens>().unwrap();
    let all: Permissions = permitted("produce:* consume:*")
        .permissions(b"a")
        .unwrap()
        .clone();
    tokens.add("reader", all).unwrap();
    let of_t: Permissions = permitted("admin:t").permissions(b"a").unwrap().clone();
    tokens.add("admin", of_t).unwrap();
    let broker = broker(memory()).tokens(tokens).bind().await.unwrap();
    let admin = async |token: &'static str| {
        let mut config = connection(broker.local_addr());
        config.token = token.into();
        Admin::connect(config).await.unwrap()
    };
    let kept = TopicRetention::default();
    let refused = |error: AdminError| assert_eq!(error.code(), Some(FailureCode::Forbidden));
    refused(
        admin("reader")
            .await
            .create_topic(&t(), kept)
            .await
            .unwrap_err(),
    );
    let other = admin("admin")
        .await
        .create_topic(&topic("other"), kept)
        .await;
    refused(other.unwrap_err());
    admin("admin").await.create_topic(&t(), kept).await.unwrap();
    for forbidden in [
        admin("reader").await.delete_topic(&t()).await.map(|_| ()),
        admin("reader").await.purge_topic(&t()).await.map(|_| ()),
        admin("reader").await.set_retention(&t(), kept).await,
    ] {
        refused(forbidden.unwrap_err());
    }
    assert_eq!(admin("admin").await.topics().await.unwrap().len(), 1);
    assert_eq!(admin("admin").await.delete_topic(&t()).await.unwrap(), 0);
}
