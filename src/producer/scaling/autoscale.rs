//! Drives the scaling policy: gathers what it sees, carries out what it decides, and reports why.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::{
    conn::Session,
    metrics::producer as metrics,
    producer::{
        accumulator::MAX_LANES,
        sender::{Lane, LaneContext, LaneSource, LaneState, LaneStats},
    },
    scaler::{Action, Decision, Load, Reason, ScalePolicy},
    tasks::Tasks,
    time,
};

/// A lane is stalled when it had no answer for this many times the 99th percentile of response times.
const STALLED_P99: u32 = 4;
/// A lane is stalled only after at least this many round trips without a response.
const STALLED_RTT: u32 = 2;

/// The lanes of a producer, and why there are as many.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Lanes {
    /// The number of lanes that are open now.
    pub open: usize,
    /// The most lanes that were open at once.
    pub peak: usize,
    /// The number of lanes opened since the producer began.
    pub opened: u64,
    /// The number of lanes retired since the producer began.
    pub retired: u64,
    /// The number of decisions by their reason, in the order of [`Reason::ALL`].
    pub decisions: [u64; Reason::ALL.len()],
}

/// Opens and retires the lanes of one producer.
pub(crate) struct Autoscale {
    context: LaneContext,
    tasks: Tasks,
    policy: Box<dyn ScalePolicy>,
    lanes: Vec<OpenLane>,
    /// The number of lanes opened so far.
    opened: u64,
    /// The number of the session at the last tick, and the packets that it had lost by then.
    packets_lost: (u64, u64),
    report: watch::Sender<Lanes>,
}

struct OpenLane {
    index: usize,
    retire: Arc<AtomicBool>,
}

impl Autoscale {
    pub(crate) fn new(
        context: LaneContext,
        tasks: Tasks,
        policy: Box<dyn ScalePolicy>,
        report: watch::Sender<Lanes>,
    ) -> Self {
        Self {
            context,
            tasks,
            policy,
            lanes: Vec::new(),
            opened: 0,
            packets_lost: (0, 0),
            report,
        }
    }

    /// Runs until the producer ends. The first lane runs from the start, with or without a connection, so that messages are
    /// taken and their deadlines kept.
    pub(crate) async fn run(mut self) {
        self.open(1);
        let stopped = self.context.transport.stopped();
        let mut state = self.context.transport.state();
        loop {
            let wake_after = self.tick();
            let wake = async {
                match wake_after {
                    Some(after) => time::sleep(after).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! { biased;
                () = stopped.cancelled() => return,
                () = self.context.accumulator.backlog().notified() => {}
                () = state.changed() => {}
                () = wake => {}
            }
        }
    }

    /// Asks the policy once and carries out its decision. Returns when to ask again.
    fn tick(&mut self) -> Option<Duration> {
        let stats = self.context.requests.stats();
        self.lanes.retain(|lane| {
            !lane.retire.load(Ordering::Relaxed) || stats.lane(lane.index).is_open()
        });
        let Some(session) = self.context.transport.session() else {
            self.publish(None);
            return None;
        };
        let now = time::now();
        let load = self.load(now, &session);
        let decision = self.policy.decide(now, &load);
        self.apply(&load, decision);
        let lanes = self.staying().count();
        let threshold = self.policy.backlog_threshold(lanes);
        // A backlog that is there already raises no alarm.
        let alarm = match load.queued_messages < threshold {
            true => threshold,
            false => usize::MAX,
        };
        self.context
            .accumulator
            .backlog()
            .set(alarm, load.is_quiet());
        let pool = self.context.transport.pool().status();
        metrics::lanes(lanes);
        metrics::queue(load.queued_messages, load.queued_bytes);
        metrics::path(
            load.rtt,
            load.cwnd,
            self.newly_lost(session.number(), load.packets_lost),
        );
        metrics::pool_streams(pool.idle, pool.in_use, pool.opening);
        self.publish(Some(decision.reason));
        decision.wake_after
    }

    fn apply(&mut self, load: &Load, decision: Decision) {
        let Decision { action, reason, .. } = decision;
        metrics::scaler_decided(reason.as_str());
        match action {
            Action::Hold => tracing::trace!(%reason, ?load, "lanes held"),
            Action::Open(n) => {
                let opened = self.open(n.get());
                metrics::lanes_opened(reason.as_str(), opened);
                tracing::info!(
                    opened,
                    lanes = self.staying().count(),
                    %reason,
                    queued = load.queued_messages,
                    rtt = ?load.rtt,
                    cwnd = load.cwnd,
                    "lanes opened"
                );
            }
            Action::Retire(n) => {
                let retired = self.retire(n.get());
                metrics::lanes_retired(reason.as_str(), retired);
                tracing::info!(retired, lanes = self.staying().count(), %reason, "lanes retired");
            }
        }
    }

    /// Returns how many packets were lost since the last tick. QUIC counts them from the start of each connection.
    fn newly_lost(&mut self, session: u64, total: u64) -> u64 {
        let (before, lost) = std::mem::replace(&mut self.packets_lost, (session, total));
        match before == session {
            true => total.saturating_sub(lost),
            false => total,
        }
    }

    fn staying(&self) -> impl Iterator<Item = &OpenLane> {
        self.lanes
            .iter()
            .filter(|lane| !lane.retire.load(Ordering::Relaxed))
    }

    /// Opens up to `n` lanes, and returns how many. The indexes of lanes that are still retiring are not free.
    fn open(&mut self, n: usize) -> u64 {
        let mut opened = 0;
        for _ in 0..n {
            let taken = |index: usize| self.lanes.iter().any(|lane| lane.index == index);
            let Some(index) = (0..MAX_LANES).find(|&index| !taken(index)) else {
                break;
            };
            let retire = Arc::new(AtomicBool::new(false));
            let queue = Arc::clone(self.context.accumulator.queue());
            let switch_bytes = self.context.config.lane_switch_bytes;
            let source = LaneSource::shared(queue, index, switch_bytes);
            let lane = Lane::new(self.context.clone(), source, Arc::clone(&retire));
            self.stats().lane(index).open();
            self.tasks.spawn(lane.run());
            self.lanes.push(OpenLane { index, retire });
            opened += 1;
        }
        self.opened += opened;
        opened
    }

    /// Tells the `n` newest lanes to end once everything they have is answered, and returns how many. The first lane stays.
    fn retire(&self, n: usize) -> u64 {
        let newest: Vec<_> = self.staying().skip(1).collect();
        let mut retired = 0;
        for lane in newest.into_iter().rev().take(n) {
            lane.retire.store(true, Ordering::Relaxed);
            self.context.accumulator.tell_lane(lane.index);
            retired += 1;
        }
        retired
    }

    fn stats(&self) -> &LaneStats {
        self.context.requests.stats()
    }

    /// Gathers what the policy sees.
    fn load(&self, now: Instant, session: &Session) -> Load {
        let path = session.path_stats();
        let stats = session.connection().stats();
        let queue = self.context.accumulator.queue();
        let mut load = Load::default();
        load.queued_messages = queue.len();
        load.queued_bytes = queue.bytes();
        load.oldest_wait = queue.oldest_wait(now);
        load.rtt = path.rtt.unwrap_or(stats.path.rtt);
        load.min_rtt = path.min_rtt.unwrap_or(load.rtt);
        load.cwnd = path.cwnd;
        load.mtu = path.mtu;
        load.bytes_in_flight = path.in_flight;
        load.app_limited = path.app_limited;
        load.send_blocked = self.context.transport.is_blocked();
        load.packets_sent = stats.path.sent_packets;
        load.packets_lost = stats.path.lost_packets;
        load.congestion_events = stats.path.congestion_events;
        self.stats().answers().fill(now, &mut load);
        // A lane that has room for less than half a chunk takes none.
        let window = self.context.config.scaler.lane_window;
        let chunk = self.context.accumulator.chunk_bytes();
        let least = self.context.run_size.least_room(chunk).min(window / 2);
        load.lane_window = window - least;
        // The peer's limit is known once it was met: then the pool reports it, and tries again after a while.
        load.peer_streams_left = match self.context.transport.pool().status().limit {
            Some(_) => 0,
            None => MAX_LANES,
        };
        (load.in_flight_messages, load.in_flight_bytes) = self.stats().in_flight();
        let patience = load
            .ack_p99
            .map_or(Duration::MAX, |p99| p99.saturating_mul(STALLED_P99))
            .max(load.rtt * STALLED_RTT);
        let late = load.round().saturating_mul(2);
        for lane in self.staying() {
            let lane: &LaneState = self.stats().lane(lane.index);
            if !lane.has_stream() {
                load.lanes_opening += 1;
                continue;
            }
            load.lanes += 1;
            if lane.bytes() == 0 {
                load.lanes_idle += 1;
            }
            let stalled = self.stats().stalled(lane, now) > patience;
            if lane.is_full() || stalled || lane.last_response_time() > late {
                load.lanes_busy += 1;
            }
        }
        load
    }

    fn publish(&self, reason: Option<Reason>) {
        let open = self.staying().count();
        self.report.send_modify(|report| {
            report.opened = self.opened;
            report.retired = self.opened - open as u64;
            report.open = open;
            report.peak = report.peak.max(open);
            if let Some(reason) = reason {
                report.decisions[reason as usize] += 1;
            }
        });
    }
}
