//! A broker on the loopback, and a client that speaks packets.

use std::{
    fmt::Debug,
    future::Future,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt as _, StreamExt};
use tokio_util::codec::{Encoder, FramedRead};

use super::super::{Broker, Builder};
use crate::{
    Offset, RequestId, Timestamp, TopicName,
    conn::{self, ClientTls, CloseCode, CloseReason, DevCerts, TransportConfig, Udp},
    store::{MemoryConfig, MemoryStore, Store},
    wire::{
        BatchBuilder, Connect, Connected, Delivery, Packet, PacketCodec, Produce, ProducerIdentity,
        Record, Start, Stored, Subscribe, TopicRetention,
    },
};

/// Waits for `future`, and fails the test after 20 s instead of hanging.
pub(crate) async fn soon<T>(what: impl Debug, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .unwrap_or_else(|_| panic!("timed out while waiting for {what:?}"))
}

/// Returns the certificate that all tests of the process share.
pub(crate) fn certificates() -> &'static DevCerts {
    static CERTS: OnceLock<(tempfile::TempDir, DevCerts)> = OnceLock::new();
    let (_, certs) = CERTS.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let certs = DevCerts::ensure(folder.path(), &[]).unwrap();
        (folder, certs)
    });
    certs
}

pub(crate) fn memory() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new(MemoryConfig::default()))
}

/// Returns a store that has the topic `t`.
pub(crate) fn with_topic() -> Arc<MemoryStore> {
    let store = memory();
    let name = topic("t");
    let made = store.create_topic(&name, TopicRetention::default());
    made.now_or_never().unwrap().unwrap();
    store
}

/// Returns a builder of a broker on any free port.
pub(crate) fn broker(store: Arc<dyn Store>) -> Builder {
    Broker::builder()
        .listen((Ipv4Addr::LOCALHOST, 0).into())
        .tls(certificates().server_tls())
        .store(store)
}

pub(crate) async fn start(store: Arc<dyn Store>) -> Broker {
    broker(store).bind().await.unwrap()
}

pub(crate) fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

/// Returns a batch with these payloads.
pub(crate) fn batch<T: AsRef<[u8]>>(payloads: impl IntoIterator<Item = T>) -> Bytes {
    let mut builder = BatchBuilder::new(0);
    for payload in payloads {
        builder.push(&Record {
            payload: Bytes::copy_from_slice(payload.as_ref()),
            ..Record::default()
        });
    }
    builder.finish()
}

pub(crate) fn produce(request: u64, name: &str, batch: Bytes) -> Packet {
    Packet::Produce(Produce {
        request: RequestId(request),
        answered_below: RequestId(0),
        topic: topic(name),
        batch,
    })
}

pub(crate) fn subscribe(name: &str, from: Start, credit: u64) -> Packet {
    Packet::Subscribe(Subscribe {
        topic: topic(name),
        name: None,
        from,
        credit,
        reader: 0,
    })
}

/// A QUIC client, which writes and reads packets itself.
pub(crate) struct Client {
    pub(crate) connection: quinn::Connection,
    _endpoint: quinn::Endpoint,
}

impl Client {
    pub(crate) async fn dial(address: SocketAddr) -> Result<Self, quinn::ConnectionError> {
        Self::dial_with(address, ClientTls::trusting(certificates().trust())).await
    }

    pub(crate) async fn dial_with(
        address: SocketAddr,
        tls: ClientTls,
    ) -> Result<Self, quinn::ConnectionError> {
        let settings = TransportConfig::default();
        let any = (Ipv4Addr::LOCALHOST, 0).into();
        let endpoint = conn::internals::client_endpoint(any, &settings, &Udp::default()).unwrap();
        let config = conn::internals::client_config(tls.to_rustls().unwrap()).unwrap();
        let connecting = endpoint.connect_with(config, address, "localhost").unwrap();
        Ok(Self {
            connection: soon("a connection", connecting).await?,
            _endpoint: endpoint,
        })
    }

    /// Connects and opens the session.
    pub(crate) async fn enter(
        address: SocketAddr,
        connect: Connect,
    ) -> (Self, RawStream, Connected) {
        let client = Self::dial(address).await.unwrap();
        let mut session = client.open().await;
        session.send(Packet::Connect(connect)).await;
        match session.next().await {
            Some(Packet::Connected(connected)) => (client, session, connected),
            other => panic!("not connected: {other:?}"),
        }
    }

    /// Connects and opens the session of a producer.
    pub(crate) async fn producer(address: SocketAddr, name: &str) -> (Self, RawStream) {
        let (client, session, _) = Self::enter(address, producer(name, 1)).await;
        (client, session)
    }

    pub(crate) async fn open(&self) -> RawStream {
        let (send, recv) = soon("a stream", self.connection.open_bi()).await.unwrap();
        RawStream {
            send,
            frames: FramedRead::new(recv, PacketCodec::new(64 << 20)),
        }
    }

    /// Opens a stream and sends these packets.
    pub(crate) async fn ask(&self, packets: impl IntoIterator<Item = Packet>) -> RawStream {
        let mut stream = self.open().await;
        for packet in packets {
            stream.send(packet).await;
        }
        stream
    }

    /// Waits until the broker closes the connection. Returns its code and reason.
    pub(crate) async fn closed(&self) -> (CloseCode, String) {
        match CloseReason::of(&soon("the close", self.connection.closed()).await) {
            CloseReason::Closed { code, reason } => (code, reason),
            other => panic!("ended otherwise: {other:?}"),
        }
    }
}

pub(crate) fn producer(name: &str, instance: u64) -> Connect {
    Connect {
        token: Bytes::new(),
        producer: Some(ProducerIdentity {
            name: name.to_owned(),
            instance,
            id: None,
        }),
    }
}

/// A stream on which a test can send packets and any other bytes.
pub(crate) struct RawStream {
    pub(crate) send: quinn::SendStream,
    pub(crate) frames: FramedRead<quinn::RecvStream, PacketCodec>,
}

impl RawStream {
    pub(crate) async fn send(&mut self, packet: Packet) {
        let mut bytes = BytesMut::new();
        PacketCodec::new(64 << 20)
            .encode(packet, &mut bytes)
            .unwrap();
        self.send_bytes(&bytes).await;
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        soon("room to write", self.send.write_all(bytes))
            .await
            .unwrap();
    }

    /// Returns the next packet, or `None` if the broker has ended its half or the connection is lost.
    pub(crate) async fn next(&mut self) -> Option<Packet> {
        soon("a packet", self.frames.next())
            .await
            .and_then(Result::ok)
    }

    pub(crate) async fn stored(&mut self) -> Stored {
        match self.next().await {
            Some(Packet::Stored(stored)) => stored,
            other => panic!("not stored: {other:?}"),
        }
    }

    pub(crate) async fn delivery(&mut self) -> Delivery {
        match self.next().await {
            Some(Packet::Delivery(delivery)) => delivery,
            other => panic!("no delivery: {other:?}"),
        }
    }

    /// Returns the next packet if it comes within `time`, to test that none does.
    pub(crate) async fn within(&mut self, time: Duration) -> Option<Packet> {
        let next = tokio::time::timeout(time, self.frames.next()).await;
        next.ok().flatten().and_then(Result::ok)
    }
}

/// Returns what two answers to the same batch have in common.
pub(crate) fn place(stored: Stored) -> (RequestId, Offset, Timestamp) {
    (stored.request, stored.base, stored.time)
}
