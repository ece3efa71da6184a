//! One scenario with one strategy, in virtual time: a real producer and a real broker over a simulated link.
//!
//! ```text
//! schedule ─▶ producer ─▶ quinn ─▶ simulated link ─▶ quinn ─▶ broker ─▶ tap (when was it stored?) ─▶ memory
//!     ▲           │ receipts (when was it answered?)
//!  virtual time   └─ sampler, recorder: backlog, lanes, window, decisions
//! ```

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::sync::mpsc;

use super::{
    Outcome, Packets, Scenario, ScenarioError, Strategy,
    controllers::congestion,
    cpu,
    measured::{Measured, Seen, Times, nanos},
    record::Recorder,
    store::{Deliveries, NEVER, Tap, payload},
    trace::Sampler,
};
use crate::{tasks::Tasks, time};
use anabranch::{
    broker::{self, Broker},
    conn::{
        ClientTls, ServerTls, TransportConfig, Trust,
        tls::{CertifiedKey, Fingerprint, Pem},
    },
    producer::{self, Producer, Receipt},
    scaler::{Adaptive, Fixed},
    sim::{self, Change, Host, Network},
};

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const BROKER: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), broker::DEFAULT_PORT);
/// The streams that a broker permits to those who take one a message.
const MANY_STREAMS: u32 = 4096;
/// How long the run goes on behind the load, at least, until all messages have their outcome.
const LEAST_DRAIN: Duration = Duration::from_secs(10);
/// Receipts on their way to who waits for them.
const RECEIPTS: usize = 4096;

/// Why a run did not take place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The scenario cannot be.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// There is no broker.
    #[error("the broker does not start")]
    Broker(#[from] broker::StartError),
    /// There is no producer, or no connection: the link may lose everything.
    #[error("the producer does not start")]
    Producer(#[from] producer::StartError),
}

/// Runs `scenario` with `strategy`, on this thread.
///
/// # Errors
/// Where it cannot be run.
///
/// # Panics
/// In a thread that runs a tokio runtime, and where the run does not end within an hour of virtual time.
pub fn run(scenario: &Scenario, strategy: Strategy) -> Result<Outcome, RunError> {
    scenario.check()?;
    let mut merged: Option<Measured> = None;
    for run in 0..u64::from(scenario.runs) {
        let measured = once(scenario, strategy, scenario.seed.wrapping_add(run))?;
        match &mut merged {
            Some(merged) => merged.add(measured),
            none => *none = Some(measured),
        }
    }
    let measured = merged.ok_or_else(|| ScenarioError::new("runs", "must be at least 1"))?;
    Ok(measured.settle())
}

fn once(scenario: &Scenario, strategy: Strategy, seed: u64) -> Result<Measured, RunError> {
    let before = cpu::used();
    // Names and nonces that the producer draws are of this thread's generator.
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
    measured.outcome.cpu_seconds = cpu::used()
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
    async fn drive(self) -> Result<Measured, RunError> {
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
        let looking = sampler.clone().run(
            self.network.clone(),
            producer.clone(),
            there.clone(),
            scenario.duration,
        );
        tasks.spawn(tasks.stopped().clone().run_until_cancelled_owned(looking));
        let moments = scenario.lose_at.iter().map(|at| (*at, Change::LoseNext(1)));
        there
            .schedule(moments)
            .map_err(|error| ScenarioError::new("lose-at", error.to_string()))?;

        let (receipts, incoming) = mpsc::channel(RECEIPTS);
        let collecting = tasks.spawn(collect(self.network.clone(), incoming, due.len()));
        let began = self.network.elapsed();
        recorder.begin(time::now());
        let limit = scenario.duration + scenario.duration.max(LEAST_DRAIN);
        let mut blocked = Duration::ZERO;
        let sending = self.send(&producer, began, &due, receipts, &mut blocked);
        if time::timeout(limit, sending).await.is_ok() {
            let left = (began + limit).saturating_sub(self.network.elapsed());
            let _ = producer.flush(left).await;
        }
        let end = self.network.elapsed();
        self.network.sleep(scenario.tail).await;

        let lanes = producer.lanes();
        let sight = there.counters();
        tasks.stop();
        // What is not delivered by now is handed back, and its receipt tells.
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
            sent: sight.sent.packets,
            lost: sight.dropped.total(),
            dropped: sight.dropped.queue_full,
        };
        let seen = Seen {
            lanes,
            packets,
            samples: sampler.samples(),
            decisions: recorder.decided(),
        };
        Ok(Measured::new(scenario, self.strategy, times, seen))
    }

    async fn broker(&self, deliveries: &Deliveries) -> Result<Broker, broker::StartError> {
        let scenario = self.scenario;
        let store = Tap::new(
            self.network.clone(),
            scenario.store_delay,
            scenario.store_rate,
            Arc::clone(deliveries),
        );
        let mut settings = TransportConfig::server();
        if self.strategy == Strategy::PerMessage {
            settings.max_streams = MANY_STREAMS;
        }
        if let Some(streams) = scenario.peer_streams {
            settings.max_streams = streams;
        }
        if let Some(window) = scenario.peer_window {
            settings.stream_receive_window = window;
        }
        // Answers need a controller too that carries them.
        settings.congestion = congestion(scenario.congestion);
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
        config.connection.transport.congestion = congestion(scenario.congestion);
        config.connection.connect_timeout = Duration::from_secs(60);
        config.buffer_bytes = scenario.buffer;
        // A run is over before anything is too late.
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
                    Ok(policy) => producer::Strategy::Custom(Box::new(recorder.around(policy))),
                    // The producer says the same of its options.
                    Err(_) => producer::Strategy::Adaptive,
                }
            }
            Strategy::Static(lanes) => {
                producer::Strategy::Custom(Box::new(recorder.around(Fixed::new(lanes))))
            }
            Strategy::PerMessage => {
                let streams = usize::try_from(MANY_STREAMS).unwrap_or(usize::MAX);
                producer::Strategy::PerMessage(
                    streams.try_into().expect("many streams are more than none"),
                )
            }
        };
        let builder = Producer::builder().config(config).topic("laboratory");
        builder.strategy(strategy).connect().await
    }

    /// Brings every message at its moment, or as soon after it as there is room.
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

/// Awaits every receipt, and answers when each message was acknowledged, in nanoseconds since the run began.
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

/// The broker's certificate, made once a process, and what tells it from others.
///
/// Ed25519: the signatures of other keys vary in length, and runs with them.
pub(super) fn identity() -> &'static (ServerTls, Fingerprint) {
    static IDENTITY: OnceLock<(ServerTls, Fingerprint)> = OnceLock::new();
    IDENTITY.get_or_init(|| {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("ring makes keys");
        let params = rcgen::CertificateParams::new([BROKER.ip().to_string()])
            .expect("an address can stand in a certificate");
        let certificate = params.self_signed(&key).expect("a key signs for itself");
        let shown = CertifiedKey {
            chain: Pem::Text(certificate.pem().into_bytes()),
            key: Pem::Text(key.serialize_pem().into_bytes()),
        };
        (
            ServerTls::presenting(shown),
            Fingerprint::of(certificate.der()),
        )
    })
}
