//! A broker that does as it is told.
#![allow(clippy::disallowed_methods)]

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

/// Development certificates for every test, made once a process.
pub(crate) fn certs() -> DevCerts {
    static FOLDER: std::sync::OnceLock<(tempfile::TempDir, DevCerts)> = std::sync::OnceLock::new();
    let (_, certs) = FOLDER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let certs = DevCerts::ensure(folder.path(), &["192.0.2.1", "192.0.2.2", "broker.test"]);
        (folder, certs.unwrap())
    });
    certs.clone()
}

/// Options of a client for `server` in tests.
pub(crate) fn client(server: impl Into<String>) -> Config {
    let mut config = Config::to(server);
    config.tls = ClientTls::trusting(certs().trust());
    config.reconnect_backoff.seed = Some(7);
    config
}

/// What a test broker answers to `Connect`.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// The session stands, and every ping is answered.
    Welcome,
    /// The session stands, and no ping is answered.
    Mute,
    /// As [`Answer::Welcome`], and right after it that the broker is about to close.
    GoAway,
    /// Nothing.
    Nothing,
    /// A refusal on the stream. It is for the client to close: a close of the broker's would overtake it.
    Refuse(FailureCode, &'static str),
    /// The connection closed, without a word on the stream.
    Close(CloseCode, &'static str),
    /// Another packet than belongs there.
    Nonsense,
    /// The session's stream reset, and nothing else.
    Reset,
}

/// A broker that does as it is told, and tells what it sees. Dropping it takes its endpoint away without a word.
pub(crate) struct TestBroker {
    pub(crate) endpoint: Endpoint,
    pub(crate) address: SocketAddr,
    /// The sessions that were opened: who came, and on which connection.
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

    /// Serves at `endpoint` and tells nobody of it.
    pub(crate) async fn serve_all(endpoint: Endpoint, answer: Answer) {
        Self::accept(endpoint, answer, mpsc::channel(1).0).await;
    }

    /// The connection of the next session that is opened.
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
        Answer::Nonsense => send.send(Packet::Probed { nonce: 1 }).await.unwrap(),
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

/// Keeps a test that should fail by an assertion from hanging instead. Real time; far more than any test needs.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("it does not take this long")
}
