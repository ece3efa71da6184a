//! The same messages through anabranch and through NATS JetStream. See the README beside this package's manifest.

use std::{
    collections::VecDeque,
    env,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use anabranch::{
    Broker, Producer,
    broker::Retention,
    conn::{ClientTls, DevCerts},
    store::{LogConfig, LogStore, MemoryConfig, MemoryStore, Store},
};
use anyhow::Context as _;
use async_nats::jetstream::{self, context::ContextBuilder, stream};
use bytes::Bytes;

/// Messages without an acknowledgement at a time.
const UNANSWERED: usize = 10_000;
const KEPT: u64 = 1 << 30;
const END: Duration = Duration::from_secs(10);

#[derive(Clone, Copy)]
struct Load {
    messages: usize,
    size: usize,
}

/// A server in a process of its own, ended with this.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args: Vec<String> = env::args().collect();
    let value = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        args.get(at + 1).cloned()
    };
    if let Some(store) = value("--serve") {
        let folder = value("--folder").context("a folder is needed")?;
        return serve(&store, Path::new(&folder)).await;
    }
    let number = |name: &str, usual: usize| value(name).map_or(Ok(usual), |n| n.parse());
    let (messages, rounds) = (number("--messages", 200_000)?, number("--rounds", 5)?);
    println!("messages a second, median of {rounds} rounds (least to most); {messages} messages each");
    for durable in [false, true] {
        for size in [100, 1024] {
            let load = Load { messages, size };
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            // One after the other in each round: a machine has good and bad minutes.
            for _ in 0..rounds {
                ours.push(anabranch(load, durable).await?);
                theirs.push(nats(load, durable).await?);
            }
            let (store, file) = match durable {
                true => ("log, TLS, fdatasync", "file, plain, no sync"),
                false => ("memory, TLS", "memory, plain"),
            };
            row(size, "anabranch", store, &mut ours);
            row(size, "JetStream", file, &mut theirs);
        }
    }
    Ok(())
}

fn row(size: usize, what: &str, how: &str, rates: &mut [f64]) {
    rates.sort_by(f64::total_cmp);
    let (least, most) = (rates[0], rates[rates.len() - 1]);
    let median = rates[rates.len() / 2];
    println!("{size:>5} B  {what}  {how:<22}{median:>12.0} ({least:.0} to {most:.0})");
}

/// A broker that tells its address and lives until its parent is gone.
async fn serve(store: &str, folder: &Path) -> anyhow::Result<()> {
    let certs = DevCerts::ensure(folder, &[])?;
    let store: Arc<dyn Store> = match store {
        "log" => Arc::new(LogStore::open(folder.join("log"), LogConfig::default()).await?),
        _ => {
            let mut config = MemoryConfig::default();
            config.max_bytes = 2 * KEPT;
            Arc::new(MemoryStore::new(config))
        }
    };
    let mut retention = Retention::default();
    retention.max_bytes = Some(KEPT);
    let broker = Broker::builder()
        .listen(([127, 0, 0, 1], 0).into())
        .tls(certs.server_tls())
        .store(store)
        .retention(retention);
    let broker = broker.bind().await?;
    println!("{}", broker.local_addr());
    tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0])).await??;
    broker.shutdown(END).await?;
    Ok(())
}

async fn anabranch(load: Load, durable: bool) -> anyhow::Result<f64> {
    let folder = tempfile::tempdir()?;
    let certs = DevCerts::ensure(folder.path(), &[])?;
    let mut server = Command::new(env::current_exe()?);
    server.args(["--serve", if durable { "log" } else { "memory" }]);
    server.arg("--folder").arg(folder.path());
    let mut server = Server(server.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?);
    let mut address = String::new();
    let told = server.0.stdout.take().context("it has no output")?;
    BufReader::new(told).read_line(&mut address)?;
    let producer = Producer::builder()
        .server(address.trim())
        .tls(ClientTls::trusting(certs.trust()))
        .topic("bench");
    let producer = producer.connect().await?;

    let payload = Bytes::from(vec![7; load.size]);
    let mut unanswered = VecDeque::new();
    let began = Instant::now();
    for _ in 0..load.messages {
        unanswered.push_back(producer.send_async(payload.clone()).await?);
        if unanswered.len() == UNANSWERED
            && let Some(receipt) = unanswered.pop_front()
        {
            receipt.await?;
        }
    }
    for receipt in unanswered {
        receipt.await?;
    }
    let took = began.elapsed();
    producer.close(END).await?;
    Ok(load.messages as f64 / took.as_secs_f64())
}

async fn nats(load: Load, durable: bool) -> anyhow::Result<f64> {
    let folder = tempfile::tempdir()?;
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let _server = Server(
        Command::new("nats-server")
            .args(["-js", "-a", "127.0.0.1", "-p", &port.to_string(), "-sd"])
            .arg(folder.path())
            .stderr(Stdio::null())
            .spawn()
            .context("nats-server does not start")?,
    );
    let options = async_nats::ConnectOptions::new().retry_on_initial_connect();
    let client = options.connect(format!("127.0.0.1:{port}")).await?;
    let context: jetstream::Context = ContextBuilder::new()
        .max_ack_inflight(UNANSWERED)
        .build(client);
    let config = stream::Config {
        name: "bench".to_owned(),
        subjects: vec!["bench".to_owned()],
        max_bytes: i64::try_from(KEPT)?,
        storage: match durable {
            true => stream::StorageType::File,
            false => stream::StorageType::Memory,
        },
        ..stream::Config::default()
    };
    let made = Instant::now();
    while let Err(error) = context.create_stream(config.clone()).await {
        anyhow::ensure!(made.elapsed() < END, "no stream: {error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    let payload = Bytes::from(vec![7; load.size]);
    let mut unanswered = VecDeque::new();
    let began = Instant::now();
    for _ in 0..load.messages {
        if unanswered.len() == UNANSWERED
            && let Some(ack) = unanswered.pop_front()
        {
            let ack: jetstream::context::PublishAckFuture = ack;
            ack.await?;
        }
        unanswered.push_back(context.publish("bench", payload.clone()).await?);
    }
    for ack in unanswered {
        ack.await?;
    }
    Ok(load.messages as f64 / began.elapsed().as_secs_f64())
}
