//! The shell around the scaling policy: gathers what it sees, carries out what it says, and tells why.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::producer::{
    accumulator::lane_waker::MAX_LANES, sender::lane::Lane, sender::source::LaneSource,
    sender::transport::Transport, shared::Shared,
};
use crate::{
    conn::Session,
    metrics::producer as metrics,
    scaler::{Action, Decision, Load, Reason, ScalePolicy},
    tasks::Tasks,
    time,
};

/// A lane without an answer for so many of the usual longest answer times, while others are answered, is stalled.
const STALLED_P99: u32 = 4;
/// And at least for so many round trips.
const STALLED_RTT: u32 = 2;

/// What a producer tells of its lanes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Lanes {
    /// Lanes that are open now.
    pub open: usize,
    /// The most that were open at once.
    pub most: usize,
    /// Lanes opened since the producer began.
    pub opened: u64,
    /// Lanes retired since.
    pub retired: u64,
    /// How often each decision was taken, in the order of [`Reason::ALL`].
    pub decisions: [u64; Reason::ALL.len()],
}

/// Opens and retires the lanes of one producer.
pub(crate) struct Autoscale {
    shared: Arc<Shared>,
    transport: Transport,
    tasks: Tasks,
    policy: Box<dyn ScalePolicy>,
    lanes: Vec<OpenLane>,
    /// Lanes opened so far.
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
        shared: Arc<Shared>,
        transport: Transport,
        tasks: Tasks,
        policy: Box<dyn ScalePolicy>,
        report: watch::Sender<Lanes>,
    ) -> Self {
        Self {
            shared,
            transport,
            tasks,
            policy,
            lanes: Vec::new(),
            opened: 0,
            packets_lost: (0, 0),
            report,
        }
    }

    /// Runs until the producer ends. The first lane is there from the start, connection or not: messages are taken
    /// and their deadlines kept in any case.
    pub(crate) async fn run(mut self) {
        self.open(1);
        let stopped = self.transport.stopped();
        let mut links = self.transport.links();
        loop {
            let wake_after = self.look();
            let wake = async {
                match wake_after {
                    Some(after) => time::sleep(after).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! { biased;
                () = stopped.cancelled() => return,
                () = self.shared.scaler_notify.notified() => {}
                () = links.changed() => {}
                () = wake => {}
            }
        }
    }

    /// One look and what follows from it. Answers when to look again.
    fn look(&mut self) -> Option<Duration> {
        self.lanes.retain(|lane| {
            !lane.retire.load(Ordering::Relaxed)
                || self.shared.lane_stats.lane(lane.index).is_open()
        });
        let Some(link) = self.transport.link() else {
            self.publish(None);
            return None;
        };
        let now = time::now();
        let load = self.load(now, &link);
        let decision = self.policy.decide(now, &load);
        self.apply(&load, decision);
        let lanes = self.staying().count();
        let threshold = self.policy.backlog_threshold(lanes);
        // Of a backlog that is there already, nobody need tell.
        let edge = match load.queued_messages < threshold {
            true => threshold,
            false => usize::MAX,
        };
        self.shared.backlog_edge.store(edge, Ordering::Relaxed);
        self.shared
            .scaler_quiet
            .store(load.is_quiet(), Ordering::SeqCst);
        let pool = self.transport.pool().status();
        metrics::lanes(lanes);
        metrics::queue(load.queued_messages, load.queued_bytes);
        metrics::path(
            load.rtt,
            load.cwnd,
            self.newly_lost(link.number(), load.packets_lost),
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

    /// Opens up to `n` lanes; the places of lanes that are still retiring are not free.
    fn open(&mut self, n: usize) -> u64 {
        let mut opened = 0;
        for _ in 0..n {
            let taken = |index: usize| self.lanes.iter().any(|lane| lane.index == index);
            let Some(index) = (0..MAX_LANES).find(|&index| !taken(index)) else {
                break;
            };
            let retire = Arc::new(AtomicBool::new(false));
            let feed = LaneSource::shared(Arc::clone(&self.shared), index);
            let lane = Lane::new(
                Arc::clone(&self.shared),
                self.transport.clone(),
                feed,
                Arc::clone(&retire),
            );
            self.shared.lane_stats.lane(index).open();
            self.tasks.spawn(lane.run());
            self.lanes.push(OpenLane { index, retire });
            opened += 1;
        }
        self.opened += opened;
        opened
    }

    /// Tells the `n` newest lanes to end once all they have is answered. The first lane stays.
    fn retire(&self, n: usize) -> u64 {
        let newest: Vec<_> = self.staying().skip(1).collect();
        let mut retired = 0;
        for lane in newest.into_iter().rev().take(n) {
            lane.retire.store(true, Ordering::Relaxed);
            self.shared.queue.waker.wake(lane.index);
            retired += 1;
        }
        retired
    }

    fn load(&self, now: Instant, link: &Session) -> Load {
        let path = link.path_stats();
        let stats = link.connection().stats();
        let mut load = Load::default();
        load.queued_messages = self.shared.queue.len();
        load.queued_bytes = self.shared.queue.bytes();
        load.oldest_wait = self.shared.queue.oldest_wait(now);
        load.rtt = path.rtt.unwrap_or(stats.path.rtt);
        load.min_rtt = path.min_rtt.unwrap_or(load.rtt);
        load.cwnd = path.cwnd;
        load.mtu = path.mtu;
        load.bytes_in_flight = path.in_flight;
        load.app_limited = path.app_limited;
        load.send_blocked = self.transport.is_blocked();
        load.packets_sent = stats.path.sent_packets;
        load.packets_lost = stats.path.lost_packets;
        load.congestion_events = stats.path.congestion_events;
        self.shared.lane_stats.answers().fill(now, &mut load);
        // A lane that has room for less than half a chunk takes none.
        let window = self.shared.config.scaler.lane_window;
        let least = self.shared.least_room().min(window / 2);
        load.lane_window = window - least;
        // The peer's limit shows when it is met: the pool then says so, and tries again after a while.
        load.peer_streams_left = match self.transport.pool().status().limit {
            Some(_) => 0,
            None => MAX_LANES,
        };
        (load.in_flight_messages, load.in_flight_bytes) = self.shared.lane_stats.in_flight();
        let patience = load
            .ack_p99
            .map_or(Duration::MAX, |p99| p99.saturating_mul(STALLED_P99))
            .max(load.rtt * STALLED_RTT);
        let late = load.round().saturating_mul(2);
        for lane in self.staying() {
            let lane_state = self.shared.lane_stats.lane(lane.index);
            if !lane_state.has_stream() {
                load.lanes_opening += 1;
                continue;
            }
            load.lanes += 1;
            if lane_state.bytes() == 0 {
                load.lanes_idle += 1;
            }
            let stalled = self.shared.lane_stats.stalled(lane_state, now) > patience;
            if lane_state.is_full() || stalled || lane_state.took() > late {
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
            report.most = report.most.max(open);
            if let Some(reason) = reason {
                report.decisions[reason as usize] += 1;
            }
        });
    }
}
