//! Runs one scenario with one strategy, in virtual time: a real producer and a real broker over a simulated link.
//!
//! ```text
//! schedule ─▶ producer ─▶ quinn ─▶ simulated link ─▶ quinn ─▶ broker ─▶ recording store (time of storing) ─▶ memory
//!     ▲           │ receipts (time of acknowledging)
//!  virtual time   └─ sampler, recorder: backlog, lanes, window, decisions
//! ```

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::sync::mpsc;

use super::{
    Outcome, Packets, Scenario, ScenarioError, Strategy,
    analysis::{Observations, Runs, Times},
    recording_policy::Recorder,
    recording_store::{Deliveries, NEVER, RecordingStore, payload},
    trace::Sampler,
};
use crate::{identity::identity, stats::nanos, tasks::Tasks, time};
use anabranch::{
    broker::{self, Broker},
    conn::{ClientTls, TransportConfig, Trust},
    producer::{self, Producer, Receipt},
    scaler::{Adaptive, Fixed},
    sim::{self, Change, Host, Network},
};

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const BROKER: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), broker::DEFAULT_PORT);
/// Number of streams the broker permits with one stream per message.
const PER_MESSAGE_STREAMS: u32 = 4096;
/// Smallest time limit for messages to get their outcome after the load.
const MIN_DRAIN: Duration = Duration::from_secs(10);
/// Capacity of the channel of receipts.
const RECEIPTS: usize = 4096;

/// Why a scenario could not be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The scenario is not valid.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// The broker does not start.
    #[error("cannot start the broker")]
    Broker(#[from] broker::StartError),
    /// The producer does not start, or does not connect, for instance because the link loses everything.
    #[error("cannot start the producer")]
    Producer(#[from] producer::StartError),
}

/// Runs `scenario` with `strategy`, on this thread.
///
/// # Errors
/// When the scenario is not valid, or an end does not start.
///
/// # Panics
/// In a thread that runs a tokio runtime, and when the run does not end within an hour of virtual time.
pub fn run(scenario: &Scenario, strategy: Strategy) -> Result<Outcome, RunError> {
    scenario.check()?;
    let mut merged: Option<Runs> = None;
    for run in 0..u64::from(scenario.runs) {
        let measured = once(scenario, strategy, scenario.seed.wrapping_add(run))?;
        match &mut merged {
            Some(merged) => merged.merge(measured),
            none => *none = Some(measured),
        }
    }
    let measured = merged.ok_or_else(|| ScenarioError::new("runs", "must be at least 1"))?;
    Ok(measured.into_outcome())
}

fn once(scenario: &Scenario, strategy: Strategy, seed: u64) -> Result<Runs, RunError> {
    let before = time::thread_cpu();
    // The producer draws names and nonces from the generator of this thread.
    fastrand::seed(seed);
    let measured = sim::run(seed, async |network| {
        let run = Run {
            scenario,
            strategy,
            network,
        };
        run.drive().await
    });
    let mut measured = measured?;
    measured.outcome.cpu_seconds = time::thread_cpu()
        .zip(before)
        .map(|(after, before)| after.saturating_sub(before).as_secs_f64());
    Ok(measured)
}

struct Run<'a> {
    scenario: &'a Scenario,
    strategy: Strategy,
    network: Network,
}

impl Run<'_> {
    async fn drive(self) -> Result<Runs, RunError> {
        let scenario = self.scenario;
        let (there, _back) = self
            .network
            .connect(CLIENT, BROKER.ip(), scenario.link())
            .map_err(|error| ScenarioError::new("link", error.to_string()))?;
        let seed = self.network.seed();
        let due: Vec<u64> = scenario.schedule(seed).map(nanos).collect();
        let deliveries: Deliveries = Arc::new(Mutex::new(vec![NEVER; due.len()]));
        let recorder = Recorder::new(time::now());
        let broker = self.broker(&deliveries).await?;
        let producer = self.producer(&recorder).await?;

        let tasks = Tasks::new();
        let sampler = Sampler::new(self.strategy == Strategy::PerMessage);
        let sampling = sampler.clone().run(
            self.network.clone(),
            producer.clone(),
            there.clone(),
            scenario.duration,
        );
        tasks.spawn(tasks.stopped().clone().run_until_cancelled_owned(sampling));
        let moments = scenario.lose_at.iter().map(|at| (*at, Change::LoseNext(1)));
        there
            .schedule(moments)
            .map_err(|error| ScenarioError::new("lose-at", error.to_string()))?;

        let (receipts, incoming) = mpsc::channel(RECEIPTS);
        let collecting = tasks.spawn(collect(self.network.clone(), incoming, due.len()));
        let began = self.network.elapsed();
        recorder.begin(time::now());
        let limit = scenario.duration + scenario.duration.max(MIN_DRAIN);
        let mut blocked = Duration::ZERO;
        let sending = self.send(&producer, began, &due, receipts, &mut blocked);
        if time::timeout(limit, sending).await.is_ok() {
            let left = (began + limit).saturating_sub(self.network.elapsed());
            let _ = producer.flush(left).await;
        }
        let end = self.network.elapsed();
        self.network.sleep(scenario.tail).await;

        let lanes = producer.lanes();
        let link = there.counters();
        tasks.stop();
        // Undelivered messages are handed back, and their receipts fail.
        let _ = producer.close(Duration::ZERO).await;
        let answered = collecting.await.unwrap_or_default();
        drop(broker);

        let since = |at: u64| match at {
            NEVER => NEVER,
            at => at.saturating_sub(nanos(began)),
        };
        let stored = {
            let mut stored = deliveries.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *stored)
        };
        let times = Times {
            due,
            stored: stored.into_iter().map(since).collect(),
            answered: answered.into_iter().map(since).collect(),
            blocked,
            end: nanos(end - began),
        };
        let packets = Packets {
            sent: link.sent.packets,
            lost: link.dropped.total(),
            dropped: link.dropped.queue_full,
        };
        let observed = Observations {
            lanes,
            packets,
            samples: sampler.samples(),
            decisions: recorder.decided(),
        };
        Ok(Runs::new(scenario, self.strategy, times, observed))
    }

    async fn broker(&self, deliveries: &Deliveries) -> Result<Broker, broker::StartError> {
        let scenario = self.scenario;
        let store = RecordingStore::new(
            self.network.clone(),
            scenario.store_delay,
            scenario.store_rate,
            Arc::clone(deliveries),
        );
        let mut settings = TransportConfig::server();
        if self.strategy == Strategy::PerMessage {
            settings.max_streams = PER_MESSAGE_STREAMS;
        }
        if let Some(streams) = scenario.peer_streams {
            settings.max_streams = streams;
        }
        if let Some(window) = scenario.peer_window {
            settings.stream_receive_window = window;
        }
        // Answers are congestion controlled too.
        settings.congestion = scenario.congestion.into();
        let delay = scenario.broker_delay;
        Broker::builder()
            .listen(BROKER)
            .tls(identity().0.clone())
            .store(Arc::new(store))
            .transport(settings)
            .stream_delay((!delay.is_zero()).then_some(delay))
            .network(Arc::new(Host::new(&self.network, BROKER.ip())))
            .bind()
            .await
    }

    async fn producer(&self, recorder: &Recorder) -> Result<Producer, producer::StartError> {
        let scenario = self.scenario;
        let mut config = producer::Config::default();
        config.connection.servers = vec![BROKER.to_string()];
        config.connection.tls = ClientTls::trusting(Trust::Pinned(identity().1));
        config.connection.network = Arc::new(Host::new(&self.network, CLIENT));
        config.connection.transport.congestion = scenario.congestion.into();
        config.connection.connect_timeout = Duration::from_secs(60);
        config.buffer_bytes = scenario.buffer;
        // Longer than any run.
        config.delivery_timeout = Duration::from_hours(2);
        config.scaler.lane_window = scenario.lane_window;
        config.scaler.backlog_threshold = scenario.backlog_threshold;
        config.scaler.max_lanes = scenario.max_lanes;
        config.scaler.idle_timeout = scenario.idle_timeout;
        let strategy = match self.strategy {
            Strategy::Adaptive => {
                let policy = Adaptive::new(config.scaler.clone())
                    .map_err(|error| ScenarioError::new("scaler", error.to_string()));
                match policy {
                    Ok(policy) => {
                        let recorder = recorder.clone();
                        producer::Strategy::custom(move || recorder.around(policy.clone()))
                    }
                    // The producer reports the same error.
                    Err(_) => producer::Strategy::Adaptive,
                }
            }
            Strategy::Static(lanes) => {
                let recorder = recorder.clone();
                producer::Strategy::custom(move || recorder.around(Fixed::new(lanes)))
            }
            Strategy::PerMessage => {
                let streams = usize::try_from(PER_MESSAGE_STREAMS).unwrap_or(usize::MAX);
                producer::Strategy::PerMessage(streams.try_into().expect("4096 is not 0"))
            }
        };
        let builder = Producer::builder().config(config).topic("laboratory");
        builder.strategy(strategy).connect().await
    }

    /// Sends every message when it is due, or as soon after as the producer has room.
    async fn send(
        &self,
        producer: &Producer,
        began: Duration,
        due: &[u64],
        receipts: mpsc::Sender<(usize, Receipt)>,
        blocked: &mut Duration,
    ) {
        for (number, at) in due.iter().enumerate() {
            let moment = began + Duration::from_nanos(*at);
            let wait = moment.saturating_sub(self.network.elapsed());
            if !wait.is_zero() {
                self.network.sleep(wait).await;
            }
            let asked = self.network.elapsed();
            let payload = payload(number as u64, self.scenario.size);
            let Ok(receipt) = producer.send_async(payload).await else {
                return;
            };
            *blocked += self.network.elapsed() - asked;
            if receipts.send((number, receipt)).await.is_err() {
                return;
            }
        }
    }
}

/// Awaits every receipt. Returns when each message was acknowledged, in nanoseconds since the run began.
async fn collect(
    network: Network,
    mut incoming: mpsc::Receiver<(usize, Receipt)>,
    messages: usize,
) -> Vec<u64> {
    let mut answered = vec![NEVER; messages];
    let mut open = FuturesUnordered::new();
    let mut more = true;
    while more || !open.is_empty() {
        tokio::select! {
            biased;
            receipt = incoming.recv(), if more => match receipt {
                Some((number, receipt)) => open.push(async move { (number, receipt.await) }),
                None => more = false,
            },
            Some((number, outcome)) = open.next(), if !open.is_empty() => {
                if outcome.is_ok() {
                    answered[number] = nanos(network.elapsed());
                }
            }
        }
    }
    answered
}
