//! A producer, a network and a broker in virtual time, so small that the best number of lanes is known without simulating.
//!
//! ```text
//! offered ─▶ queue ─▶ lanes (window each) ─▶ send window (2 cwnd) ─▶ cwnd ─▶ rtt/2 ─▶ broker ─▶ rtt/2 ─▶ answer
//! ```
//!
//! Time advances in steps of a millisecond. What happens to a batch is computed when a lane takes it. The policy is called as
//! [`ScalePolicy::decide`] documents.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    time::Duration,
};

use super::setting::{Broker, Rng, Setting, Window, origin};
use crate::scaler::{Action, Decision, Load, Reason, ScalePolicy, meter::Answers};

/// A decision to open or retire lanes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Change {
    pub(super) at: Duration,
    pub(super) action: Action,
    pub(super) reason: Reason,
    /// Lanes open or opening after it.
    pub(super) lanes: usize,
}

#[derive(Debug)]
struct Lane {
    /// Never used twice, because a retired lane still gets its answers.
    id: usize,
    in_flight: u64,
    /// When the broker has finished what came on this stream.
    free_at: Duration,
}

/// A batch that was handed to QUIC.
#[derive(Debug)]
struct Sent {
    leaves: Duration,
    acked: Duration,
    bytes: u64,
}

/// An answer that the broker sent, ordered by its arrival.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Answer {
    at: Duration,
    lane: usize,
    bytes: u64,
    took: Duration,
    hold: Duration,
}

const MESSAGE: u64 = 1024;
const MTU: u64 = 1200;
const STEP: Duration = Duration::from_millis(1);

/// A simulation.
#[derive(Debug)]
pub(super) struct Simulation<P> {
    setting: Setting,
    policy: P,
    pub(super) now: Duration,
    queue: VecDeque<(Duration, u64)>,
    queued: u64,
    fraction: f64,
    cpu_credit: f64,
    lanes: Vec<Lane>,
    next_id: usize,
    next_lane: usize,
    /// When lanes that are being opened will be ready.
    opening: VecDeque<Duration>,
    cwnd: u64,
    grown_at: Duration,
    sent: VecDeque<Sent>,
    /// Bytes handed to QUIC and not acknowledged.
    handed: u64,
    answers: BinaryHeap<Reverse<Answer>>,
    store_free_at: Duration,
    frozen_until: Duration,
    meter: Answers,
    packets: f64,
    lost: u64,
    rng: Rng,
    pub(super) wake: Option<Duration>,
    quiet: bool,
    pub(super) changes: Vec<Change>,
    pub(super) reasons: std::collections::HashMap<Reason, usize>,
    pub(super) answered: u64,
}

impl<P: ScalePolicy> Simulation<P> {
    pub(super) fn new(policy: P, setting: Setting) -> Self {
        let cwnd = match setting.window {
            Window::Fixed(bytes) | Window::SlowStart(bytes) => bytes,
        };
        let mut simulation = Self {
            rng: Rng::new(setting.seed),
            setting,
            policy,
            now: Duration::ZERO,
            queue: VecDeque::new(),
            queued: 0,
            fraction: 0.0,
            cpu_credit: 0.0,
            lanes: Vec::new(),
            next_id: 0,
            next_lane: 0,
            opening: VecDeque::new(),
            cwnd,
            grown_at: Duration::ZERO,
            sent: VecDeque::new(),
            handed: 0,
            answers: BinaryHeap::new(),
            store_free_at: Duration::ZERO,
            frozen_until: Duration::ZERO,
            meter: Answers::default(),
            packets: 0.0,
            lost: 0,
            wake: None,
            quiet: false,
            changes: Vec::new(),
            reasons: std::collections::HashMap::new(),
            answered: 0,
        };
        simulation.decide();
        simulation
    }

    /// Returns the lanes that are open or opening.
    pub(super) fn lanes(&self) -> usize {
        self.lanes.len() + self.opening.len()
    }

    /// Returns the messages that no lane has taken.
    pub(super) fn queued(&self) -> u64 {
        self.queued
    }

    /// Stops the broker for `time`.
    pub(super) fn freeze(&mut self, time: Duration) {
        self.frozen_until = self.now + time;
    }

    /// Runs for `time` with `offered` bytes a second, varied by up to the part `noise` at each step.
    pub(super) fn run(&mut self, time: Duration, offered: f64, noise: f64) {
        let end = self.now + time;
        while self.now < end {
            self.now += STEP;
            self.advance();
            let factor = 1.0 + noise * (2.0 * self.rng.next_f64() - 1.0);
            self.fraction += offered * factor * STEP.as_secs_f64() / MESSAGE as f64;
            let messages = self.fraction.floor();
            self.fraction -= messages;
            self.enqueue(messages as u64);
            self.work();
        }
    }

    /// Enqueues messages at once.
    pub(super) fn burst(&mut self, messages: u64) {
        self.enqueue(messages);
        self.work();
    }

    fn enqueue(&mut self, messages: u64) {
        if messages == 0 {
            return;
        }
        let edge = self.policy.backlog_threshold(self.lanes()) as u64;
        let crosses = self.queued < edge && self.queued + messages >= edge;
        self.queue.push_back((self.now, messages));
        self.queued += messages;
        if crosses || self.quiet {
            self.decide();
        }
    }

    /// Completes what has become due since the last step.
    fn advance(&mut self) {
        while self.opening.front().is_some_and(|&at| at <= self.now) {
            self.opening.pop_front();
            self.lanes.push(Lane {
                id: self.next_id,
                in_flight: 0,
                free_at: Duration::ZERO,
            });
            self.next_id += 1;
        }
        while self
            .answers
            .peek()
            .is_some_and(|Reverse(a)| a.at <= self.now)
        {
            let Some(Reverse(answer)) = self.answers.pop() else {
                break;
            };
            if let Some(lane) = self.lanes.iter_mut().find(|l| l.id == answer.lane) {
                lane.in_flight = lane.in_flight.saturating_sub(answer.bytes);
            }
            self.answered += answer.bytes;
            let network = answer.took - answer.hold;
            self.meter
                .on_answer(origin() + answer.at, answer.bytes, answer.took, network);
        }
        if let Window::SlowStart(_) = self.setting.window {
            let waits = self.sent.iter().any(|s| s.leaves > self.now);
            if waits && self.now >= self.grown_at + self.setting.rtt {
                self.cwnd *= 2;
                self.grown_at = self.now;
            }
        }
        while let Some(sent) = self.sent.pop_front_if(|s| s.acked <= self.now) {
            self.handed -= sent.bytes;
        }
        let earned = (self.setting.cpu * STEP.as_secs_f64()).min(1e12);
        let most = earned.max(2.0 * self.setting.batch as f64);
        self.cpu_credit = (self.cpu_credit + earned).min(most);
    }

    fn work(&mut self) {
        self.pull();
        if self.wake.is_some_and(|at| at <= self.now) {
            self.decide();
            self.pull();
        }
    }

    /// Lets lanes take batches in rotation while there are messages and room.
    fn pull(&mut self) {
        let mut refused = 0;
        while self.queued > 0 && refused < self.lanes.len() {
            let lane = self.next_lane % self.lanes.len();
            self.next_lane = lane + 1;
            let bytes = (self.queued * MESSAGE).min(self.setting.batch);
            let send_window = self.cwnd.saturating_mul(2);
            if self.cpu_credit < bytes as f64 || self.handed + bytes > send_window {
                return;
            }
            if self.is_full(lane) {
                refused += 1;
                continue;
            }
            refused = 0;
            self.cpu_credit -= bytes as f64;
            self.take(bytes / MESSAGE);
            self.send(lane, bytes);
        }
    }

    fn is_full(&self, lane: usize) -> bool {
        self.lanes[lane].in_flight + self.setting.batch > self.setting.lane_window
    }

    fn take(&mut self, mut messages: u64) {
        self.queued -= messages;
        while let Some((_, count)) = self.queue.front_mut() {
            if *count > messages {
                *count -= messages;
                return;
            }
            messages -= *count;
            self.queue.pop_front();
        }
    }

    fn send(&mut self, lane: usize, bytes: u64) {
        let half = self.setting.rtt / 2;
        let mut leaves = self
            .sent
            .back()
            .map_or(self.now, |s| s.leaves.max(self.now));
        // Acknowledgements come in the order of sending, so the next one may make room.
        let mut ahead = self.handed;
        for s in &self.sent {
            if s.acked > leaves {
                if ahead + bytes <= self.cwnd {
                    break;
                }
                leaves = s.acked;
            }
            ahead -= s.bytes;
        }
        let arrives = leaves + half;
        let start = arrives.max(self.frozen_until);
        let done = match self.setting.broker {
            Broker::Parallel(hold) => start + hold,
            Broker::Serial(bytes_per_second) => {
                let work = Duration::from_secs_f64(bytes as f64 / bytes_per_second);
                self.lanes[lane].free_at.max(start) + work
            }
            Broker::Store {
                bytes_per_second,
                commit,
            } => {
                let write = Duration::from_secs_f64(bytes as f64 / bytes_per_second);
                self.store_free_at = self.store_free_at.max(start) + write;
                let commits = self
                    .store_free_at
                    .as_nanos()
                    .div_ceil(commit.as_nanos().max(1));
                Duration::from_nanos(u64::try_from(commits * commit.as_nanos().max(1)).unwrap())
            }
        };
        self.lanes[lane].in_flight += bytes;
        self.lanes[lane].free_at = done;
        self.handed += bytes;
        self.sent.push_back(Sent {
            leaves,
            acked: leaves + self.setting.rtt,
            bytes,
        });
        self.packets += bytes as f64 / MTU as f64;
        for _ in 0..bytes / MTU {
            self.lost += u64::from(self.rng.next_f64() < self.setting.loss);
        }
        self.answers.push(Reverse(Answer {
            at: done + half,
            lane: self.lanes[lane].id,
            bytes,
            took: done + half - self.now,
            hold: done - arrives,
        }));
    }

    fn load(&mut self) -> Load {
        let now = self.now;
        let (gone, waiting): (Vec<&Sent>, Vec<&Sent>) = self
            .sent
            .iter()
            .filter(|s| s.acked > now)
            .partition(|s| s.leaves <= now);
        let sum = |sent: &[&Sent]| sent.iter().map(|s| s.bytes).sum::<u64>();
        // The first batch that waits has filled the room there is, packet by packet.
        let first = waiting.first().map_or(0, |s| s.bytes);
        let bytes_in_flight = sum(&gone) + first.min(self.cwnd.saturating_sub(sum(&gone)));
        let in_flight_bytes = self.lanes.iter().map(|l| l.in_flight).sum();
        let mut load = Load {
            queued_messages: usize::try_from(self.queued).unwrap(),
            queued_bytes: self.queued * MESSAGE,
            oldest_wait: self
                .queue
                .front()
                .map_or(Duration::ZERO, |&(at, _)| now - at),
            lanes: self.lanes.len(),
            lanes_opening: self.opening.len(),
            lanes_busy: (0..self.lanes.len()).filter(|&i| self.is_full(i)).count(),
            lanes_idle: self.lanes.iter().filter(|l| l.in_flight == 0).count(),
            in_flight_messages: usize::try_from(in_flight_bytes / MESSAGE).unwrap(),
            in_flight_bytes,
            lane_window: self.setting.lane_window,
            peer_streams_left: self.setting.peer_streams.saturating_sub(self.lanes()),
            rtt: self.setting.rtt,
            min_rtt: self.setting.rtt,
            cwnd: self.cwnd,
            mtu: MTU,
            bytes_in_flight,
            app_limited: waiting.is_empty(),
            packets_sent: self.packets as u64,
            packets_lost: self.lost,
            // A fixed window counts as one that has met congestion.
            congestion_events: u64::from(matches!(self.setting.window, Window::Fixed(_))),
            ..Load::default()
        };
        self.meter.fill(origin() + now, &mut load);
        load
    }

    fn decide(&mut self) {
        let load = self.load();
        self.quiet = load.is_quiet();
        let Decision {
            action,
            reason,
            wake_after,
        } = self.policy.decide(origin() + self.now, &load);
        self.wake = wake_after.map(|after| self.now + after);
        *self.reasons.entry(reason).or_default() += 1;
        match action {
            Action::Hold => return,
            Action::Open(more) => {
                // A stream is probed before its first use, which takes a round trip.
                let ready = self.now + self.setting.rtt;
                self.opening.extend(std::iter::repeat_n(ready, more.get()));
            }
            Action::Retire(fewer) => {
                let kept = self.lanes.len().saturating_sub(fewer.get());
                self.lanes.truncate(kept);
            }
        }
        let lanes = self.lanes();
        self.changes.push(Change {
            at: self.now,
            action,
            reason,
            lanes,
        });
    }
}
