//! Flows over quinn alone on one bottleneck: what a congestion controller is worth, and beside whom.
//!
//! ```text
//! Flow: controller, start, load ─▶ quinn ─┐                             ┌─▶ quinn, counts and times what arrives
//! Flow: controller, start, load ─▶ quinn ─┴─▶ one link, one queue ──────┴─▶ quinn
//!                                              ▲ changes       └─ sampled every few ms ─▶ Record
//! ```
//!
//! No producer and no broker: they add lanes, batches and a window of their own, and the laboratory [measures](super::run)
//! them elsewhere. A flow has 64 streams, as many lanes as a producer can have.

mod record;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use quinn::{Connection, Endpoint, RecvStream};

use super::run::identity;
use crate::{tasks::Tasks, time};
use anabranch::{
    conn::{self, Admission, ClientTls, Congestion, TransportConfig, Trust},
    sim::{self, Change, Direction, Host, LinkConfig, Network, Rate},
};
use record::Sample;
pub(super) use record::{Record, jain};

const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 1, 1)), 4433);
/// The streams of each flow.
pub(super) const STREAMS: u8 = 64;
/// The payload of a message.
pub(super) const MESSAGE: u32 = 1024;
/// What is written at once where there is always more.
const CHUNK: usize = 16 * 1024;

/// One sender.
#[derive(Debug, Clone)]
pub(super) struct Flow {
    pub(super) congestion: Congestion,
    pub(super) start: Duration,
    /// Messages of 1 KiB at this rate, evenly; `None` for as much as goes.
    pub(super) load: Option<Rate>,
}

/// What is played.
#[derive(Debug, Clone)]
pub(super) struct Trial {
    pub(super) there: LinkConfig,
    pub(super) back: LinkConfig,
    pub(super) flows: Vec<Flow>,
    pub(super) duration: Duration,
    /// Changes of the direction that carries the flows, and of both.
    pub(super) rates: Vec<(Duration, Rate)>,
    pub(super) delays: Vec<(Duration, Duration)>,
    /// How often it is looked at.
    pub(super) step: Duration,
    /// The most that a sender may have written and not yet delivered, in bytes.
    pub(super) send_window: u32,
    /// The most that may be unread on one stream, in bytes.
    pub(super) stream_window: u32,
    pub(super) seed: u64,
}

/// What arrived of one flow.
#[derive(Debug, Default)]
struct Book {
    delivered: u64,
    /// When the first message was due, and the time between two.
    began: Option<(Duration, Duration)>,
    /// Each message that is there: when it was due, and how long it took.
    times: Vec<(Duration, Duration)>,
}

type Shared = Arc<Mutex<Book>>;

fn open(book: &Shared) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Plays it, on this thread.
///
/// # Panics
/// Where the link cannot be, and in a thread that runs a tokio runtime.
pub(super) fn play(trial: &Trial) -> Record {
    fastrand::seed(trial.seed);
    sim::run(trial.seed, async |network| drive(&network, trial).await)
}

async fn drive(network: &Network, trial: &Trial) -> Record {
    let there = network
        .direction(trial.there.clone())
        .expect("rows have links that can be");
    let back = network
        .direction(trial.back.clone())
        .expect("rows have links that can be");
    let tasks = Tasks::new();
    let books: Vec<Shared> = trial.flows.iter().map(|_| Shared::default()).collect();
    let mut settings = TransportConfig::server();
    // Memory is never the limit.
    settings.stream_receive_window = trial.stream_window;
    settings.receive_window = 1 << 30;
    settings.send_window = trial.send_window;
    // Who gives credit for more needs a controller too that carries it.
    if let Some(flow) = trial.flows.first() {
        settings.congestion = flow.congestion.clone();
    }
    serve(network, &settings, &books, &tasks);
    for (place, flow) in trial.flows.iter().enumerate() {
        let number = u8::try_from(place + 1).expect("there are few flows");
        let host = IpAddr::V4(Ipv4Addr::new(10, 0, 0, number));
        network.route(host, SERVER.ip(), &there);
        network.route(SERVER.ip(), host, &back);
        let mut settings = settings.clone();
        settings.congestion = flow.congestion.clone();
        let sender = Sender {
            network: network.clone(),
            host,
            settings,
            flow: flow.clone(),
            book: Arc::clone(&books[place]),
            tasks: tasks.clone(),
        };
        tasks.spawn(sender.run());
    }
    let rates = trial
        .rates
        .iter()
        .map(|(at, rate)| (*at, Change::Rate(Some(*rate))));
    let delays = |(at, delay): &(Duration, Duration)| (*at, Change::Delay(*delay));
    for (direction, changes) in [
        (
            &there,
            rates.chain(trial.delays.iter().map(delays)).collect(),
        ),
        (&back, trial.delays.iter().map(delays).collect::<Vec<_>>()),
    ] {
        direction
            .schedule(changes)
            .expect("rows have changes that can be");
    }
    let samples = watch(network, trial, &there, &books).await;
    tasks.stop();
    let times = books
        .iter()
        .map(|book| std::mem::take(&mut open(book).times));
    Record::new(samples, times.collect())
}

async fn watch(
    network: &Network,
    trial: &Trial,
    there: &Direction,
    books: &[Shared],
) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut at = trial.step;
    while at <= trial.duration {
        network.sleep(at.saturating_sub(network.elapsed())).await;
        let counters = there.counters();
        samples.push(Sample {
            at,
            queue: counters.queue,
            passed: counters.delivered.bytes,
            sent: counters.sent.packets,
            dropped: counters.dropped.queue_full + counters.dropped.policed,
            delivered: books.iter().map(|book| open(book).delivered).collect(),
        });
        at += trial.step;
    }
    samples
}

struct Sender {
    network: Network,
    host: IpAddr,
    settings: TransportConfig,
    flow: Flow,
    book: Shared,
    tasks: Tasks,
}

impl Sender {
    async fn run(self) {
        self.network.sleep(self.flow.start).await;
        let Some((_endpoint, connection)) = self.connect().await else {
            return;
        };
        let sending = match self.flow.load {
            None => self.pour(&connection).await,
            Some(rate) => self.send(&connection, rate).await,
        };
        // A connection that breaks shows in the figures: nothing arrives any more.
        drop(sending);
        self.tasks.stopped().cancelled().await;
    }

    async fn connect(&self) -> Option<(Endpoint, Connection)> {
        let tls = ClientTls::trusting(Trust::Pinned(identity().1))
            .to_rustls()
            .ok()?;
        let config = conn::internals::client_config(tls).ok()?;
        let sight = Arc::new(conn::internals::PathMonitor::new(time::now()));
        let config = conn::internals::client_config_for(&config, &self.settings, sight);
        let here = SocketAddr::new(self.host, 0);
        let host = Host::new(&self.network, self.host);
        let endpoint = conn::internals::client_endpoint(here, &self.settings, &host).ok()?;
        let connecting = endpoint.connect_with(config, SERVER, "sim").ok()?;
        Some((endpoint, connecting.await.ok()?))
    }

    /// As much as goes, on all streams.
    async fn pour(&self, connection: &Connection) -> Result<(), quinn::WriteError> {
        for number in 0..STREAMS {
            let (mut stream, _) = connection.open_bi().await?;
            let stopped = self.tasks.stopped().clone();
            // Each byte is the stream's name, as the first is where messages come.
            let chunk = vec![number; CHUNK];
            let pouring = async move { while stream.write_all(&chunk).await.is_ok() {} };
            self.tasks.spawn(stopped.run_until_cancelled_owned(pouring));
        }
        Ok(())
    }

    /// One message after the other, each on the next stream.
    async fn send(&self, connection: &Connection, rate: Rate) -> Result<(), quinn::WriteError> {
        let mut streams = Vec::new();
        for number in 0..STREAMS {
            let (mut stream, _) = connection.open_bi().await?;
            stream.write_all(&[number]).await?;
            streams.push(stream);
        }
        let gap = rate.time_for(MESSAGE.into());
        let began = self.network.elapsed();
        open(&self.book).began = Some((began, gap));
        let message = [7; MESSAGE as usize];
        for number in 0_u32.. {
            let due = began + gap * number;
            let wait = due.saturating_sub(self.network.elapsed());
            if !wait.is_zero() {
                self.network.sleep(wait).await;
            }
            if self.tasks.stopped().is_cancelled() {
                break;
            }
            let lane = usize::try_from(number).unwrap_or_default() % usize::from(STREAMS);
            streams[lane].write_all(&message).await?;
        }
        Ok(())
    }
}

fn serve(network: &Network, settings: &TransportConfig, books: &[Shared], tasks: &Tasks) {
    let host = Host::new(network, SERVER.ip());
    let tls = identity().0.to_rustls().expect("the identity is sound");
    let config = conn::internals::server_config(tls, settings, &Admission::default())
        .expect("the identity speaks TLS 1.3");
    let endpoint = conn::internals::server_endpoint(SERVER, config, settings, &host, None)
        .expect("the address is free");
    let (network, books, all) = (network.clone(), books.to_vec(), tasks.clone());
    let accepting = async move {
        while let Some(incoming) = endpoint.accept().await {
            let Ok(connection) = incoming.await else {
                continue;
            };
            let IpAddr::V4(address) = connection.remote_address().ip() else {
                continue;
            };
            let Some(book) = books.get(usize::from(address.octets()[3]).wrapping_sub(1)) else {
                continue;
            };
            let (book, network, each) = (Arc::clone(book), network.clone(), all.clone());
            let reading = async move {
                while let Ok((_, stream)) = connection.accept_bi().await {
                    let stopped = each.stopped().clone();
                    let reading = read(network.clone(), Arc::clone(&book), stream);
                    each.spawn(stopped.run_until_cancelled_owned(reading));
                }
            };
            all.spawn(all.stopped().clone().run_until_cancelled_owned(reading));
        }
    };
    tasks.spawn(tasks.stopped().clone().run_until_cancelled_owned(accepting));
}

/// Counts what comes on a stream, and where messages come, times them.
async fn read(network: Network, book: Shared, mut stream: RecvStream) {
    let mut lane = None;
    let (mut bytes, mut messages) = (0_u64, 0_u32);
    while let Ok(Some(chunk)) = stream.read_chunk(usize::MAX, true).await {
        let lane = *lane.get_or_insert(u32::from(chunk.bytes.first().copied().unwrap_or(0)));
        let now = network.elapsed();
        let mut book = open(&book);
        let new = u64::try_from(chunk.bytes.len()).unwrap_or(u64::MAX);
        book.delivered += new;
        bytes += new;
        let Some((began, gap)) = book.began else {
            continue;
        };
        // The first byte is the lane's name.
        while bytes > u64::from(MESSAGE) * u64::from(messages + 1) {
            let number = lane + messages * u32::from(STREAMS);
            messages += 1;
            let due = began + gap * number;
            book.times.push((due, now.saturating_sub(due)));
        }
    }
}
