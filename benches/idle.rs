//! What idle producers cost a broker: memory and CPU time of a process that has nothing but the broker in it.
//!
//! `cargo bench --bench idle`, or with other numbers `cargo bench --bench idle -- --producers 1000 --seconds 30`
//!
//! The broker is this process; the producers live in another one, which it starts. Linux only: it reads `/proc`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench may panic"
)]

use std::{
    env, fs,
    io::Read as _,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use anabranch::{
    Broker, Producer,
    conn::{ClientTls, DevCerts},
    store::MemoryStore,
};

fn main() {
    let args: Vec<String> = env::args().collect();
    let value = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        args.get(at + 1).cloned()
    };
    let number = |name: &str, usual: u32| value(name).map_or(usual, |n| n.parse().unwrap());
    let producers = number("--producers", 1000);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    match value("--connect") {
        Some(address) => runtime.block_on(connect(&address, &value("--certs").unwrap(), producers)),
        None => runtime.block_on(serve(producers, number("--seconds", 30))),
    }
}

/// The producers: they connect, say so, and do nothing until their parent closes the pipe.
async fn connect(address: &str, certs: &str, producers: u32) {
    let certs = DevCerts::ensure(Path::new(certs), &[]).unwrap();
    let mut all = Vec::new();
    for _ in 0..producers {
        let producer = Producer::builder()
            .server(address)
            .tls(ClientTls::trusting(certs.trust()))
            .topic("bench");
        all.push(producer.connect().await.unwrap());
    }
    println!("connected");
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0]));
    ended.await.unwrap().unwrap();
    std::process::exit(0);
}

async fn serve(producers: u32, seconds: u32) {
    let folder = tempfile::tempdir().unwrap();
    let certs = DevCerts::ensure(folder.path(), &[]).unwrap();
    let broker = Broker::builder()
        .listen(([127, 0, 0, 1], 0).into())
        .tls(certs.server_tls())
        .store(Arc::new(MemoryStore::default()));
    let broker = broker.bind().await.unwrap();
    let before = memory();
    let mut clients = Command::new(env::current_exe().unwrap())
        .args(["--connect", &broker.local_addr().to_string()])
        .args(["--certs", folder.path().to_str().unwrap()])
        .args(["--producers", &producers.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = clients.stdout.take().unwrap();
    let connected = tokio::task::spawn_blocking(move || told.read(&mut [0; 16]).unwrap());
    assert!(
        connected.await.unwrap() > 0,
        "the producers did not connect"
    );
    // What the handshakes needed is given back first.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (held, cpu) = (memory() - before, cpu());
    tokio::time::sleep(Duration::from_secs(seconds.into())).await;
    let spent = self::cpu() - cpu;
    drop(clients.stdin.take());
    clients.wait().unwrap();
    let (each, share) = (
        held / 1024.0 / f64::from(producers),
        spent / f64::from(seconds) * 100.0,
    );
    println!(
        "{producers} idle producers: {each:.1} KiB of the broker's memory each, {share:.2} % of a core in all"
    );
    // The clients are gone without a word, so the broker has no client to wait for.
    drop(broker);
}

/// The bytes of this process that are in memory.
fn memory() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: f64 = line
        .unwrap()
        .trim()
        .trim_end_matches("kB")
        .trim()
        .parse()
        .unwrap();
    kib * 1024.0
}

/// The seconds of CPU time of this process, by the scheduler's own count.
fn cpu() -> f64 {
    let mut nanos = 0.0;
    for task in fs::read_dir("/proc/self/task").unwrap() {
        let stat = fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
        nanos += stat.split(' ').next().unwrap().parse::<f64>().unwrap();
    }
    nanos / 1e9
}
