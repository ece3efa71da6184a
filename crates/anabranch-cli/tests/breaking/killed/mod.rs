//! Real processes that are killed under load: the broker, a producer and a consumer, at random moments.
//!
//! ```text
//! test ─ SIGKILL ─▶ anabranch serve          (the program, with its log on disk)
//!      ─ SIGKILL ─▶ this test, as producer ─▶ file: called, acknowledged   ─┐
//!      ─ SIGKILL ─▶ this test, as consumer ─▶ file: began, delivered, acks ─┴▶ history ─▶ violations
//! ```
//!
//! A process writes each line with one system call before it continues, so that its file has everything it knew when it was
//! killed.

mod consumer;
mod notes;
mod process;
mod producer;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anabranch::{
    Consumer,
    conn::{self, ClientTls, Trust},
    consumer::Start,
};
use fastrand::Rng;

use self::process::{Part as Victim, Process};
use crate::{
    history::{Event, History, MessageId},
    tally::{Part, Tally},
};

const TOPIC: &str = "killed";

/// Number of kills without `ANABRANCH_KILLS`.
const FEW: u64 = 12;

/// Time limit for a process to get back to work.
const PATIENCE: Duration = Duration::from_secs(60);

fn connection(port: u16, data: &Path) -> conn::Config {
    let mut config = conn::Config::to(format!("localhost:{port}"));
    config.tls = ClientTls::trusting(Trust::CaFile(data.join("ca.pem")));
    config.connect_timeout = PATIENCE;
    config.reconnect_backoff.max = Duration::from_millis(500);
    config
}

/// Reads the whole topic, with a consumer without a name.
async fn topic(connection: conn::Config) -> Vec<(u64, MessageId)> {
    let mut consumer = Consumer::builder()
        .connection(connection)
        .topic(TOPIC)
        .from(Start::Earliest)
        .subscribe()
        .await
        .unwrap();
    let mut all = Vec::new();
    while !consumer.is_caught_up() {
        let received = consumer.recv().await.unwrap();
        all.push((received.offset.0, notes::id_of(&received.record.payload)));
    }
    all
}

/// The three processes, and the number of producers and consumers so far.
struct Processes<'a> {
    folder: &'a Path,
    port: u16,
    broker: Process,
    producer: Process,
    consumer: Process,
    producers: u64,
    consumers: u64,
}

impl<'a> Processes<'a> {
    fn start(folder: &'a Path) -> Self {
        let port = process::free_port();
        let broker = Process::broker(folder, port);
        let mut processes = Self {
            folder,
            port,
            broker,
            producer: Process::client(Victim::Producer, folder, port, 1),
            consumer: Process::client(Victim::Consumer, folder, port, 1),
            producers: 1,
            consumers: 1,
        };
        processes.wait_for_work(Victim::Producer);
        processes.wait_for_work(Victim::Consumer);
        processes
    }

    /// Kills one process, and starts another one in its place.
    fn kill(&mut self, victim: Victim) {
        match victim {
            Victim::Broker => {
                self.broker.kill();
                self.broker = Process::broker(self.folder, self.port);
            }
            Victim::Producer => {
                self.producer.kill();
                self.producers += 1;
                self.producer = Process::client(victim, self.folder, self.port, self.producers);
            }
            Victim::Consumer => {
                self.consumer.kill();
                self.consumers += 1;
                self.consumer = Process::client(victim, self.folder, self.port, self.consumers);
            }
        }
    }

    /// Waits until the client process has written something down since this call.
    fn wait_for_work(&mut self, client: Victim) {
        let life = match client {
            Victim::Consumer => self.consumers,
            _ => self.producers,
        };
        let file = notes::file(self.folder, client, life);
        let len = || std::fs::metadata(&file).map_or(0, |about| about.len());
        let (began, before) = (Instant::now(), len());
        while len() == before {
            assert!(began.elapsed() < PATIENCE, "{client:?} {life} does nothing");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends the load, waits until everything was read, and returns the history.
    fn end(mut self) -> History {
        self.producer.end_gracefully();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let data = self.folder.join("data");
        let stored = runtime.block_on(topic(connection(self.port, &data)));
        let last = stored.last().map(|(offset, _)| *offset);
        let read = notes::file(self.folder, Victim::Consumer, self.consumers);
        let began = Instant::now();
        while notes::last_delivered(&read) < last {
            assert!(began.elapsed() < PATIENCE, "the consumer does not read on");
            std::thread::sleep(Duration::from_millis(20));
        }
        self.consumer.kill();
        let mut history = History {
            events: Vec::new(),
            topic: stored,
        };
        for life in 1..=self.producers {
            let file = notes::file(self.folder, Victim::Producer, life);
            notes::read_producer(&file, life, &mut history);
            if life < self.producers {
                history.push(Event::Killed {
                    producer: crate::history::ProducerNumber(life),
                });
            }
        }
        for life in 1..=self.consumers {
            let file = notes::file(self.folder, Victim::Consumer, life);
            notes::read_consumer(&file, life, &mut history);
        }
        history
    }
}

#[test]
fn processes_that_are_killed_under_load_lose_and_repeat_nothing() {
    match process::role() {
        Some(role) if role.part == Victim::Producer => return producer::run(&role),
        Some(role) => return consumer::run(&role),
        None => {}
    }
    let number = |name: &str| std::env::var(name).ok()?.parse().ok();
    let kills = number("ANABRANCH_KILLS").unwrap_or(FEW);
    let seed = number("ANABRANCH_KILL_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!(
        "ANABRANCH_KILL_SEED={seed} repeats the victims and pauses, but not the timing of the processes"
    );
    let mut rng = Rng::with_seed(seed);
    let (folder, began) = (tempfile::tempdir().unwrap(), Instant::now());
    let mut processes = Processes::start(folder.path());
    let mut tally = Tally::default();
    for n in 0..kills {
        // The first three kill each part once.
        let victim = match n {
            0..3 => Victim::ALL[usize::try_from(n).unwrap()],
            _ => rng.choice(Victim::ALL).unwrap(),
        };
        std::thread::sleep(Duration::from_millis(rng.u64(0..400)));
        processes.kill(victim);
        tally.count(Part::Kills, victim.name());
        // Mostly under load, sometimes at once again.
        if rng.u8(0..4) > 0 {
            processes.wait_for_work(Victim::Producer);
            processes.wait_for_work(Victim::Consumer);
        }
    }
    processes.wait_for_work(Victim::Producer);
    let history = processes.end();
    count(&history, &mut tally);
    let violations = history.violations();
    tally.add_violations(&violations);
    tally.runs = 1;
    for violation in violations.iter().take(50) {
        println!("{violation}");
    }
    println!(
        "\n{kills} processes killed under load, in {:.1} s:\n{tally}",
        began.elapsed().as_secs_f64()
    );
    assert_eq!(tally.violations, 0);
    assert!(
        tally.get(Part::Outcomes, "stored") > kills * 10,
        "there was no load"
    );
}

fn count(history: &History, tally: &mut Tally) {
    use crate::history::Outcome;
    for event in &history.events {
        match event {
            Event::Called { .. } => tally.count(Part::Operations, "messages sent"),
            Event::Acknowledged { .. } => tally.count(Part::Operations, "acknowledge"),
            Event::Delivered { .. } => tally.count(Part::Outcomes, "delivered to a consumer"),
            Event::Ended { outcome, .. } => tally.count(
                Part::Outcomes,
                match outcome {
                    Outcome::Stored(_) => "stored",
                    Outcome::NotStored => "failed, not stored",
                    Outcome::Unknown => "failed, fate unknown",
                },
            ),
            _ => {}
        }
    }
    tally.add(Part::Outcomes, "in the topic", history.topic.len() as u64);
}
