use std::time::Duration;

use super::{Writer, cut, next, offsets, reader};
use crate::{
    Offset,
    broker::tests::rig::{soon, start, topic, with_topic},
    consumer::{AckError, Start},
    store::Store,
};

const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_named_reader_continues_after_its_last_ack() {
    let store = with_topic();
    let broker = start(store.clone()).await;
    let mut writer = Writer::new(broker.local_addr(), "p").await;
    writer.write(5, 2).await;
    let named = || reader(broker.local_addr()).name("r").from(Start::Earliest);

    let mut first = named().subscribe().await.unwrap();
    assert_eq!(offsets(&mut first, 7).await, [0, 1, 2, 3, 4, 5, 6]);
    soon("the answer", first.ack(Offset(4))).await.unwrap();
    assert_eq!(
        store.position(&topic("t"), "r").await.unwrap(),
        Some(Offset(5))
    );
    drop(first);

    let mut second = named().from(Start::Latest).subscribe().await.unwrap();
    assert_eq!(second.start(), Offset(5));
    assert_eq!(offsets(&mut second, 5).await, [5, 6, 7, 8, 9]);
    second.ack_nowait(Offset(6)).unwrap();
    second.ack_nowait(Offset(8)).unwrap();
    second.close(SOON).await.unwrap();
    assert_eq!(
        store.position(&topic("t"), "r").await.unwrap(),
        Some(Offset(9))
    );

    let mut third = named().subscribe().await.unwrap();
    assert_eq!(next(&mut third).await.offset, Offset(9));
}

#[tokio::test]
async fn a_reader_reads_on_after_a_cut_and_its_acks_get_through() {
    let store = with_topic();
    let broker = start(store.clone()).await;
    let mut writer = Writer::new(broker.local_addr(), "p").await;
    writer.write(10, 1).await;
    let builder = reader(broker.local_addr()).name("r").from(Start::Earliest);
    let mut consumer = builder.subscribe().await.unwrap();
    for offset in 0..10 {
        // A reconnect resumes after the last message received, not at the acknowledged position.
        assert_eq!(next(&mut consumer).await.offset, Offset(offset));
        if offset % 3 == 0 {
            cut(&consumer).await;
        }
        consumer.ack_nowait(Offset(offset)).unwrap();
        if offset % 4 == 0 {
            cut(&consumer).await;
        }
    }
    soon("the answer", consumer.ack(Offset(9))).await.unwrap();
    assert_eq!(
        store.position(&topic("t"), "r").await.unwrap(),
        Some(Offset(10))
    );
}

#[tokio::test]
async fn an_ack_is_confirmed_while_the_application_takes_nothing() {
    let broker = start(with_topic()).await;
    let mut writer = Writer::new(broker.local_addr(), "p").await;
    writer.write(100, 1).await;
    let builder = reader(broker.local_addr()).name("r").from(Start::Earliest);
    let mut consumer = builder.credit_bytes(200).subscribe().await.unwrap();
    for offset in 0..100 {
        assert_eq!(next(&mut consumer).await.offset, Offset(offset));
        soon("the answer", consumer.ack(Offset(offset)))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn only_a_named_reader_acknowledges_and_only_what_it_was_given() {
    let broker = start(with_topic()).await;
    let mut writer = Writer::new(broker.local_addr(), "p").await;
    writer.write(1, 3).await;
    let builder = reader(broker.local_addr()).from(Start::Earliest);
    let mut nameless = builder.clone().subscribe().await.unwrap();
    next(&mut nameless).await;
    let error = nameless.ack(Offset(0)).await.unwrap_err();
    assert!(matches!(error, AckError::Unnamed), "{error:?}");

    let mut named = builder.name("r").subscribe().await.unwrap();
    let acker = named.acker();
    assert!(acker.ack_nowait(Offset(0)).is_err());
    next(&mut named).await;
    next(&mut named).await;
    let error = acker.ack(Offset(2)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "offset 2 has not been handed out: 2 is the next"
    );
    soon("the answer", acker.ack(Offset(1))).await.unwrap();
    drop(named);
    let ended = soon("the end", async {
        loop {
            match acker.ack_nowait(Offset(1)) {
                Ok(()) => tokio::task::yield_now().await,
                Err(error) => break error,
            }
        }
    });
    assert!(matches!(ended.await, AckError::Ended(_)));
}

#[tokio::test]
async fn a_close_without_a_broker_says_what_is_not_confirmed() {
    let broker = start(with_topic()).await;
    Writer::new(broker.local_addr(), "p")
        .await
        .write(2, 1)
        .await;
    let builder = reader(broker.local_addr()).name("r").from(Start::Earliest);
    let mut consumer = builder.subscribe().await.unwrap();
    next(&mut consumer).await;
    drop(broker);
    cut(&consumer).await;
    consumer.ack_nowait(Offset(0)).unwrap();
    let closed = consumer.close(Duration::from_millis(50)).await;
    assert!(matches!(closed, Err(AckError::Unconfirmed)), "{closed:?}");
}
