//! Sans-I/O: flows that share one bottleneck, packet by packet, for the tests of fairness.
//!
//! It models what decides shares and nothing else: a drop-tail queue, quinn's pacer with its bursts and its timer of a
//! millisecond, TCP's acknowledgement clock, acknowledgements of every second packet, and loss detection by three later
//! packets. Half a minute of two flows takes a tenth of a second in a release build, so that a change of the controller
//! can be judged on a whole grid of links: `cargo test --release -p quinn-thalweg --lib bottleneck -- --nocapture`.
#![allow(clippy::disallowed_methods, reason = "tests may read the clock")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "counts of packets are small"
)]

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    time::{Duration, Instant},
};

use quinn_simnet::TcpCubic;

use super::state::StateMachine;

const MTU: u64 = 1480;
const BYTES: f64 = 1480.0;
const MS: Duration = Duration::from_millis(1);

/// What decides the window of a flow.
enum Law {
    Thalweg(Box<StateMachine>),
    TcpCubic(TcpCubic),
}

struct Sent {
    number: u64,
    at: Instant,
}

/// A sender and its receiver.
struct Flow {
    law: Law,
    start: Instant,
    next: u64,
    in_flight: VecDeque<Sent>,
    /// Packets received since the last acknowledgement, by number.
    unacked: Vec<u64>,
    /// The number of the latest delayed acknowledgement; an older one is no longer due.
    ack_timer: u64,
    srtt: Option<Duration>,
    /// Packets that the pacer permits at once.
    tokens: f64,
    refilled: Instant,
    /// The time of the next wake-up by the pacer.
    paced_until: Option<Instant>,
    last_progress: Instant,
    delivered: u64,
}

#[derive(PartialEq, Eq, PartialOrd, Ord, Clone, Debug)]
enum Event {
    Start(usize),
    /// A packet reaches the receiver.
    Arrives(usize, u64),
    /// The receiver's delayed acknowledgement is due.
    AckTimer(usize, u64),
    Acks(usize, Vec<u64>),
    Pacer(usize),
    Check(usize),
}

/// One bottleneck.
struct Bottleneck {
    now: Instant,
    began: Instant,
    packet_time: Duration,
    rtt: Duration,
    queue_limit: usize,
    /// When the link has sent everything in its queue.
    idle_at: Instant,
    flows: Vec<Flow>,
    /// What happens next. Events of one time happen in the order in which they were added.
    events: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    added: u64,
}

impl Bottleneck {
    /// Returns a link of `mbit` Mbit/s and `rtt` with a queue of `queue` bandwidth-delay products.
    fn new(mbit: f64, rtt: Duration, queue: f64) -> Self {
        let now = Instant::now();
        let packet_time = Duration::from_secs_f64(BYTES * 8.0 / (mbit * 1e6));
        let bdp = rtt.as_secs_f64() / packet_time.as_secs_f64();
        Self {
            now,
            began: now,
            packet_time,
            rtt,
            queue_limit: ((bdp * queue) as usize).max(16),
            idle_at: now,
            flows: Vec::new(),
            events: BinaryHeap::new(),
            added: 0,
        }
    }

    fn add(&mut self, law: Law, start: Duration) {
        let start = self.began + start;
        let flow = self.flows.len();
        self.flows.push(Flow {
            law,
            start,
            next: 0,
            in_flight: VecDeque::new(),
            unacked: Vec::new(),
            ack_timer: 0,
            srtt: None,
            tokens: 10.0 * BYTES,
            refilled: start,
            paced_until: None,
            last_progress: start,
            delivered: 0,
        });
        self.at(start, Event::Start(flow));
    }

    fn thalweg(&mut self, start: Duration) {
        let law = Law::Thalweg(Box::new(StateMachine::new(self.began + start, 1480)));
        self.add(law, start);
    }

    fn tcp_cubic(&mut self, start: Duration) {
        let law = Law::TcpCubic(TcpCubic::new(self.began + start));
        self.add(law, start);
    }

    fn at(&mut self, at: Instant, event: Event) {
        self.added += 1;
        self.events.push(Reverse((at, self.added, event)));
    }

    /// Runs until `end`. Returns the packets that each flow delivered meanwhile.
    fn run(&mut self, end: Duration) -> Vec<u64> {
        let end = self.began + end;
        let before: Vec<u64> = self.flows.iter().map(|flow| flow.delivered).collect();
        while let Some(Reverse((at, _, _))) = self.events.peek()
            && *at < end
        {
            let Some(Reverse((at, _, event))) = self.events.pop() else {
                break;
            };
            self.now = at;
            self.handle(event);
        }
        self.now = end;
        self.flows
            .iter()
            .zip(before)
            .map(|(flow, before)| flow.delivered - before)
            .collect()
    }

    fn window(&self, flow: usize) -> f64 {
        match &self.flows[flow].law {
            Law::Thalweg(machine) => machine.window() / BYTES,
            Law::TcpCubic(cubic) => cubic.window(),
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Start(flow) => {
                self.at(self.now + 200 * MS, Event::Check(flow));
                self.send(flow);
            }
            Event::Arrives(flow, number) => self.arrives(flow, number),
            Event::AckTimer(flow, timer) => {
                if self.flows[flow].ack_timer == timer {
                    self.acknowledge(flow);
                }
            }
            Event::Acks(flow, numbers) => {
                self.acked(flow, &numbers);
                self.send(flow);
            }
            Event::Pacer(flow) => {
                if self.flows[flow]
                    .paced_until
                    .is_some_and(|until| until <= self.now)
                {
                    self.flows[flow].paced_until = None;
                    self.send(flow);
                }
            }
            Event::Check(flow) => self.check(flow),
        }
    }

    /// Declares everything lost that had no progress for a long time: a probe timeout, simplified.
    fn check(&mut self, flow: usize) {
        let now = self.now;
        let one = &mut self.flows[flow];
        let timeout = 3 * one.srtt.unwrap_or(300 * MS).max(100 * MS);
        if !one.in_flight.is_empty() && now.saturating_duration_since(one.last_progress) > timeout {
            one.last_progress = now;
            while let Some(sent) = one.in_flight.pop_front() {
                lost(&mut one.law, now, sent.at);
            }
            self.send(flow);
        }
        self.at(self.now + 50 * MS, Event::Check(flow));
    }

    fn arrives(&mut self, flow: usize, number: u64) {
        let one = &mut self.flows[flow];
        one.unacked.push(number);
        let gap = one.unacked.windows(2).any(|pair| pair[1] != pair[0] + 1);
        if one.unacked.len() >= 2 || gap {
            self.acknowledge(flow);
        } else {
            one.ack_timer += 1;
            let timer = one.ack_timer;
            self.at(self.now + 25 * MS, Event::AckTimer(flow, timer));
        }
    }

    fn acknowledge(&mut self, flow: usize) {
        let one = &mut self.flows[flow];
        one.ack_timer += 1;
        let numbers = std::mem::take(&mut one.unacked);
        if !numbers.is_empty() {
            self.at(self.now + self.rtt / 2, Event::Acks(flow, numbers));
        }
    }

    fn acked(&mut self, flow: usize, numbers: &[u64]) {
        let now = self.now;
        let one = &mut self.flows[flow];
        one.last_progress = now;
        let newest = *numbers.iter().max().unwrap_or(&0);
        for number in numbers {
            let Some(index) = one.in_flight.iter().position(|sent| sent.number == *number) else {
                continue;
            };
            let sent = one.in_flight.remove(index).map_or(now, |sent| sent.at);
            one.delivered += 1;
            if *number == newest {
                let rtt = now - sent;
                one.srtt = Some(one.srtt.map_or(rtt, |srtt| (srtt * 7 + rtt) / 8));
            }
            let srtt = one.srtt.unwrap_or_default();
            match &mut one.law {
                Law::Thalweg(machine) => machine.on_ack(now, sent, MTU, false, srtt),
                Law::TcpCubic(cubic) => cubic.on_ack(now, sent, 1.0),
            }
        }
        if let Law::Thalweg(machine) = &mut one.law {
            machine.on_end_acks(now, one.in_flight.len() as u64 * MTU, false);
        }
        while let Some(first) = one.in_flight.front()
            && first.number + 3 <= newest
        {
            let at = first.at;
            one.in_flight.pop_front();
            lost(&mut one.law, now, at);
        }
    }

    fn send(&mut self, flow: usize) {
        loop {
            let window = self.window(flow);
            let now = self.now;
            let one = &mut self.flows[flow];
            if one.start > now || (one.in_flight.len() as f64 + 1.0) > window {
                return;
            }
            if let Law::Thalweg(_) = one.law {
                let srtt = one.srtt.unwrap_or(333 * MS).as_secs_f64();
                let capacity = (window * 0.002 / srtt).clamp(10.0, 256.0);
                let elapsed = now.saturating_duration_since(one.refilled).as_secs_f64();
                if one.tokens < 1.0 {
                    one.tokens += window * 1.25 * elapsed / srtt;
                    one.refilled = now;
                }
                one.tokens = one.tokens.min(capacity);
                if one.tokens < 1.0 {
                    if one.paced_until.is_none() {
                        let wait = (capacity - one.tokens) * srtt / window * 0.8;
                        // The timer of the runtime counts milliseconds.
                        let due = now + Duration::from_secs_f64(wait);
                        let since = due.saturating_duration_since(self.began).as_secs_f64();
                        let until =
                            self.began + Duration::from_secs_f64((since * 1000.0).ceil() / 1000.0);
                        one.paced_until = Some(until);
                        self.at(until, Event::Pacer(flow));
                    }
                    return;
                }
                one.tokens -= 1.0;
            }
            let number = one.next;
            one.next += 1;
            one.in_flight.push_back(Sent { number, at: now });
            if let Law::Thalweg(machine) = &mut one.law {
                machine.on_sent(now, MTU);
            }
            let queued = self.idle_at.saturating_duration_since(now).as_secs_f64()
                / self.packet_time.as_secs_f64();
            if queued >= self.queue_limit as f64 {
                continue;
            }
            self.idle_at = self.idle_at.max(now) + self.packet_time;
            self.at(self.idle_at + self.rtt / 2, Event::Arrives(flow, number));
        }
    }
}

fn lost(law: &mut Law, now: Instant, sent: Instant) {
    match law {
        Law::Thalweg(machine) => machine.on_lost(now, sent, MTU, false),
        Law::TcpCubic(cubic) => cubic.on_loss(now, sent),
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// Returns the share of a Thalweg flow beside one CUBIC flow, of which the second starts five seconds after the first: the
/// median of three runs that start a little apart, over 25 s from then on.
fn share(rtt: Duration, queue: f64, second: bool) -> f64 {
    let mut shares: Vec<f64> = (0..3)
        .map(|run| {
            let mut link = Bottleneck::new(100.0, rtt, queue);
            let (ours, theirs) = match second {
                true => (5 * SECOND, Duration::ZERO),
                false => (Duration::ZERO, 5 * SECOND),
            };
            link.thalweg(ours + Duration::from_micros(1700) * run);
            link.tcp_cubic(theirs);
            link.run(5 * SECOND);
            let delivered = link.run(30 * SECOND);
            delivered[0] as f64 / (delivered[0] + delivered[1]) as f64
        })
        .collect();
    shares.sort_by(f64::total_cmp);
    shares[1]
}

/// Returns Jain's index of the shares of `flows` Thalweg flows that started 700 ms apart.
fn jain(rtt: Duration, queue: f64, flows: u32) -> f64 {
    let mut link = Bottleneck::new(100.0, rtt, queue);
    for flow in 0..flows {
        link.thalweg(700 * MS * flow);
    }
    link.run(15 * SECOND);
    let delivered = link.run(40 * SECOND);
    let sum: u64 = delivered.iter().sum();
    let squares: f64 = delivered.iter().map(|one| (*one as f64).powi(2)).sum();
    (sum as f64).powi(2) / (squares * f64::from(flows))
}

#[test]
fn beside_the_kernel_s_cubic_it_has_between_a_third_and_two_thirds() {
    for (rtt, queue, second) in [
        (10, 0.5, false),
        (10, 1.0, true),
        (10, 2.0, true),
        (10, 4.0, false),
        (50, 0.25, true),
    ] {
        let share = share(MS * rtt, queue, second);
        let place = if second { "second" } else { "first" };
        assert!(
            (0.33..0.67).contains(&share),
            "{rtt} ms, queue {queue}, {place}: {share:.2}"
        );
    }
}

#[test]
fn flows_of_this_kind_come_to_equal_shares_whatever_the_queue() {
    for (rtt, queue, flows) in [(10, 1.0, 4), (50, 1.0, 4), (50, 0.5, 16)] {
        let jain = jain(MS * rtt, queue, flows);
        assert!(
            jain > 0.9,
            "{rtt} ms, queue {queue}, {flows} flows: {jain:.3}"
        );
    }
}

/// Prints the grid of `docs/benchmarks.md`. It takes minutes in a debug build, so there it does not exist.
#[cfg(not(debug_assertions))]
#[test]
fn grid() {
    for rtt in [10, 50, 150] {
        for queue in [0.25, 0.5, 1.0, 2.0, 4.0] {
            let (first, second) = (share(MS * rtt, queue, false), share(MS * rtt, queue, true));
            println!("| {rtt} ms, {queue} BDP | {first:.2} | {second:.2} |");
        }
    }
    for (rtt, flows) in [(10, 4), (10, 16), (50, 4), (50, 16), (150, 4)] {
        let row: Vec<String> = [0.5, 1.0, 4.0]
            .map(|queue| format!("{:.3}", jain(MS * rtt, queue, flows)))
            .into();
        println!("| {rtt} ms, {flows} flows | {} |", row.join(" | "));
    }
}
