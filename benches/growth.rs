//! What grows with what is stored and what is read, with the durable log.
//!
//! `cargo bench --bench growth`, or with other numbers `cargo bench --bench growth -- --millions 100 --messages 1000000 --rounds 5`
//!
//! Stored: the rate of appending the first million messages of 100 bytes, and of the last, with the least and the most between.
//! Read: the rate of sending alone, beside a reader at the end of the topic, and beside one that reads from its beginning over
//! and over; and how long after the last acknowledgement the reader at the end had everything.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench may panic"
)]

#[path = "pieces/mod.rs"]
mod pieces;

use std::{
    env,
    sync::Arc,
    time::{Duration, Instant},
};

use anabranch::{
    Broker, Consumer, Offset, Producer,
    conn::{ClientTls, DevCerts},
    consumer::Start,
    store::{Fsync, LogConfig, LogStore},
};
use pieces::{Appending, BATCH, GROUP};

const TOPIC: &str = "bench";

/// Why there are no figures.
type Failed = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failed> {
    let args: Vec<String> = env::args().collect();
    let number = |name: &str, usual: usize| {
        let at = args.iter().position(|arg| arg == name);
        let value = at.and_then(|at| args.get(at + 1));
        value.map_or(Ok(usual), |n| n.parse())
    };
    stored(number("--millions", 10)?);
    let runtime = tokio::runtime::Runtime::new()?;
    let (messages, rounds) = (number("--messages", 1_000_000)?, number("--rounds", 5)?);
    runtime.block_on(read(messages, rounds))
}

fn stored(millions: usize) {
    let mut log = Appending::log(Fsync::Always).keeping_everything();
    let groups = 1_000_000 / (BATCH * GROUP);
    let (mut first, mut least, mut most) = (0.0, f64::MAX, 0.0_f64);
    for million in 0..millions {
        let began = Instant::now();
        log.run(groups);
        let rate = (groups * BATCH * GROUP) as f64 / began.elapsed().as_secs_f64() / 1e6;
        if million == 0 {
            first = rate;
        }
        (least, most) = (least.min(rate), most.max(rate));
        if million + 1 == millions {
            println!(
                "stored, millions a second: the first of {millions} millions at {first:.2}, the last at {rate:.2} (each from {least:.2} to {most:.2})"
            );
        }
    }
}

/// What a reader does beside the sending.
#[derive(Clone, Copy)]
enum Reader {
    None,
    AtTheEnd,
    FromTheBeginning,
}

async fn read(messages: usize, rounds: usize) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let certs = DevCerts::ensure(folder.path(), &[])?;
    let log = LogStore::open(folder.path().join("log"), LogConfig::default());
    let broker = Broker::builder()
        .listen(([127, 0, 0, 1], 0).into())
        .tls(certs.server_tls())
        .store(Arc::new(log.await?));
    let broker = broker.bind().await?;
    let bench = Bench {
        address: broker.local_addr().to_string(),
        tls: ClientTls::trusting(certs.trust()),
        messages,
    };
    bench.send(Reader::None, None).await?;
    let (mut alone, mut end, mut beginning, mut behind) = (vec![], vec![], vec![], vec![]);
    let mut half = vec![];
    // One after the other in each round: a machine has good and bad minutes.
    for _ in 0..rounds {
        let rate = bench.send(Reader::None, None).await?.0;
        let (beside, late) = bench.send(Reader::AtTheEnd, None).await?;
        end.push(beside / rate);
        behind.push(late.as_secs_f64() * 1e3);
        beginning.push(bench.send(Reader::FromTheBeginning, None).await?.0 / rate);
        let (beside, _) = bench
            .send(Reader::FromTheBeginning, Some(rate / 2.0))
            .await?;
        half.push(beside / (rate / 2.0));
        alone.push(rate);
    }
    println!(
        "sent alone: {:.0} thousand a second; beside a reader at the end: {:.2} of that, which had everything {:.0} ms after the last acknowledgement; \
         beside a reader of everything from the beginning: {:.2} of it; sent at half that rate beside such a reader: {:.2} of what was asked for",
        median(alone) / 1e3,
        median(end),
        median(behind),
        median(beginning),
        median(half),
    );
    Ok(broker.shutdown(Duration::from_secs(5)).await?)
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

struct Bench {
    address: String,
    tls: ClientTls,
    messages: usize,
}

impl Bench {
    async fn subscribe(&self, from: Start) -> Result<Consumer, Failed> {
        let consumer = Consumer::builder()
            .server(self.address.as_str())
            .tls(self.tls.clone())
            .topic(TOPIC)
            .from(from);
        Ok(consumer.subscribe().await?)
    }

    /// The rate of sending, as fast as it goes or at most `rate` messages a second, and how much later than the sender a reader at the end was done.
    async fn send(&self, reader: Reader, rate: Option<f64>) -> Result<(f64, Duration), Failed> {
        let producer = Producer::builder()
            .server(self.address.as_str())
            .tls(self.tls.clone())
            .topic(TOPIC);
        let producer = producer.connect().await?;
        let messages = self.messages;
        let reading = match reader {
            Reader::None => None,
            Reader::AtTheEnd => {
                let mut consumer = self.subscribe(Start::Latest).await?;
                Some(tokio::spawn(async move {
                    for _ in 0..messages {
                        consumer.recv().await?;
                    }
                    Ok::<_, Failed>(Some(Instant::now()))
                }))
            }
            Reader::FromTheBeginning => {
                let mut consumer = self.subscribe(Start::Offset(Offset(0))).await?;
                Some(tokio::spawn(async move {
                    while consumer.recv().await.is_ok() {}
                    Ok(None)
                }))
            }
        };
        let payload = pieces::payload();
        let began = Instant::now();
        let (chunks, mut waiting) = tokio::sync::mpsc::channel::<Vec<_>>(1024);
        let awaiting = tokio::spawn(async move {
            while let Some(receipts) = waiting.recv().await {
                for receipt in receipts {
                    let receipt: anabranch::Receipt = receipt;
                    receipt.await?;
                }
            }
            Ok::<_, Failed>(())
        });
        let mut left = messages;
        while left > 0 {
            let mut receipts = Vec::with_capacity(1024);
            for _ in 0..left.min(1024) {
                receipts.push(producer.send_async(payload.clone()).await?);
            }
            left -= receipts.len();
            chunks.send(receipts).await?;
            if let Some(rate) = rate {
                let due = Duration::from_secs_f64((messages - left) as f64 / rate);
                tokio::time::sleep_until((began + due).into()).await;
            }
        }
        drop(chunks);
        awaiting.await??;
        let ended = Instant::now();
        let mut late = Duration::ZERO;
        match (reader, reading) {
            (Reader::AtTheEnd, Some(reading)) => {
                let done = reading.await??.unwrap_or(ended);
                late = done.saturating_duration_since(ended);
            }
            (_, Some(reading)) => reading.abort(),
            (_, None) => {}
        }
        producer.close(Duration::from_secs(5)).await?;
        let rate = messages as f64 / (ended - began).as_secs_f64();
        Ok((rate, late))
    }
}
