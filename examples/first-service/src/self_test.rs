//! Runs the service against a broker of its own, as CI does.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use anabranch::{
    Broker, Consumer,
    consumer::Start,
    store::{LogConfig, LogStore},
};
use anyhow::{Context, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

use super::{Options, serve};

/// Number of events.
const EVENTS: usize = 500;

/// Starts a broker and the service, posts events, ends the service while requests are under way, and checks that every
/// event that was answered is in the topic.
pub(crate) async fn run() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let store = LogStore::open(folder.path().join("log"), LogConfig::default()).await?;
    let broker = Broker::builder()
        .listen(([127, 0, 0, 1], 0).into())
        .development_certificate(folder.path())
        .store(Arc::new(store))
        .bind()
        .await?;
    let options = Options {
        server: broker.local_addr().to_string(),
        ca: folder.path().join("ca.pem"),
        spool: folder.path().join("spool"),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (stop, stopped) = oneshot::channel::<()>();
    let service = tokio::spawn({
        let options = options.clone();
        async move {
            let stopped = async {
                let _ = stopped.await;
            };
            serve(listener, &options, stopped).await
        }
    });

    let (answered, mut answers) = tokio::sync::mpsc::channel(EVENTS);
    for number in 0..EVENTS {
        let answered = answered.clone();
        tokio::spawn(async move {
            let event = format!("event {number}");
            // The service refuses connections once it ends.
            if let Ok(answer) = post(address, &event).await
                && answer.starts_with("HTTP/1.1 20")
            {
                let _ = answered.send(event).await;
            }
        });
    }
    drop(answered);
    let mut stored = BTreeSet::new();
    for _ in 0..EVENTS / 2 {
        stored.insert(answers.recv().await.context("an event was not answered")?);
    }
    let metrics = get(address, "/metrics").await?;
    ensure!(metrics.contains("anabranch_producer_messages_acked_total"));

    // As SIGTERM does.
    let _ = stop.send(());
    while let Some(event) = answers.recv().await {
        stored.insert(event);
    }
    service.await??;

    let mut consumer = Consumer::builder()
        .server(options.server)
        .ca_file(options.ca)
        .topic("events")
        .from(Start::Earliest)
        .subscribe()
        .await?;
    let mut found = Vec::new();
    while !consumer.is_caught_up() {
        let message = consumer.recv().await?;
        found.push(String::from_utf8_lossy(&message.record.payload).into_owned());
    }
    consumer.close(Duration::from_secs(1)).await?;
    broker.shutdown(Duration::from_secs(5)).await?;
    let distinct: BTreeSet<String> = found.iter().cloned().collect();
    ensure!(distinct.len() == found.len(), "an event is there twice");
    ensure!(stored.is_subset(&distinct), "an event is missing");
    println!(
        "{} events answered, {} in the topic, none twice",
        stored.len(),
        found.len()
    );
    Ok(())
}

async fn post(address: SocketAddr, event: &str) -> anyhow::Result<String> {
    let length = event.len();
    let request = format!(
        "POST /events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{event}"
    );
    exchange(address, &request).await
}

async fn get(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    exchange(address, &request).await
}

async fn exchange(address: SocketAddr, request: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
