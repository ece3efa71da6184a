use std::{net::Ipv4Addr, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::net::UdpSocket;
use tokio_util::codec::Encoder;

use super::{
    super::{Broker, Config, Limits, Permissions, StartError, Tokens},
    faulty_store::{Appends, FaultyStore},
    rig::{
        Client, batch, broker, certificates, memory, produce, producer, soon, start, subscribe,
        topic,
    },
};
use crate::{
    Offset,
    conn::{Admission, CloseCode},
    wire::{Connect, FailureCode, Packet, PacketCodec, Start},
};

#[tokio::test]
async fn garbage_on_the_port_leaves_the_broker_serving() {
    let broker = start(memory()).await;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    for len in [0, 1, 7, 20, 100, 1199, 1200, 1452, 9000] {
        for first in [0x00, 0x40, 0x7f, 0xc0, 0xc3, 0xd0, 0xe0, 0xf0, 0xff] {
            let mut datagram: Vec<u8> = (0..len).map(|_| random.u8(..)).collect();
            // The header of a long packet of version 1, which quinn looks at most closely.
            for (at, byte) in datagram.iter_mut().zip([first, 0, 0, 0, 1, 8]) {
                *at = byte;
            }
            socket
                .send_to(&datagram, broker.local_addr())
                .await
                .unwrap();
        }
    }
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 300], &[1, 0, 0, 0]] {
        let other = Client::dial(broker.local_addr()).await.unwrap();
        let mut session = other.open().await;
        session.send_bytes(garbage).await;
        session.send.finish().unwrap();
        assert_eq!(other.closed().await.0, CloseCode::Protocol);
    }
    let mut lane = client.ask([produce(1, "t", batch(["a"]))]).await;
    lane.stored().await;
}

/// Returns a random packet that a client could send, valid or not.
fn any_packet(random: &mut fastrand::Rng) -> Packet {
    let n = random.u64(0..6);
    match random.u8(0..9) {
        0 => Packet::Ping { nonce: n },
        1 => Packet::Probe { nonce: n },
        2 => Packet::Credit { bytes: n },
        3 => Packet::Acknowledge { next: Offset(n) },
        4 => Packet::ListTopics { after: None },
        5 => subscribe("t", Start::Offset(Offset(n)), random.u64(0..100)),
        6 => Packet::Connect(producer("x", n)),
        7 => produce(n, "t", Bytes::from_static(b"no batch")),
        _ => produce(n, "t", batch(["a"])),
    }
}

#[tokio::test]
async fn any_packets_in_any_order_leave_the_broker_serving() {
    let broker = start(memory()).await;
    let mut random = fastrand::Rng::with_seed(11);
    let (mut client, mut _session) = Client::producer(broker.local_addr(), "p").await;
    for round in 0..300 {
        let mut stream = client.open().await;
        let mut bytes = BytesMut::new();
        for _ in 0..random.usize(1..8) {
            let packet = any_packet(&mut random);
            PacketCodec::new(1 << 20)
                .encode(packet, &mut bytes)
                .unwrap();
        }
        // Sometimes truncate it, sometimes change a byte.
        if random.bool() {
            bytes.truncate(random.usize(..=bytes.len()));
        }
        if random.u8(..4) == 0 && !bytes.is_empty() {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
        }
        // An error means that the broker has stopped the stream.
        let _ = soon("room to write", stream.send.write_all(&bytes)).await;
        match random.u8(..3) {
            0 => drop(stream.send.finish()),
            1 => drop(stream.send.reset(1u32.into())),
            _ => {}
        }
        if round % 50 == 0 {
            (client, _session) = Client::producer(broker.local_addr(), "p").await;
        }
    }
    let (client, _session) = Client::producer(broker.local_addr(), "q").await;
    let mut lane = client.ask([produce(1, "t", batch(["a"]))]).await;
    lane.stored().await;
}

#[tokio::test]
async fn tokens_are_checked_and_permissions_hold() {
    let mut tokens = Tokens::new();
    let permissions = Permissions {
        produce: vec!["orders.*".parse().unwrap()],
        consume: vec!["bills".parse().unwrap()],
        admin: Vec::new(),
    };
    tokens.add("sesame", permissions).unwrap();
    tokens.add("master", Permissions::all()).unwrap();
    let only_reads = Permissions {
        consume: vec!["*".parse().unwrap()],
        ..Permissions::default()
    };
    tokens.add("reader", only_reads).unwrap();
    let broker = broker(memory()).tokens(tokens).bind().await.unwrap();
    let bearer = |token: &'static str| Connect {
        token: Bytes::from_static(token.as_bytes()),
        ..producer(token, 1)
    };

    for (wrong, sentence) in [
        ("", "a token is needed"),
        ("open", "the token is not known"),
    ] {
        let client = Client::dial(broker.local_addr()).await.unwrap();
        let mut session = client.open().await;
        let name = if wrong.is_empty() { "nobody" } else { wrong };
        let connect = Connect {
            token: Bytes::from_static(wrong.as_bytes()),
            ..producer(name, 1)
        };
        session.send(Packet::Connect(connect)).await;
        let closed = client.closed().await;
        assert_eq!(closed, (CloseCode::Unauthorised, sentence.to_owned()));
    }

    let (master, _session, _) = Client::enter(broker.local_addr(), bearer("master")).await;
    let mut lane = master.open().await;
    for (request, name) in [(1, "orders.eu"), (2, "bills"), (3, "secrets")] {
        lane.send(produce(request, name, batch(["a"]))).await;
        lane.stored().await;
    }

    let only_reads = Client::dial(broker.local_addr()).await.unwrap();
    let mut session = only_reads.open().await;
    session.send(Packet::Connect(bearer("reader"))).await;
    let closed = only_reads.closed().await;
    assert_eq!(
        closed,
        (CloseCode::Unauthorised, "may not produce".to_owned())
    );

    let (client, _session, _) = Client::enter(broker.local_addr(), bearer("sesame")).await;
    let mut lane = client.ask([produce(1, "bills", batch(["a"]))]).await;
    let Some(Packet::Refused(refused)) = lane.next().await else {
        panic!("not refused")
    };
    assert_eq!(refused.failure.code, FailureCode::Forbidden);
    let allowed = produce(2, "orders.us", batch(["a"]));
    let mut lane = client.ask([allowed]).await;
    lane.stored().await;
    let mut reader = client
        .ask([subscribe("orders.us", Start::Earliest, 1)])
        .await;
    let Some(Packet::Failed(failed)) = reader.next().await else {
        panic!("not forbidden")
    };
    assert_eq!(failed.code, FailureCode::Forbidden);
    let mut reader = client.ask([subscribe("bills", Start::Earliest, 1)]).await;
    assert!(matches!(reader.next().await, Some(Packet::Subscribed(_))));
    let mut question = client.ask([Packet::ListTopics { after: None }]).await;
    let Some(Packet::Topics(topics)) = question.next().await else {
        panic!("no topics")
    };
    let names: Vec<_> = topics.into_iter().map(|info| info.name).collect();
    assert_eq!(
        names,
        [topic("bills"), topic("orders.eu"), topic("orders.us")]
    );
}

#[tokio::test]
async fn streams_that_arrive_before_the_session_wait_for_it() {
    let broker = start(memory()).await;
    let client = Client::dial(broker.local_addr()).await.unwrap();
    let mut session = client.open().await;
    let mut lane = client.ask([produce(1, "t", batch(["a"]))]).await;
    assert_eq!(lane.within(Duration::from_millis(50)).await, None);
    session.send(Packet::Connect(producer("p", 1))).await;
    assert!(matches!(session.next().await, Some(Packet::Connected(_))));
    lane.stored().await;
}

#[tokio::test]
async fn a_stranger_is_given_little_until_the_session_stands() {
    let broker = start(memory()).await;
    let client = Client::dial(broker.local_addr()).await.unwrap();
    let mut session = client.open().await;
    let mut streams = Vec::new();
    for _ in 0..7 {
        streams.push(client.open().await);
    }
    let eighth = tokio::time::timeout(Duration::from_millis(50), client.connection.open_bi());
    assert!(eighth.await.is_err(), "no further stream");
    session.send(Packet::Connect(producer("p", 1))).await;
    assert!(matches!(session.next().await, Some(Packet::Connected(_))));
    for _ in 0..100 {
        streams.push(client.open().await);
    }

    let flooding = Client::dial(broker.local_addr()).await.unwrap();
    let _session = flooding.open().await;
    let mut stream = flooding.open().await;
    let flood = vec![0; 1 << 20];
    let writing = stream.send.write_all(&flood);
    let written = tokio::time::timeout(Duration::from_millis(100), writing).await;
    assert!(written.is_err(), "no further byte");

    let mut lane = client
        .ask([produce(1, "t", batch([vec![0; 1 << 19]]))])
        .await;
    lane.stored().await;
}

#[tokio::test]
async fn a_session_that_stands_has_the_whole_window() {
    let limits = Limits {
        stream_batches: 1,
        ..Limits::default()
    };
    let store = FaultyStore::new(Appends::Block);
    let broker = broker(store.clone()).limits(limits).bind().await.unwrap();
    let (client, _session) = Client::producer(broker.local_addr(), "p").await;
    let mut lane = client.open().await;
    // The store has the first, the second waits for a slot, and nothing more is read.
    for request in 0..2 {
        lane.send(produce(request, "t", batch(["a"]))).await;
    }
    store.wait_appends(1).await;
    lane.send_bytes(&vec![0; 1 << 20]).await;
}

#[tokio::test]
async fn a_session_that_does_not_come_in_time_ends_the_connection() {
    let admission = Admission {
        handshake_timeout: Duration::from_millis(500),
        ..Admission::default()
    };
    let broker = broker(memory()).admission(admission).bind().await.unwrap();
    let silent = Client::dial(broker.local_addr()).await.unwrap();
    assert_eq!(silent.closed().await.0, CloseCode::HandshakeTimeout);
    let half = Client::dial(broker.local_addr()).await.unwrap();
    let mut session = half.open().await;
    session.send_bytes(&[20, 0, 0]).await;
    assert_eq!(half.closed().await.0, CloseCode::HandshakeTimeout);
    Client::producer(broker.local_addr(), "p").await;
}

#[tokio::test]
async fn a_first_packet_that_is_not_connect_ends_the_connection() {
    let broker = start(memory()).await;
    let client = Client::dial(broker.local_addr()).await.unwrap();
    let _session = client.ask([Packet::Ping { nonce: 1 }]).await;
    assert_eq!(client.closed().await.0, CloseCode::Protocol);
}

#[tokio::test]
async fn pings_are_answered_while_the_store_stands_still() {
    let store = FaultyStore::new(Appends::Block);
    let broker = start(store.clone()).await;
    let (client, mut session) = Client::producer(broker.local_addr(), "p").await;
    let _lane = client.ask([produce(1, "t", batch(["a"]))]).await;
    store.wait_appends(1).await;
    session.send(Packet::Ping { nonce: 5 }).await;
    assert_eq!(session.next().await, Some(Packet::Pong { nonce: 5 }));
}

#[tokio::test]
async fn one_connection_too_many_is_refused_and_gets_in_when_another_has_gone() {
    let admission = Admission {
        max_connections: 1,
        ..Admission::default()
    };
    let broker = broker(memory()).admission(admission).bind().await.unwrap();
    let (first, _session) = Client::producer(broker.local_addr(), "p").await;
    assert!(Client::dial(broker.local_addr()).await.is_err());
    first.connection.close(CloseCode::Done.into(), b"");
    let admitted = async { while Client::dial(broker.local_addr()).await.is_err() {} };
    soon("the broker to notice the close", admitted).await;
}

#[tokio::test]
async fn a_client_is_told_what_the_broker_takes() {
    let limits = Limits {
        max_frame: 100_000,
        max_message: 5000,
        ..Limits::default()
    };
    let broker = broker(memory()).limits(limits).bind().await.unwrap();
    let (_client, _session, connected) = Client::enter(broker.local_addr(), producer("p", 1)).await;
    assert_eq!(connected.max_frame, 100_000);
    assert_eq!(connected.max_message, 5000);
    let window = Config::default().transport.stream_receive_window;
    assert_eq!(connected.stream_window, u64::from(window));
    assert!(connected.producer.is_some());
}

#[tokio::test]
async fn a_broker_without_certificate_or_store_says_all_that_is_missing() {
    let limits = Limits {
        topics: 0,
        ..Limits::default()
    };
    let Err(StartError::Config(error)) = Broker::builder().limits(limits).bind().await else {
        panic!("it started")
    };
    let fields: Vec<_> = error.problems().iter().map(|p| p.field.as_str()).collect();
    assert_eq!(fields, ["limits.topics", "tls", "store"]);
}

#[tokio::test]
async fn an_address_in_use_is_said_to_be() {
    let broker = start(memory()).await;
    let again = Broker::builder()
        .listen(broker.local_addr())
        .tls(certificates().server_tls())
        .store(memory());
    let Err(StartError::Socket(error)) = again.bind().await else {
        panic!("it started")
    };
    assert_eq!(error.address, broker.local_addr());
}
