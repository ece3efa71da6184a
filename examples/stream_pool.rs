//! The stream pool alone, between two quinn endpoints of this process: a stream that a holder left within a frame is replaced.
//!
//! `cargo run --example stream_pool`
//!
//! ```text
//! stream 0 echoes hello
//! stream 0 is dropped within a frame
//! stream 1 echoes again
//! opened: 2, evicted as dirty: 1
//! ```

#[path = "common/echo.rs"]
mod echo_server;

use std::io;

use anabranch::pool::{Config, EvictReason, ManageStream, PooledStream, StreamPool};
use quinn::{Connection, RecvStream, SendStream, VarInt};

/// Streams to a server that sends every byte back.
struct EchoStreams(Connection);

impl ManageStream for EchoStreams {
    type Stream = (SendStream, RecvStream);
    type Error = io::Error;
    async fn open(&self) -> io::Result<Self::Stream> {
        Ok(self.0.open_bi().await?)
    }
    async fn probe(&self, stream: &mut Self::Stream) -> io::Result<()> {
        echo(stream, b"?").await.map(drop)
    }
    fn is_broken(&self, _stream: &Self::Stream) -> bool {
        self.0.close_reason().is_some()
    }
    fn discard(&self, (mut send, mut recv): Self::Stream, _reason: EvictReason) {
        let code = VarInt::from_u32(0);
        let _ = (send.reset(code), recv.stop(code));
    }
}

type Echo = PooledStream<EchoStreams>;

async fn echo((send, recv): &mut (SendStream, RecvStream), frame: &[u8]) -> io::Result<Vec<u8>> {
    let mut answer = vec![0; frame.len()];
    send.write_all(frame).await?;
    let read = recv.read_exact(&mut answer).await;
    read.map(|()| answer).map_err(io::Error::other)
}

/// Sends one frame. A drop of this future at an await discards the stream.
async fn say(stream: &mut Echo, text: &str) -> anyhow::Result<()> {
    PooledStream::begin(stream);
    let answer = String::from_utf8(echo(stream, text.as_bytes()).await?)?;
    PooledStream::end(stream);
    println!("stream {} echoes {answer}", PooledStream::id(stream));
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let manager = EchoStreams(echo_server::connect().await?);
    let pool = StreamPool::new(manager, Config::default())?;

    say(&mut pool.get().await?, "hello").await?;

    // The first stream went back and was probed. Now it is dropped within a frame.
    let mut stream = pool.get().await?;
    PooledStream::begin(&mut stream);
    let id = PooledStream::id(&stream);
    drop(stream);
    println!("stream {id} is dropped within a frame");
    say(&mut pool.get().await?, "again").await?;

    let counts = pool.status().counts;
    let dirty = counts.evicted(EvictReason::Dirty);
    println!("opened: {}, evicted as dirty: {dirty}", counts.opened);
    pool.close().await;
    Ok(())
}
