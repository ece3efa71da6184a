use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use super::{
    super::ShutdownError,
    faulty_store::{Appends, FaultyStore},
    rig::{Client, batch, memory, produce, soon, start, subscribe},
};
use crate::{
    RequestId,
    conn::CloseCode,
    wire::{Packet, Start},
};

const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn shutdown_answers_everything_it_read() {
    let store = FaultyStore::new(Appends::Block);
    let broker = start(store.clone()).await;
    let address = broker.local_addr();
    let (client, mut session) = Client::producer(address, "p").await;
    let mut lane = client.ask([produce(0, "t", batch(["a"]))]).await;
    store.wait_appends(1).await;
    for request in 1..5 {
        lane.send(produce(request, "t", batch(["a"]))).await;
    }
    lane.send(Packet::Probe { nonce: 1 }).await;
    assert_eq!(
        lane.next().await,
        Some(Packet::Probed { nonce: 1 }),
        "all is read"
    );

    let shutdown = tokio::spawn(broker.shutdown(LONG));
    assert_eq!(session.next().await, Some(Packet::GoAway));
    assert!(Client::dial(address).await.is_err(), "no newcomers");
    session.send(Packet::Ping { nonce: 2 }).await;
    assert_eq!(session.next().await, Some(Packet::Pong { nonce: 2 }));
    store.set(Appends::Succeed);
    for request in 0..5 {
        assert_eq!(lane.stored().await.request, RequestId(request));
    }
    assert_eq!(lane.next().await, None, "the lane ends cleanly");
    assert_eq!(client.closed().await.0, CloseCode::GoingAway);
    soon("the shutdown", shutdown).await.unwrap().unwrap();
    assert_eq!(store.closed.load(SeqCst), 1);
}

#[tokio::test]
async fn what_is_under_way_when_a_shutdown_begins_is_stored_too() {
    let broker = start(memory()).await;
    let (client, mut session) = Client::producer(broker.local_addr(), "p").await;
    let mut lane = client.ask([produce(0, "t", batch(["a"]))]).await;
    lane.stored().await;
    let shutdown = tokio::spawn(broker.shutdown(LONG));
    assert_eq!(session.next().await, Some(Packet::GoAway));
    lane.send(produce(1, "t", batch(["a"]))).await;
    // The answer can be read after the connection is closed.
    assert_eq!(client.closed().await.0, CloseCode::GoingAway);
    soon("the shutdown", shutdown).await.unwrap().unwrap();
    assert_eq!(lane.stored().await.request, RequestId(1));
}

#[tokio::test]
async fn a_shutdown_ends_subscriptions_and_idle_streams() {
    let broker = start(memory()).await;
    let handle = broker.handle();
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    let mut reader = client.ask([subscribe("t", Start::Latest, 1)]).await;
    reader.next().await;
    let mut idle = client.ask([Packet::Probe { nonce: 1 }]).await;
    idle.next().await;
    let other = handle.clone();
    let (one, two, served) = soon("the shutdown", async {
        tokio::join!(handle.shutdown(LONG), other.shutdown(LONG), broker.serve())
    })
    .await;
    one.unwrap();
    two.unwrap();
    served.unwrap();
    assert_eq!(reader.next().await, None);
    assert_eq!(client.closed().await.0, CloseCode::GoingAway);
}

#[tokio::test]
async fn a_client_that_goes_on_sending_does_not_hold_up_a_shutdown() {
    let broker = start(memory()).await;
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    let mut lane = client.ask([produce(0, "t", batch(["a"]))]).await;
    lane.stored().await;
    let (mut send, mut answers) = (lane.send, lane.frames);
    let flood = tokio::spawn(async move {
        use bytes::BytesMut;
        use tokio_util::codec::Encoder;
        for request in 1.. {
            let mut bytes = BytesMut::new();
            let packet = produce(request, "t", batch(["a"]));
            crate::wire::PacketCodec::new(1 << 20)
                .encode(packet, &mut bytes)
                .unwrap();
            if send.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    let read = tokio::spawn(async move {
        use futures_util::StreamExt;
        while let Some(Ok(_)) = answers.next().await {}
    });
    let shutdown = broker.shutdown(LONG);
    soon("the shutdown", shutdown).await.unwrap();
    soon("the flood's end", flood).await.unwrap();
    soon("the answers' end", read).await.unwrap();
}

#[tokio::test]
async fn a_shutdown_with_a_store_that_hangs_ends_soon_after_its_deadline() {
    let store = FaultyStore::new(Appends::Block);
    let broker = start(store.clone()).await;
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    let _lane = client.ask([produce(0, "t", batch(["a"]))]).await;
    store.wait_appends(1).await;
    let shutdown = broker.shutdown(Duration::from_millis(50));
    let outcome = soon("the shutdown", shutdown).await;
    assert!(
        matches!(outcome, Err(ShutdownError::StoreBusy)),
        "{outcome:?}"
    );
    assert_eq!(client.closed().await.0, CloseCode::GoingAway);
}

#[tokio::test]
async fn a_dropped_broker_leaves_no_task_and_no_socket_behind() {
    let store = FaultyStore::new(Appends::Succeed);
    let mut alive = store.alive();
    let broker = start(store).await;
    let address = broker.local_addr();
    let (client, _session) = Client::producer(address, "p").await;
    let mut lane = client.ask([produce(0, "t", batch(["a"]))]).await;
    lane.stored().await;
    let _idle = client.ask([subscribe("t", Start::Latest, 1)]).await;
    drop(broker);
    assert_eq!(client.closed().await.0, CloseCode::GoingAway);
    // All tasks that hold the store have ended.
    assert!(soon("the end of all tasks", alive.changed()).await.is_err());
    let free = async {
        while tokio::net::UdpSocket::bind(address).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    soon("the socket", free).await;
}
