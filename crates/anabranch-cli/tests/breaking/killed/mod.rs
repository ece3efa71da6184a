//! Real processes that are killed under load: the broker, a producer and a consumer, at random moments.
//!
//! ```text
//! harness ─ SIGKILL ─▶ anabranch serve        (the program, with its log on disk)
//!         ─ SIGKILL ─▶ this test, as producer ─▶ file: called, acknowledged   ─┐
//!         ─ SIGKILL ─▶ this test, as consumer ─▶ file: began, delivered, acks ─┴▶ history ─▶ violations
//! ```
//!
//! A process writes each line with one call of the system before it goes on, so that what it knew when it was killed is in
//! its file.

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

/// Kills of the everyday suite.
const FEW: u64 = 12;

/// Longer than any process takes to get back to work.
const PATIENCE: Duration = Duration::from_secs(60);

fn connection(port: u16, data: &Path) -> conn::Config {
    let mut config = conn::Config::to(format!("localhost:{port}"));
    config.tls = ClientTls::trusting(Trust::CaFile(data.join("ca.pem")));
    config.connect_timeout = PATIENCE;
    config.reconnect_backoff.max = Duration::from_millis(500);
    config
}

/// Everything in the topic, read by a consumer without a name.
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

/// The three processes, and how often each was killed.
struct Stage<'a> {
    folder: &'a Path,
    port: u16,
    broker: Process,
    producer: Process,
    consumer: Process,
    producers: u64,
    consumers: u64,
}

impl<'a> Stage<'a> {
    fn set(folder: &'a Path) -> Self {
        let port = process::free_port();
        let broker = Process::broker(folder, port);
        let mut stage = Self {
            folder,
            port,
            broker,
            producer: Process::client(Victim::Producer, folder, port, 1),
            consumer: Process::client(Victim::Consumer, folder, port, 1),
            producers: 1,
            consumers: 1,
        };
        stage.wait_for_work(Victim::Producer);
        stage.wait_for_work(Victim::Consumer);
        stage
    }

    /// Kills one process and starts another one in its place.
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

    /// Ends the load, waits until everything was read, and gives what happened.
    fn end(mut self) -> History {
        self.producer.end_in_order();
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
    let number = |name: &str| std::env::var(name).ok()?.parse().ok();
    let kills = number("ANABRANCH_KILLS").unwrap_or(FEW);
    let seed = number("ANABRANCH_KILL_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("ANABRANCH_KILL_SEED={seed} draws the same victims and pauses; the rest is chance");
    let mut dice = Rng::with_seed(seed);
    let (folder, began) = (tempfile::tempdir().unwrap(), Instant::now());
    let mut stage = Stage::set(folder.path());
    let mut tally = Tally::default();
    for n in 0..kills {
        // Each in turn first, so that a short run kills all of them.
        let victim = match n {
            0..3 => Victim::ALL[usize::try_from(n).unwrap()],
            _ => dice.choice(Victim::ALL).unwrap(),
        };
        std::thread::sleep(Duration::from_millis(dice.u64(0..400)));
        stage.kill(victim);
        tally.count(Part::Kills, victim.name());
        // Sometimes at once again, mostly under load.
        if dice.u8(0..4) > 0 {
            stage.wait_for_work(Victim::Producer);
            stage.wait_for_work(Victim::Consumer);
        }
    }
    stage.wait_for_work(Victim::Producer);
    let history = stage.end();
    count(&history, &mut tally);
    let violations = history.violations();
    tally.judge(&violations);
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
                    Outcome::NotStored => "not stored, and said so",
                    Outcome::Unknown => "not known",
                },
            ),
            _ => {}
        }
    }
    tally.add(Part::Outcomes, "in the topic", history.topic.len() as u64);
}
