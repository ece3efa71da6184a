//! Runs flows over quinn alone on one bottleneck.
//!
//! ```text
//! Flow: controller, start, load ─▶ quinn ─┐                             ┌─▶ quinn: counts, times of messages
//! Flow: controller, start, load ─▶ quinn ─┴─▶ one link, one queue ──────┴─▶ quinn
//!                                              ▲ changes       └─ sampled every few ms ─▶ Record
//! ```
//!
//! There is no producer and no broker, because they add lanes, batches and windows; the module `lanes` measures those. A
//! flow has 64 streams, as many as the lanes of a producer.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use quinn::{Connection, Endpoint, RecvStream};

use super::record::{Record, Sample};
use crate::{identity::identity, tasks::Tasks, time};
use anabranch::{
    conn::{self, Admission, ClientTls, Congestion, TransportConfig, Trust},
    sim::{self, Change, Direction, Host, LinkConfig, Network, Rate},
};

const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 1, 1)), 4433);
/// Number of streams of each flow.
pub(super) const STREAMS: u8 = 64;
/// Payload of a message, in bytes.
pub(super) const MESSAGE: u32 = 1024;
/// Size of a write of a greedy flow, in bytes.
const CHUNK: usize = 16 * 1024;

/// A flow: one sender.
#[derive(Debug, Clone)]
pub(super) struct Flow {
    pub(super) congestion: Congestion,
    pub(super) start: Duration,
    /// Messages of 1 KiB, evenly spaced at this rate. `None` for a greedy flow.
    pub(super) load: Option<Rate>,
}

/// A bottleneck, its flows, and changes over time.
#[derive(Debug, Clone)]
pub(super) struct Trial {
    pub(super) there: LinkConfig,
    pub(super) back: LinkConfig,
    pub(super) flows: Vec<Flow>,
    pub(super) duration: Duration,
    /// Changes of the rate of `there`.
    pub(super) rates: Vec<(Duration, Rate)>,
    /// Changes of the delay of both directions.
    pub(super) delays: Vec<(Duration, Duration)>,
    /// Time between two samples.
    pub(super) step: Duration,
    /// Send window of a sender, in bytes.
    pub(super) send_window: u32,
    /// Receive window of a stream, in bytes.
    pub(super) stream_window: u32,
    pub(super) seed: u64,
}

/// What has arrived of a flow.
#[derive(Debug, Default)]
struct Arrivals {
    delivered: u64,
    /// When the first message was due, and the time between two messages.
    began: Option<(Duration, Duration)>,
    /// When each arrived message was due, and its delivery time.
    times: Vec<(Duration, Duration)>,
}

type SharedArrivals = Arc<Mutex<Arrivals>>;

fn lock(flow_arrivals: &SharedArrivals) -> MutexGuard<'_, Arrivals> {
    flow_arrivals.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a trial on this thread.
///
/// # Panics
/// When the link is not valid, and in a thread that runs a tokio runtime.
pub(super) fn run_trial(trial: &Trial) -> Record {
    fastrand::seed(trial.seed);
    sim::run(trial.seed, async |network| drive(&network, trial).await)
}

async fn drive(network: &Network, trial: &Trial) -> Record {
    let there = network
        .direction(trial.there.clone())
        .expect("the links of the cases are valid");
    let back = network
        .direction(trial.back.clone())
        .expect("the links of the cases are valid");
    let tasks = Tasks::new();
    let arrivals: Vec<SharedArrivals> = trial
        .flows
        .iter()
        .map(|_| SharedArrivals::default())
        .collect();
    let mut settings = TransportConfig::server();
    // The connection's receive window is never the limit.
    settings.stream_receive_window = trial.stream_window;
    settings.receive_window = 1 << 30;
    settings.send_window = trial.send_window;
    // Window updates and acknowledgements of the server are congestion controlled too.
    if let Some(flow) = trial.flows.first() {
        settings.congestion = flow.congestion.clone();
    }
    serve(network, &settings, &arrivals, &tasks);
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
            flow_arrivals: Arc::clone(&arrivals[place]),
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
            .expect("the changes of the cases are valid");
    }
    let samples = watch(network, trial, &there, &arrivals).await;
    tasks.stop();
    let times = arrivals
        .iter()
        .map(|flow_arrivals| std::mem::take(&mut lock(flow_arrivals).times));
    Record::new(samples, times.collect())
}

async fn watch(
    network: &Network,
    trial: &Trial,
    there: &Direction,
    arrivals: &[SharedArrivals],
) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut at = trial.step;
    while at <= trial.duration {
        network.sleep(at.saturating_sub(network.elapsed())).await;
        let counters = there.counters();
        samples.push(Sample {
            at,
            queue: counters.queue_bytes,
            passed: counters.delivered.bytes,
            sent: counters.sent.packets,
            dropped: counters.dropped.queue_full + counters.dropped.policed,
            delivered: arrivals
                .iter()
                .map(|flow_arrivals| lock(flow_arrivals).delivered)
                .collect(),
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
    flow_arrivals: SharedArrivals,
    tasks: Tasks,
}

impl Sender {
    async fn run(self) {
        self.network.sleep(self.flow.start).await;
        let Some((_endpoint, connection)) = self.connect().await else {
            return;
        };
        let sending = match self.flow.load {
            None => self.send_greedily(&connection).await,
            Some(rate) => self.send_messages(&connection, rate).await,
        };
        // A broken connection shows in the figures, because nothing arrives any more.
        drop(sending);
        self.tasks.stopped().cancelled().await;
    }

    async fn connect(&self) -> Option<(Endpoint, Connection)> {
        let tls = ClientTls::trusting(Trust::Pinned(identity().1))
            .to_rustls()
            .ok()?;
        let config = conn::internals::client_config(tls).ok()?;
        let monitor = Arc::new(conn::internals::PathMonitor::new(time::now()));
        let config = conn::internals::client_config_for(&config, &self.settings, monitor);
        let here = SocketAddr::new(self.host, 0);
        let host = Host::new(&self.network, self.host);
        let endpoint = conn::internals::client_endpoint(here, &self.settings, &host).ok()?;
        let connecting = endpoint.connect_with(config, SERVER, "sim").ok()?;
        Some((endpoint, connecting.await.ok()?))
    }

    /// Sends as much as possible, on all streams.
    async fn send_greedily(&self, connection: &Connection) -> Result<(), quinn::WriteError> {
        for number in 0..STREAMS {
            let (mut stream, _) = connection.open_bi().await?;
            let stopped = self.tasks.stopped().clone();
            // The first byte of a stream is its number.
            let chunk = vec![number; CHUNK];
            let writing = async move { while stream.write_all(&chunk).await.is_ok() {} };
            self.tasks.spawn(stopped.run_until_cancelled_owned(writing));
        }
        Ok(())
    }

    /// Sends evenly spaced messages, each on the next stream.
    async fn send_messages(
        &self,
        connection: &Connection,
        rate: Rate,
    ) -> Result<(), quinn::WriteError> {
        let mut streams = Vec::new();
        for number in 0..STREAMS {
            let (mut stream, _) = connection.open_bi().await?;
            stream.write_all(&[number]).await?;
            streams.push(stream);
        }
        let gap = rate.time_for(MESSAGE.into());
        let began = self.network.elapsed();
        lock(&self.flow_arrivals).began = Some((began, gap));
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

fn serve(
    network: &Network,
    settings: &TransportConfig,
    arrivals: &[SharedArrivals],
    tasks: &Tasks,
) {
    let host = Host::new(network, SERVER.ip());
    let tls = identity().0.to_rustls().expect("the certificate is valid");
    let config = conn::internals::server_config(tls, settings, &Admission::default())
        .expect("the TLS options are valid");
    let endpoint = conn::internals::server_endpoint(SERVER, config, settings, &host, None)
        .expect("the address is free");
    let (network, arrivals, all) = (network.clone(), arrivals.to_vec(), tasks.clone());
    let accepting = async move {
        while let Some(incoming) = endpoint.accept().await {
            let Ok(connection) = incoming.await else {
                continue;
            };
            let IpAddr::V4(address) = connection.remote_address().ip() else {
                continue;
            };
            let Some(flow_arrivals) =
                arrivals.get(usize::from(address.octets()[3]).wrapping_sub(1))
            else {
                continue;
            };
            let (flow_arrivals, network, each) =
                (Arc::clone(flow_arrivals), network.clone(), all.clone());
            let reading = async move {
                while let Ok((_, stream)) = connection.accept_bi().await {
                    let stopped = each.stopped().clone();
                    let reading = read(network.clone(), Arc::clone(&flow_arrivals), stream);
                    each.spawn(stopped.run_until_cancelled_owned(reading));
                }
            };
            all.spawn(all.stopped().clone().run_until_cancelled_owned(reading));
        }
    };
    tasks.spawn(tasks.stopped().clone().run_until_cancelled_owned(accepting));
}

/// Counts the bytes of a stream, and records the times of its messages if the flow has any.
async fn read(network: Network, flow_arrivals: SharedArrivals, mut stream: RecvStream) {
    let mut lane = None;
    let (mut bytes, mut messages) = (0_u64, 0_u32);
    while let Ok(Some(chunk)) = stream.read_chunk(usize::MAX, true).await {
        let lane = *lane.get_or_insert(u32::from(chunk.bytes.first().copied().unwrap_or(0)));
        let now = network.elapsed();
        let mut flow_arrivals = lock(&flow_arrivals);
        let new = u64::try_from(chunk.bytes.len()).unwrap_or(u64::MAX);
        flow_arrivals.delivered += new;
        bytes += new;
        let Some((began, gap)) = flow_arrivals.began else {
            continue;
        };
        // The first byte is the number of the stream.
        while bytes > u64::from(MESSAGE) * u64::from(messages + 1) {
            let number = lane + messages * u32::from(STREAMS);
            messages += 1;
            let due = began + gap * number;
            flow_arrivals.times.push((due, now.saturating_sub(due)));
        }
    }
}
