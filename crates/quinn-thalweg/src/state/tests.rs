//! The state machine on a model of a path: one queue, one delay, random losses, and no pacer.
#![allow(clippy::disallowed_methods, reason = "tests may read the clock")]

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);
const BYTES: u64 = 1200;
/// A packet is lost when one sent this many packets later is acknowledged (RFC 9002, section 6.1.1).
const PACKET_THRESHOLD: u64 = 3;

#[derive(Debug, Clone, Copy)]
struct InFlight {
    number: u64,
    sent: Instant,
    /// When its acknowledgement arrives; `None` for a lost packet.
    acked: Option<Instant>,
}

/// A path, and the state machine that sends on it.
struct Path {
    now: Instant,
    /// The transmission time of a packet.
    packet_time: Duration,
    /// The round trip time without queue and transmission.
    rtt: Duration,
    /// The size of the queue, in packets.
    queue_limit: u32,
    loss: f64,
    /// The packets a round trip that the application offers; `None` for no limit.
    offered: Option<f64>,
    rng: fastrand::Rng,
    /// When the link has sent everything in its queue.
    idle_at: Instant,
    /// A competitor with a constant window: when each of its packets is acknowledged, and the next one sent.
    competitor: VecDeque<Instant>,
    in_flight: VecDeque<InFlight>,
    number: u64,
    delivered: u64,
    dropped: u64,
    machine: StateMachine,
}

impl Path {
    /// Returns a path of 1000 packets a second and 50 ms, which fifty packets fill.
    fn new() -> Self {
        let now = Instant::now();
        Self {
            now,
            packet_time: MS,
            rtt: 50 * MS,
            queue_limit: 50,
            loss: 0.0,
            offered: None,
            rng: fastrand::Rng::with_seed(7),
            idle_at: now,
            competitor: VecDeque::new(),
            in_flight: VecDeque::new(),
            number: 0,
            delivered: 0,
            dropped: 0,
            machine: StateMachine::new(now, 1200),
        }
    }

    /// Returns the delay of the queue.
    fn queue_delay(&self) -> Duration {
        self.idle_at.saturating_duration_since(self.now)
    }

    /// Starts a competitor with `packets` packets in flight; 0 ends it.
    fn set_competitor(&mut self, packets: usize) {
        self.competitor = VecDeque::from(vec![self.now; packets]);
    }

    fn run_competitor(&mut self) {
        while let Some(acked) = self.competitor.front().copied()
            && acked <= self.now
        {
            self.competitor.pop_front();
            self.idle_at = self.idle_at.max(acked) + self.packet_time;
            self.competitor.push_back(self.idle_at + self.rtt);
        }
    }

    /// Sends what the window permits. Returns whether the application limited it.
    fn send(&mut self) -> bool {
        self.run_competitor();
        loop {
            let packets = self.in_flight.len() as f64;
            if self.offered.is_some_and(|offered| packets >= offered) {
                return true;
            }
            if (packets + 1.0) * BYTES as f64 >= self.machine.window() {
                return false;
            }
            let full = self.queue_delay() >= self.packet_time * self.queue_limit;
            self.dropped += u64::from(full);
            let acked = (!full).then(|| {
                self.idle_at = self.idle_at.max(self.now) + self.packet_time;
                self.idle_at + self.rtt
            });
            let acked = acked.filter(|_| self.rng.f64() >= self.loss);
            self.in_flight.push_back(InFlight {
                number: self.number,
                sent: self.now,
                acked,
            });
            self.number += 1;
            self.machine.on_sent(self.now, BYTES);
        }
    }

    /// Handles the next acknowledgement, and the losses that it reveals.
    fn step(&mut self) {
        let limited = self.send();
        let next = self
            .in_flight
            .iter()
            .filter_map(|packet| Some((packet.acked?, packet.number)));
        let Some((at, number)) = next.min() else {
            // Everything was lost. After a timeout, sending begins again.
            self.now += 3 * self.rtt;
            while self.in_flight.pop_front().is_some() {
                self.machine
                    .on_lost(self.now, self.now - self.rtt, BYTES, false);
            }
            return;
        };
        self.now = self.now.max(at);
        let index = self
            .in_flight
            .iter()
            .position(|packet| packet.number == number)
            .unwrap();
        let packet = self.in_flight.remove(index).unwrap();
        self.delivered += 1;
        // Without a pacer, a smoothed RTT of zero means that it does not lag.
        self.machine
            .on_ack(self.now, packet.sent, BYTES, limited, Duration::ZERO);
        let bytes = BYTES * self.in_flight.len() as u64;
        self.machine.on_end_acks(self.now, bytes, limited);
        while let Some(first) = self.in_flight.front().copied()
            && first.number + PACKET_THRESHOLD <= number
        {
            self.in_flight.pop_front();
            self.machine.on_lost(self.now, first.sent, BYTES, false);
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.step();
        }
    }

    /// Returns the share of the link that was used in `time`.
    fn goodput(&mut self, time: Duration) -> f64 {
        let before = self.delivered;
        self.run(time);
        (self.delivered - before) as f64 * self.packet_time.as_secs_f64() / time.as_secs_f64()
    }

    /// Returns the window in packets.
    fn window(&self) -> f64 {
        self.machine.window() / BYTES as f64
    }
}

#[test]
fn a_path_is_filled_and_its_queue_kept_short() {
    let mut path = Path::new();
    path.run(2000 * MS);
    let dropped = path.dropped;
    assert!(path.goodput(10_000 * MS) > 0.97);
    assert!(path.queue_delay() < 20 * MS, "{:?}", path.queue_delay());
    assert_eq!(path.dropped, dropped);
}

#[test]
fn random_losses_of_several_percent_do_not_slow_it_down() {
    for loss in [0.01, 0.05, 0.08] {
        let mut path = Path::new();
        path.loss = loss;
        path.run(3000 * MS);
        let goodput = path.goodput(20_000 * MS);
        assert!(goodput > 0.93 * (1.0 - loss), "{goodput} with {loss}");
    }
}

#[test]
fn losses_beyond_the_bound_are_congestion_whatever_the_queue_says() {
    let mut path = Path::new();
    path.run(3000 * MS);
    path.loss = 0.3;
    path.run(5000 * MS);
    assert!(path.window() < 20.0, "{}", path.window());
}

#[test]
fn with_a_shallow_queue_it_finds_what_is_delivered_and_loses_little() {
    let mut path = Path::new();
    path.queue_limit = 3;
    path.run(5000 * MS);
    let (sent, dropped) = (path.number, path.dropped);
    let goodput = path.goodput(20_000 * MS);
    let lost = (path.dropped - dropped) as f64 / (path.number - sent) as f64;
    assert!(goodput > 0.7 && lost < 0.03, "{goodput}, {lost} lost");
}

#[test]
fn a_link_that_slows_down_is_drained_and_one_that_speeds_up_is_filled() {
    let mut path = Path::new();
    path.queue_limit = 500;
    path.run(3000 * MS);
    path.packet_time = 5 * MS;
    // The packets in flight now take 300 ms.
    path.run(500 * MS);
    assert!(path.queue_delay() < 50 * MS, "{:?}", path.queue_delay());
    assert!(path.goodput(2000 * MS) > 0.95);
    path.packet_time = MS;
    path.run(500 * MS);
    assert!(path.goodput(1000 * MS) > 0.95);
}

#[test]
fn a_longer_round_trip_is_believed_once_the_pipe_was_drained() {
    let mut path = Path::new();
    // Without a pacer, a window that grows is sent as one burst.
    path.queue_limit = 200;
    path.run(3000 * MS);
    path.rtt = 150 * MS;
    path.run(8000 * MS);
    assert!(path.goodput(2000 * MS) > 0.9);
    let min_rtt = path.machine.delay.min_rtt().unwrap();
    assert!(min_rtt >= 150 * MS, "{min_rtt:?}");
}

#[test]
fn refreshing_the_least_round_trip_stalls_nothing() {
    let mut path = Path::new();
    path.run(3000 * MS);
    let mut least = f64::MAX;
    for _ in 0..150 {
        least = least.min(path.goodput(100 * MS));
    }
    assert!(least > 0.6, "{least}");
}

#[test]
fn a_window_that_is_not_used_does_not_grow() {
    let mut path = Path::new();
    path.offered = Some(20.0);
    path.run(5000 * MS);
    assert!(path.window() < 80.0, "{}", path.window());
    assert!(path.window() > 20.0, "{}", path.window());
}

#[test]
fn persistent_congestion_starts_it_anew_with_the_least_window() {
    let mut path = Path::new();
    path.run(3000 * MS);
    path.machine.on_lost(path.now, path.now, BYTES, true);
    assert!((path.window() - MIN_WINDOW).abs() < 0.01);
    assert!(matches!(path.machine.state, State::Startup));
    path.run(2000 * MS);
    assert!(path.goodput(2000 * MS) > 0.95);
}

#[test]
fn a_mark_is_answered_once_a_round_trip_by_a_fifth() {
    let mut path = Path::new();
    path.run(3000 * MS);
    let before = path.window();
    path.machine.on_ecn_mark(path.now, path.now - 20 * MS);
    path.machine.on_ecn_mark(path.now, path.now - 10 * MS);
    let after = path.window();
    assert!(
        (0.75..=0.82).contains(&(after / before)),
        "{before}, {after}"
    );
}

#[test]
fn after_half_a_minute_of_rest_it_begins_with_a_small_window() {
    let mut path = Path::new();
    path.run(3000 * MS);
    while let Some(packet) = path.in_flight.pop_front() {
        path.now += MS;
        path.machine
            .on_ack(path.now, packet.sent, BYTES, true, Duration::ZERO);
        let bytes = BYTES * path.in_flight.len() as u64;
        path.machine.on_end_acks(path.now, bytes, true);
    }
    path.now += 30_000 * MS;
    path.machine.on_sent(path.now, BYTES);
    assert!(
        (path.window() - INITIAL_WINDOW).abs() < 0.01,
        "{}",
        path.window()
    );
}

#[test]
fn another_packet_size_leaves_the_bytes_as_they_were() {
    let mut machine = StateMachine::new(Instant::now(), 1200);
    machine.on_mtu_update(1500);
    assert!((machine.window() - 12_000.0).abs() < 1.0);
    machine.on_mtu_update(9000);
    assert!(
        (machine.window() - 36_000.0).abs() < 1.0,
        "four packets at least"
    );
}

#[test]
fn beside_a_flow_that_fills_the_queue_it_grows_as_that_does_and_alone_again_it_drains_it() {
    let mut path = Path::new();
    path.queue_limit = 300;
    path.run(3000 * MS);
    path.set_competitor(100);
    path.run(5000 * MS);
    assert!(matches!(
        path.machine.state,
        State::Competitive(_) | State::Drain(_)
    ));
    let share = path.goodput(10_000 * MS);
    assert!((0.33..0.8).contains(&share), "{share}");
    path.set_competitor(0);
    path.run(15_000 * MS);
    assert!(path.queue_delay() < 20 * MS, "{:?}", path.queue_delay());
    assert!(path.goodput(5000 * MS) > 0.95);
}

#[test]
fn a_competitor_that_was_there_first_is_found_though_the_path_was_never_seen_without_it() {
    let mut path = Path::new();
    path.queue_limit = 300;
    path.set_competitor(150);
    path.run(3000 * MS);
    // The competitor reduces its window as CUBIC does, and grows back.
    for _ in 0..4 {
        path.competitor.truncate(100);
        path.run(2000 * MS);
        path.competitor
            .resize(150, path.now + path.queue_delay() + path.rtt);
        path.run(3000 * MS);
    }
    // A flow that took the whole standing queue for the path would have a tenth of the link.
    let share = path.goodput(10_000 * MS);
    assert!((0.25..0.67).contains(&share), "{share}");
}

#[test]
fn a_pacer_that_goes_by_a_queue_which_is_gone_is_shown_a_greater_window() {
    let mut path = Path::new();
    path.run(3000 * MS);
    let window = path.machine.window();
    path.machine.smoothed_rtt = 500 * MS;
    assert!((path.machine.window() - window).abs() < 1.0);
    let rtt = 50 * MS;
    path.machine.enter_drain(path.now, rtt, None);
    let State::Drain(test) = &mut path.machine.state else {
        panic!("a drain test was started");
    };
    test.drained = Some(path.now);
    let factor = path.machine.window() / (path.machine.window * path.machine.mtu);
    let min_rtt = path.machine.delay.min_rtt().unwrap().as_secs_f64();
    assert!(
        (factor - 0.5 / (PACING_GAIN * min_rtt)).abs() < 0.1,
        "{factor}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_the_path_does_the_window_stays_a_window(
        seed in any::<u64>(),
        changes in prop::collection::vec((1_u64..20, 1_u64..300, 1_u32..300, 0.0..0.5, any::<bool>()), 1..8),
    ) {
        let mut path = Path::new();
        path.rng = fastrand::Rng::with_seed(seed);
        for (each, rtt, room, loss, mark) in changes {
            path.packet_time = Duration::from_micros(each * 200);
            path.rtt = Duration::from_millis(rtt);
            path.queue_limit = room;
            path.loss = loss;
            for _ in 0..400 {
                path.step();
                let packets = path.window();
                prop_assert!(packets.is_finite());
                prop_assert!(packets >= 2.0 - 1e-9, "{packets}");
                prop_assert!(packets < 1e6, "{packets}");
            }
            if mark {
                path.machine.on_ecn_mark(path.now, path.now);
            }
        }
    }
}
