//! Tests of the consumer with a broker on the loopback interface.

mod acknowledging;
mod reading;
mod topics;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use crate::{
    broker::tests::rig::{Client, batch, certificates, produce, soon},
    conn::{self, ClientTls, CloseCode, ConnectionState},
    consumer::{Builder, Consumer, Received},
};

fn connection(address: SocketAddr) -> conn::Config {
    let mut config = conn::Config::to(address.to_string());
    config.server_name = Some("localhost".to_owned());
    config.tls = ClientTls::trusting(certificates().trust());
    config.reconnect_backoff.min = Duration::from_millis(5);
    config.reconnect_backoff.max = Duration::from_millis(20);
    config
}

/// Returns a builder of a consumer of the topic `t`.
fn reader(address: SocketAddr) -> Builder {
    Consumer::builder()
        .connection(connection(address))
        .topic("t")
}

async fn next(consumer: &mut Consumer) -> Received {
    soon("a message", consumer.recv()).await.unwrap()
}

/// Receives `count` messages and returns their offsets.
async fn offsets(consumer: &mut Consumer, count: usize) -> Vec<u64> {
    let mut offsets = Vec::new();
    for _ in 0..count {
        offsets.push(next(consumer).await.offset.0);
    }
    offsets
}

/// Loses the connection, and waits until the supervisor has noticed.
async fn cut(consumer: &Consumer) {
    let supervisor = consumer.supervisor.as_ref().unwrap();
    let session = soon("a connection", supervisor.wait_connected())
        .await
        .unwrap();
    let mut state = supervisor.watch_state();
    session.close(CloseCode::Internal);
    let other = |state: &ConnectionState| !matches!(state, ConnectionState::Connected(l) if Arc::ptr_eq(l, &session));
    drop(soon("the loss", state.wait_for(other)).await.unwrap());
}

/// Writes messages to the topic `t`.
struct Writer {
    _client: Client,
    _session: crate::broker::tests::rig::RawStream,
    lane: crate::broker::tests::rig::RawStream,
    request: u64,
}

impl Writer {
    async fn new(address: SocketAddr, name: &str) -> Self {
        let (client, session) = Client::producer(address, name).await;
        let lane = client.open().await;
        Self {
            _client: client,
            _session: session,
            lane,
            request: 0,
        }
    }

    async fn write(&mut self, batches: usize, size: usize) {
        for _ in 0..batches {
            self.request += 1;
            let payloads = (0..size).map(|n| format!("{} {n}", self.request));
            self.lane
                .send(produce(self.request, "t", batch(payloads)))
                .await;
            self.lane.stored().await;
        }
    }
}
