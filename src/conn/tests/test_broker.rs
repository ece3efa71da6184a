//! A broker whose answers the test chooses.
#![allow(clippy::disallowed_methods, reason = "a test may start tasks")]

use std::{net::SocketAddr, time::Duration};

use futures_util::{SinkExt, StreamExt};
use quinn::{Connection, Endpoint};
use tokio::sync::mpsc;
use tokio_util::codec::{FramedRead, FramedWrite};

use crate::{
    ProducerId,
    conn::{
        Admission, ClientTls, CloseCode, Config, DevCerts, NetworkProvider, ServerTls,
        TransportConfig, server_config, server_endpoint,
    },
    wire::{Connect, Connected, Failure, FailureCode, Packet, PacketCodec, RegisteredProducer},
};

/// Returns development certificates, which are created once per process.
pub(crate) fn certs() -> DevCerts {
    static FOLDER: std::sync::OnceLock<(tempfile::TempDir, DevCerts)> = std::sync::OnceLock::new();
    let (_, certs) = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let certs = DevCerts::ensure(folder.path(), &["192.0.2.1", "192.0.2.2", "broker.test"]);
        (folder, certs.unwrap())
    });
    certs.clone()
}

/// Returns the options of a client of `server`.
pub(crate) fn client(server: impl Into<String>) -> Config {
    let mut config = Config::to(server);
    config.tls = ClientTls::trusting(certs().trust());
    config.reconnect_backoff.seed = Some(7);
    config
}

/// How a test broker answers a `Connect`.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// Accepts the session and answers every ping.
    Welcome,
    /// Accepts the session and answers no ping.
    Mute,
    /// Like [`Answer::Welcome`], followed by the announcement that the broker will close.
    GoAway,
    /// Sends nothing.
    Nothing,
    /// Refuses on the stream. The client closes the connection, because a close by the broker could overtake the refusal.
    Refuse(FailureCode, &'static str),
    /// Closes the connection and sends nothing on the stream.
    Close(CloseCode, &'static str),
    /// Sends a packet that is not allowed there.
    WrongPacket,
    /// Resets the control stream and does nothing else.
    Reset,
}

/// A broker whose answers the test chooses. Dropping it stops its tasks without closing its connections.
pub(crate) struct TestBroker {
    pub(crate) endpoint: Endpoint,
    pub(crate) address: SocketAddr,
    /// The `Connect` packet and the connection of each session.
    pub(crate) sessions: mpsc::Receiver<(Connect, Connection)>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl TestBroker {
    pub(crate) fn start(listen: &str, answer: Answer, network: &dyn NetworkProvider) -> Self {
        Self::with(
            listen,
            answer,
            network,
            &certs().server_tls(),
            &TransportConfig::server(),
        )
    }

    pub(crate) fn with(
        listen: &str,
        answer: Answer,
        network: &dyn NetworkProvider,
        tls: &ServerTls,
        transport: &TransportConfig,
    ) -> Self {
        let tls = tls.to_rustls().unwrap();
        let config = server_config(tls, transport, &Admission::default()).unwrap();
        let endpoint =
            server_endpoint(listen.parse().unwrap(), config, transport, network, None).unwrap();
        let (opened, sessions) = mpsc::channel(16);
        let accepting = endpoint.clone();
        let task = tokio::spawn(Self::accept(accepting, answer, opened));
        Self {
            address: endpoint.local_addr().unwrap(),
            endpoint,
            sessions,
            task,
        }
    }

    async fn accept(
        endpoint: Endpoint,
        answer: Answer,
        opened: mpsc::Sender<(Connect, Connection)>,
    ) {
        while let Some(incoming) = endpoint.accept().await {
            tokio::spawn(serve(incoming, answer.clone(), opened.clone()));
        }
    }

    /// Serves all connections of `endpoint`.
    pub(crate) async fn serve_all(endpoint: Endpoint, answer: Answer) {
        Self::accept(endpoint, answer, mpsc::channel(1).0).await;
    }

    /// Waits for the next session and returns its connection.
    pub(crate) async fn session(&mut self) -> Connection {
        self.sessions.recv().await.unwrap().1
    }
}

async fn serve(
    incoming: quinn::Incoming,
    answer: Answer,
    opened: mpsc::Sender<(Connect, Connection)>,
) {
    let Ok(connection) = incoming.await else {
        return;
    };
    let Ok((send, recv)) = connection.accept_bi().await else {
        return;
    };
    let mut send = FramedWrite::new(send, PacketCodec::new(4096));
    let mut recv = FramedRead::new(recv, PacketCodec::new(70_000));
    let Some(Ok(Packet::Connect(connect))) = recv.next().await else {
        return;
    };
    let _ = opened.try_send((connect.clone(), connection.clone()));
    match answer {
        Answer::Nothing => {}
        Answer::Close(code, reason) => connection.close(code.into(), reason.as_bytes()),
        Answer::Refuse(code, detail) => {
            let detail = detail.into();
            let failed = Packet::Failed(Failure { code, detail });
            send.send(failed).await.unwrap();
        }
        Answer::Reset => drop(send.get_mut().reset(7_u32.into())),
        Answer::WrongPacket => send.send(Packet::Probed { nonce: 1 }).await.unwrap(),
        Answer::Welcome | Answer::GoAway | Answer::Mute => {
            let connected = Connected {
                producer: connect.producer.map(|_| RegisteredProducer {
                    id: ProducerId(1),
                    forgotten: false,
                }),
                max_frame: 1 << 20,
                max_message: 1 << 16,
                stream_window: 1 << 20,
            };
            send.send(Packet::Connected(connected)).await.unwrap();
            if matches!(answer, Answer::GoAway) {
                send.send(Packet::GoAway).await.unwrap();
            }
        }
    }
    while let Some(Ok(packet)) = recv.next().await {
        if let (Packet::Ping { nonce }, Answer::Welcome | Answer::GoAway) = (packet, &answer) {
            let _ = send.send(Packet::Pong { nonce }).await;
        }
    }
}

/// Fails a test that would hang otherwise. The limit is in real time and far longer than any test needs.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("the test hangs")
}
