//! A producer's process that is killed (`SIGKILL`) during an outage and while it delivers: what it said is on disk is
//! stored once and in its order. Real processes, real sockets.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, mpsc},
    time::Duration,
};

use anabranch::{
    Offset, Producer, TopicName,
    broker::Broker,
    conn::{ClientTls, Trust},
    producer::{Fate, spool::Policy},
    store::{LogConfig, LogStore, Store, StoreError},
    wire::internals::Batch,
};
use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};

use crate::{when_spooled, world::text};

const TASK: &str = "ANABRANCH_SPOOL_CHILD";
const LIMIT: Duration = Duration::from_secs(60);
const PAYLOAD: usize = 1000;

/// Not a test of its own: what the process does that is killed.
#[test]
fn child() {
    let Ok(task) = std::env::var(TASK) else {
        return;
    };
    let parts: Vec<_> = task.split('|').collect();
    let [address, certificates, folder, policy, from, to] = parts[..] else {
        panic!("{task}");
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let ca = Path::new(certificates).join("ca.pem");
        let mut config = when_spooled(Path::new(folder));
        config.policy = match policy {
            "Overflow" => Policy::Overflow,
            "Outage" => Policy::Outage,
            _ => Policy::Always,
        };
        let producer = Producer::builder()
            .server(address)
            .tls(ClientTls::trusting(Trust::CaFile(ca)))
            .topic("events")
            .buffer_messages(1000)
            .buffer_bytes(1 << 20)
            .spool(config)
            .build()
            .unwrap();
        sends(&producer, from.parse().unwrap()..to.parse().unwrap()).await;
        producer.wait_connected().await.unwrap();
        let mut state = producer.watch_spool_state().unwrap();
        state.wait_for(|state| state.messages == 0).await.unwrap();
        say("delivered");
        producer.close(LIMIT).await.unwrap();
    });
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "told {line}").unwrap();
    out.flush().unwrap();
}

async fn sends(producer: &Producer, numbers: std::ops::Range<u64>) {
    let mut calls: FuturesUnordered<_> = FuturesUnordered::new();
    let begin = resident();
    for n in numbers.clone() {
        let payload = format!("{n:0PAYLOAD$}");
        calls.push(producer.send(payload).map(move |outcome| (n, outcome)));
        while calls.len() > 4000 {
            tell(calls.next().await);
        }
        while let Some(settled) = calls.next().now_or_never() {
            let Some(settled) = settled else { break };
            tell(Some(settled));
        }
        if n % 64 == 0 {
            tokio::task::yield_now().await;
        }
    }
    if !numbers.is_empty() {
        say(&format!("grown {}", resident().saturating_sub(begin)));
    }
    while !calls.is_empty() {
        tell(calls.next().await);
    }
}

fn tell(settled: Option<(u64, Result<anabranch::Ack, anabranch::SendError>)>) {
    match settled {
        Some((n, Ok(ack))) if ack.is_spooled() => say(&format!("spooled {n}")),
        Some((n, Ok(_))) => say(&format!("stored {n}")),
        Some((n, Err(error))) if error.fate() == Fate::Spooled => say(&format!("spooled {n}")),
        Some((n, Err(error))) => panic!("{n}: {error}"),
        None => {}
    }
}

/// Kilobytes of memory of this process, where the system tells.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    kilobytes.unwrap_or_default()
}

/// What a child said.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Stored(u64),
    Spooled(u64),
    Grown(u64),
    Delivered,
}

struct Producing {
    child: Child,
    said: mpsc::Receiver<Said>,
}

impl Producing {
    fn start(
        (address, policy): (SocketAddr, Policy),
        folder: &Path,
        numbers: std::ops::Range<u64>,
    ) -> Self {
        let (certificates, spool) = (folder.join("certificates"), folder.join("spool"));
        let task = format!(
            "{address}|{}|{}|{policy:?}|{}|{}",
            certificates.display(),
            spool.display(),
            numbers.start,
            numbers.end
        );
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed::child", "--nocapture"])
            .env(TASK, task)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (tell, said) = mpsc::channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let words: Vec<_> = line.split_whitespace().collect();
                let said = match words[..] {
                    [.., "told", "stored", n] => n.parse().map(Said::Stored),
                    [.., "told", "spooled", n] => n.parse().map(Said::Spooled),
                    [.., "told", "grown", n] => n.parse().map(Said::Grown),
                    [.., "told", "delivered"] => Ok(Said::Delivered),
                    _ => continue,
                };
                // A line that was cut off by the end of the process says nothing.
                let Ok(said) = said else { continue };
                if tell.send(said).is_err() {
                    return;
                }
            }
        });
        Self { child, said }
    }

    /// What it says until `enough` says so.
    fn listen(&self, told: &mut Vec<Said>, mut enough: impl FnMut(&Said) -> bool) {
        loop {
            let said = self
                .said
                .recv_timeout(LIMIT)
                .expect("the process is silent");
            let is_enough = enough(&said);
            told.push(said);
            if is_enough {
                return;
            }
        }
    }

    fn kill(mut self, told: &mut Vec<Said>) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        told.extend(self.said.iter());
    }
}

/// A broker there, on a log on disk.
async fn broker(address: &str, folder: &Path) -> (Broker, Arc<dyn Store>) {
    let log = LogStore::open(folder.join("log"), LogConfig::default());
    let store: Arc<dyn Store> = Arc::new(log.await.unwrap());
    let broker = Broker::builder()
        .listen(address.parse().unwrap())
        .development_certificate(folder.join("certificates"))
        .store(Arc::clone(&store))
        .bind()
        .await
        .unwrap();
    (broker, store)
}

async fn stored(store: &Arc<dyn Store>) -> Vec<u64> {
    let topic = TopicName::new("events").unwrap();
    let (mut all, mut next) = (Vec::new(), Offset(0));
    loop {
        let batches = match store.read(&topic, next, 1 << 20).await {
            // Nothing was delivered yet.
            Err(StoreError::UnknownTopic) => return all,
            batches => batches.unwrap(),
        };
        let Some(last) = batches.last() else {
            return all;
        };
        next = last.end();
        for stored in batches {
            let batch = Batch::decode(stored.batch).unwrap();
            all.extend(
                batch
                    .records()
                    .map(|r| text(&r.payload).parse::<u64>().unwrap()),
            );
        }
    }
}

#[test]
fn what_a_killed_process_had_on_disk_is_stored_once_and_in_its_order() {
    for policy in [Policy::Overflow, Policy::Outage, Policy::Always] {
        kill_with(policy);
    }
}

fn kill_with(policy: Policy) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (here, _) = runtime.block_on(broker("127.0.0.1:0", folder.path()));
    let address = here.local_addr();
    let producing = (address, policy);
    let mut told = Vec::new();
    // The broker goes while it sends, and it is killed while it spools.
    let first = Producing::start(producing, folder.path(), 0..1_000_000);
    first.listen(&mut told, |said| {
        matches!(said, Said::Stored(100) | Said::Spooled(100))
    });
    runtime
        .block_on(here.shutdown(Duration::ZERO))
        .unwrap_or_default();
    let mut spooled = 0;
    first.listen(&mut told, |said| {
        spooled += u64::from(matches!(said, Said::Spooled(_)));
        spooled == 3000
    });
    first.kill(&mut told);

    // The next one, without a broker from its beginning on: as much again, in little memory.
    let next = 2_000_000..2_040_000;
    let second = Producing::start(producing, folder.path(), next);
    second.listen(&mut told, |said| matches!(said, Said::Grown(_)));
    second.kill(&mut told);
    let grown = told.iter().find_map(|said| match said {
        Said::Grown(kilobytes) => Some(*kilobytes),
        _ => None,
    });
    let grown = grown.unwrap();
    assert!(
        grown < 32 << 10,
        "40 MB were spooled in {grown} KB of memory"
    );

    // The broker is back; what delivers is killed again and again.
    let (here, store) = runtime.block_on(broker(&address.to_string(), folder.path()));
    for round in 0..6 {
        let delivering = Producing::start(producing, folder.path(), 0..0);
        std::thread::sleep(Duration::from_millis(150 + 40 * round));
        delivering.kill(&mut told);
        let there = runtime.block_on(stored(&store)).len();
        println!("killed while it delivered; {there} are stored");
    }
    let last = Producing::start(producing, folder.path(), 0..0);
    last.listen(&mut told, |said| *said == Said::Delivered);
    last.kill(&mut told);

    let there = runtime.block_on(stored(&store));
    let spooled: Vec<u64> = told
        .iter()
        .filter_map(|said| match said {
            Said::Spooled(n) => Some(*n),
            _ => None,
        })
        .collect();
    assert!(there.is_sorted_by(|a, b| a < b), "twice, or not in order");
    let found: std::collections::HashSet<_> = there.iter().collect();
    let lost: Vec<_> = spooled.iter().filter(|n| !found.contains(n)).collect();
    assert!(
        lost.is_empty(),
        "{} of {} are lost: {:?}",
        lost.len(),
        spooled.len(),
        &lost[..3]
    );
    println!(
        "{policy:?}: {} spooled, {} stored, 8 kills, none lost, none twice",
        spooled.len(),
        there.len()
    );
    // The killed have not said goodbye, and are not waited for.
    let _ = runtime.block_on(here.shutdown(Duration::ZERO));
}
