#![allow(clippy::disallowed_methods, reason = "a test may start tasks")]

use std::time::Duration;

use quinn::{Connection, Endpoint};

use super::*;
use crate::{
    conn::{
        Admission, ClientTls, TransportConfig,
        internals::{client_config, client_endpoint},
        server_config, server_endpoint,
        tests::{At, Memory, certs},
    },
    time,
};

const ANSWERS: MaxFrame = MaxFrame::ANSWER;

/// Two ends of a connection over a network in memory.
struct Pair {
    client: Connection,
    server: Connection,
    _endpoints: [Endpoint; 2],
}

impl Pair {
    async fn new() -> Self {
        let memory = Memory::new();
        let transport = TransportConfig::server();
        let tls = certs().server_tls().to_rustls().unwrap();
        let config = server_config(tls, &transport, &Admission::default()).unwrap();
        let at = At(memory.clone(), "192.0.2.1");
        let listen = "192.0.2.1:4433".parse().unwrap();
        let server = server_endpoint(listen, config, &transport, &at, None).unwrap();
        let at = At(memory, "192.0.2.9");
        let local = "192.0.2.9:0".parse().unwrap();
        let client = client_endpoint(local, &TransportConfig::default(), &at).unwrap();
        let tls = ClientTls::trusting(certs().trust()).to_rustls().unwrap();
        let config = client_config(tls).unwrap();
        let connecting = client.connect_with(config, listen, "broker.test").unwrap();
        let (there, here) = tokio::join!(
            async { server.accept().await.unwrap().await.unwrap() },
            connecting
        );
        Self {
            client: here.unwrap(),
            server: there,
            _endpoints: [server, client],
        }
    }

    /// Opens a stream on which one packet was sent, and reads that packet.
    async fn packets(&self) -> (PacketStream, PacketStream) {
        let (mut send, recv) = self.client.open_bi().await.unwrap();
        send.write_all(&encoded(&ping(0))).await.unwrap();
        let there = self.server.accept_bi().await.unwrap();
        let mut there = PacketStream::new(there, ANSWERS);
        assert_eq!(there.next().await.unwrap(), Some(ping(0)));
        (PacketStream::new((send, recv), ANSWERS), there)
    }
}

const fn ping(nonce: u64) -> Packet {
    Packet::Ping { nonce }
}

fn encoded(packet: &Packet) -> Bytes {
    let mut bytes = BytesMut::new();
    PacketCodec::new(usize::MAX)
        .encode(packet, &mut bytes)
        .unwrap();
    bytes.freeze()
}

#[tokio::test(start_paused = true)]
async fn packets_arrive_in_the_order_of_their_calls_and_then_the_end() {
    let pair = Pair::new().await;
    let (mut here, mut there) = pair.packets().await;
    for nonce in 1..=3 {
        here.put(&ping(nonce)).unwrap();
    }
    let (_, writer) = here.halves();
    assert_eq!(writer.buffered(), 3 * encoded(&ping(1)).len());
    let mut parts = [encoded(&ping(4)), encoded(&ping(5))];
    writer.write_parts(&mut parts).await.unwrap();
    assert_eq!(writer.buffered(), 0);
    here.put(&ping(6)).unwrap();
    here.finish().await.unwrap();
    for nonce in 1..=6 {
        assert_eq!(there.next().await.unwrap(), Some(ping(nonce)));
    }
    assert_eq!(there.next().await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_packet_that_cannot_be_encoded_leaves_the_buffer_as_it_was() {
    let pair = Pair::new().await;
    let (mut here, mut there) = pair.packets().await;
    here.put(&ping(1)).unwrap();
    let topics = Packet::ListTopics {
        after: Some(crate::TopicName::new("t").unwrap()),
    };
    here.put(&topics).unwrap();
    let subscribe = Packet::Subscribe(crate::wire::Subscribe {
        topic: crate::TopicName::new("t").unwrap(),
        name: Some("n".repeat(300)),
        from: crate::wire::Start::Earliest,
        credit: 1,
        reader: 0,
    });
    here.put(&subscribe).unwrap_err();
    here.finish().await.unwrap();
    assert_eq!(there.next().await.unwrap(), Some(ping(1)));
    assert_eq!(there.next().await.unwrap(), Some(topics));
    assert_eq!(there.next().await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_is_dropped_never_looks_finished() {
    let pair = Pair::new().await;
    let (mut here, mut there) = pair.packets().await;
    here.put(&ping(1)).unwrap();
    here.flush().await.unwrap();
    assert_eq!(there.next().await.unwrap(), Some(ping(1)));
    here.put(&ping(2)).unwrap();
    drop(here);
    let error = there.next().await.unwrap_err();
    assert!(matches!(error, ReadError::Lost(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_end_within_a_frame_is_an_error() {
    let pair = Pair::new().await;
    let frame = encoded(&ping(1));
    let (mut send, _recv) = pair.client.open_bi().await.unwrap();
    send.write_all(&frame[..frame.len() - 1]).await.unwrap();
    send.finish().unwrap();
    let mut there = PacketStream::new(pair.server.accept_bi().await.unwrap(), ANSWERS);
    let error = there.next().await.unwrap_err();
    let bytes = frame.len() - 1;
    assert!(
        matches!(error, ReadError::Malformed(DecodeError::Incomplete { bytes: n }) if n == bytes),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_frame_over_the_limit_is_refused_by_its_length_alone() {
    let pair = Pair::new().await;
    let length = u32::try_from(ANSWERS.bytes() + 1).unwrap().to_le_bytes();
    let (send, recv) = pair.client.open_bi().await.unwrap();
    let mut here = PacketStream::new((send, recv), ANSWERS);
    let mut parts = [Bytes::copy_from_slice(&length)];
    here.halves().1.write_parts(&mut parts).await.unwrap();
    let mut there = PacketStream::new(pair.server.accept_bi().await.unwrap(), ANSWERS);
    let error = there.next().await.unwrap_err();
    assert!(
        matches!(error, ReadError::Malformed(DecodeError::TooLong { .. })),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_flush_and_a_read_that_are_dropped_lose_nothing() {
    let pair = Pair::new().await;
    let (here, there) = pair.packets().await;
    let (_, mut writer) = here.split();
    let (mut reader, _there) = there.split();
    // More than the windows of the stream, so that a flush has to wait for the reader.
    let count = 400_000;
    for nonce in 0..count {
        writer.put(&ping(nonce)).unwrap();
    }
    let short = Duration::from_millis(1);
    time::timeout(short, writer.flush()).await.unwrap_err();
    assert!(writer.buffered() > 0);
    let writing = async {
        while time::timeout(short, writer.flush()).await.is_err() {}
        writer.finish().await.unwrap();
    };
    let reading = async {
        let mut next = 0;
        loop {
            // Each read is dropped at its first wait and begun again.
            match time::timeout(Duration::ZERO, reader.next()).await {
                Err(_) => tokio::task::yield_now().await,
                Ok(packet) => match packet.unwrap() {
                    Some(packet) => {
                        assert_eq!(packet, ping(next));
                        next += 1;
                    }
                    None => break,
                },
            }
        }
        assert_eq!(next, count);
    };
    tokio::join!(writing, reading);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stops_a_stream_gives_its_reason_to_the_writer() {
    let pair = Pair::new().await;
    let (mut here, mut there) = pair.packets().await;
    there.halves().0.stop(VarInt::from_u32(7));
    // The writer learns of it after half a round trip.
    let stopped = loop {
        here.put(&ping(1)).unwrap();
        match here.flush().await {
            Ok(()) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
    };
    assert_eq!(stopped, WriteError::Stopped(VarInt::from_u32(7)));
}

#[tokio::test(start_paused = true)]
async fn a_close_waits_until_the_peer_has_everything() {
    let pair = Pair::new().await;
    let (here, mut there) = pair.packets().await;
    let (_, mut writer) = here.split();
    writer.put(&ping(1)).unwrap();
    writer.close().await.unwrap();
    // Nothing of it is lost by a connection that closes now.
    pair.client.close(VarInt::from_u32(0), b"");
    assert_eq!(there.next().await.unwrap(), Some(ping(1)));
}
