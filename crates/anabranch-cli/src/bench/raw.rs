//! Measures quinn alone, as the baseline.
//!
//! Endpoints, sockets, TLS, transport options and congestion controller are those of a producer and a broker. On top is
//! one bidirectional stream, without frames and messages.

use std::{sync::Arc, time::Duration, time::Instant};

use anabranch::conn::{self, Admission, ClientTls, Congestion, DevCerts, TransportConfig, Udp};
use anyhow::{Context, ensure};
use bytes::Bytes;
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use tokio::task::JoinHandle;

use super::load::{Times, nanos, noise, times};

/// Size of a write, in bytes.
const CHUNK: usize = 1 << 20;
/// Keeps the connection open between its runs.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// First byte of a stream: the server reads the stream to its end, and answers with the number of bytes.
const BULK: u8 = b'b';
/// First byte of a stream: the server sends back every message.
const ECHO: u8 = b'e';

/// A client and a server in this process.
pub(super) struct Raw {
    connection: Connection,
    _client: Endpoint,
    serving: JoinHandle<()>,
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.connection.close(0_u32.into(), b"");
        self.serving.abort();
    }
}

impl Raw {
    /// Connects client and server over loopback.
    ///
    /// # Errors
    /// When an endpoint or the connection cannot be made.
    pub(super) async fn start(certs: &DevCerts, congestion: Congestion) -> anyhow::Result<Self> {
        let here = ([127, 0, 0, 1], 0).into();
        let mut settings = TransportConfig::server();
        settings.congestion = congestion.clone();
        let tls = certs.server_tls().to_rustls()?;
        let config = conn::internals::server_config(tls, &settings, &Admission::default())?;
        let server =
            conn::internals::server_endpoint(here, config, &settings, &Udp::default(), None)?;
        let address = server.local_addr()?;
        let serving = tokio::spawn(async move {
            // The client reports errors of the connection.
            while let Some(incoming) = server.accept().await {
                if let Ok(connection) = incoming.await {
                    let _ = serve(&connection).await;
                }
            }
        });

        let mut settings = TransportConfig::default();
        settings.keep_alive = Some(KEEP_ALIVE);
        settings.congestion = congestion;
        let tls = ClientTls::trusting(certs.trust()).to_rustls()?;
        let config = conn::internals::client_config(tls)?;
        let config = conn::internals::client_config_for(
            &config,
            &settings,
            Arc::new(conn::internals::PathMonitor::new(Instant::now())),
        );
        let client = conn::internals::client_endpoint(here, &settings, &Udp::default())?;
        let connection = client.connect_with(config, address, "localhost")?.await?;
        Ok(Self {
            connection,
            _client: client,
            serving,
        })
    }

    /// Sends `bytes` bytes on one stream, and waits until the server has read all of them.
    ///
    /// # Errors
    /// Those of the connection.
    pub(super) async fn bulk(&self, bytes: u64) -> anyhow::Result<Duration> {
        // In a task, as the load: waking the thread of `main` costs more than waking a task.
        tokio::spawn(bulk(self.connection.clone(), bytes)).await?
    }

    /// Sends `size` bytes and waits for their echo, `count` times.
    ///
    /// # Errors
    /// Those of the connection.
    pub(super) async fn ping_pong(&self, size: u32, count: u64) -> anyhow::Result<Times> {
        tokio::spawn(ping_pong(self.connection.clone(), size, count)).await?
    }
}

async fn bulk(connection: Connection, bytes: u64) -> anyhow::Result<Duration> {
    let (mut send, mut recv) = connection.open_bi().await?;
    send.write_all(&[BULK]).await?;
    let chunk = noise(CHUNK);
    let began = Instant::now();
    let mut left = bytes;
    while left > 0 {
        let len = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        send.write_chunk(chunk.slice(..len)).await?;
        left -= u64::try_from(len)?;
    }
    send.finish()?;
    let mut answer = [0; 8];
    recv.read_exact(&mut answer).await?;
    let took = began.elapsed();
    let read = u64::from_be_bytes(answer);
    ensure!(
        read == bytes,
        "{bytes} bytes were sent, {read} were received"
    );
    Ok(took)
}

async fn ping_pong(connection: Connection, size: u32, count: u64) -> anyhow::Result<Times> {
    let (mut send, mut recv) = connection.open_bi().await?;
    send.write_all(&[ECHO]).await?;
    send.write_all(&size.to_be_bytes()).await?;
    let ping = noise(usize::try_from(size)?);
    let mut pong = vec![0; ping.len()];
    let mut times = times();
    for _ in 0..count {
        let began = Instant::now();
        send.write_chunk(ping.clone()).await?;
        recv.read_exact(&mut pong).await?;
        times.saturating_record(nanos(began.elapsed()));
    }
    send.finish()?;
    Ok(times)
}

async fn serve(connection: &Connection) -> anyhow::Result<()> {
    loop {
        let (send, mut recv) = connection.accept_bi().await?;
        let mut kind = [0];
        recv.read_exact(&mut kind).await?;
        match kind {
            [BULK] => discard(send, recv).await?,
            _ => echo(send, recv).await?,
        }
    }
}

async fn discard(mut send: SendStream, mut recv: RecvStream) -> anyhow::Result<()> {
    let mut read: u64 = 0;
    while let Some(chunk) = recv.read_chunk(usize::MAX, true).await? {
        read += u64::try_from(chunk.bytes.len())?;
    }
    send.write_all(&read.to_be_bytes()).await?;
    send.finish().context("the stream was reset")
}

async fn echo(mut send: SendStream, mut recv: RecvStream) -> anyhow::Result<()> {
    let mut size = [0; 4];
    recv.read_exact(&mut size).await?;
    let mut ping = vec![0; usize::try_from(u32::from_be_bytes(size))?];
    while recv.read_exact(&mut ping).await.is_ok() {
        send.write_chunk(Bytes::copy_from_slice(&ping)).await?;
    }
    Ok(())
}
