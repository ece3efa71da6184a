//! The machine on a model of a path: one queue, one delay, losses by dice, and no pacer.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);
const BYTES: u64 = 1200;
/// Packets later than which one that is not acknowledged is lost.
const THRESHOLD: u64 = 3;

#[derive(Debug, Clone, Copy)]
struct Flying {
    number: u64,
    sent: Instant,
    /// When its acknowledgement comes; `None` for one that is lost.
    back: Option<Instant>,
}

/// A path, with the machine that sends on it.
struct Path {
    now: Instant,
    /// The time that the link takes for a packet, the round trip without it, and the packets that may wait.
    each: Duration,
    rtt: Duration,
    room: u32,
    loss: f64,
    /// The application brings no more than so many packets a round trip.
    offered: Option<f64>,
    dice: fastrand::Rng,
    free: Instant,
    /// When each packet comes back of somebody who always has so many in flight, and sends another.
    foreign: VecDeque<Instant>,
    flying: VecDeque<Flying>,
    number: u64,
    delivered: u64,
    dropped: u64,
    machine: Machine,
}

impl Path {
    /// 1000 packets a second, 50 ms: fifty packets fill it.
    fn new() -> Self {
        let now = Instant::now();
        Self {
            now,
            each: MS,
            rtt: 50 * MS,
            room: 50,
            loss: 0.0,
            offered: None,
            dice: fastrand::Rng::with_seed(7),
            free: now,
            foreign: VecDeque::new(),
            flying: VecDeque::new(),
            number: 0,
            delivered: 0,
            dropped: 0,
            machine: Machine::new(now, 1200),
        }
    }

    fn queue(&self) -> Duration {
        self.free.saturating_duration_since(self.now)
    }

    /// Somebody else comes, with so many packets in flight; or goes, with none.
    fn foreign(&mut self, packets: usize) {
        self.foreign = VecDeque::from(vec![self.now; packets]);
    }

    fn on_foreign(&mut self) {
        while let Some(back) = self.foreign.front().copied()
            && back <= self.now
        {
            self.foreign.pop_front();
            self.free = self.free.max(back) + self.each;
            self.foreign.push_back(self.free + self.rtt);
        }
    }

    /// Sends what the window permits. Says whether there was not enough to send.
    fn send(&mut self) -> bool {
        self.on_foreign();
        loop {
            let in_flight = self.flying.len() as f64;
            if self.offered.is_some_and(|offered| in_flight >= offered) {
                return true;
            }
            if (in_flight + 1.0) * BYTES as f64 >= self.machine.window() {
                return false;
            }
            let full = self.queue() >= self.each * self.room;
            self.dropped += u64::from(full);
            let back = (!full).then(|| {
                self.free = self.free.max(self.now) + self.each;
                self.free + self.rtt
            });
            let back = back.filter(|_| self.dice.f64() >= self.loss);
            self.flying.push_back(Flying {
                number: self.number,
                sent: self.now,
                back,
            });
            self.number += 1;
            self.machine.on_sent(self.now, BYTES);
        }
    }

    /// The next acknowledgement comes in, and with it what it says about losses.
    fn step(&mut self) {
        let limited = self.send();
        let next = self
            .flying
            .iter()
            .filter_map(|packet| Some((packet.back?, packet.number)));
        let Some((at, number)) = next.min() else {
            // Everything was lost. What is sent after a timeout gets through.
            self.now += 3 * self.rtt;
            while self.flying.pop_front().is_some() {
                self.machine
                    .on_lost(self.now, self.now - self.rtt, BYTES, false);
            }
            return;
        };
        self.now = self.now.max(at);
        let place = self
            .flying
            .iter()
            .position(|packet| packet.number == number)
            .unwrap();
        let packet = self.flying.remove(place).unwrap();
        self.delivered += 1;
        // There is no pacer, so none that is behind.
        self.machine
            .on_ack(self.now, packet.sent, BYTES, limited, Duration::ZERO);
        let in_flight = BYTES * self.flying.len() as u64;
        self.machine.on_end_acks(self.now, in_flight, limited);
        while let Some(first) = self.flying.front().copied()
            && first.number + THRESHOLD <= number
        {
            self.flying.pop_front();
            self.machine.on_lost(self.now, first.sent, BYTES, false);
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.step();
        }
    }

    /// What is delivered in this time, as a part of what the link carries.
    fn goodput(&mut self, time: Duration) -> f64 {
        let before = self.delivered;
        self.run(time);
        (self.delivered - before) as f64 * self.each.as_secs_f64() / time.as_secs_f64()
    }

    fn packets(&self) -> f64 {
        self.machine.window() / BYTES as f64
    }
}

#[test]
fn a_path_is_filled_and_its_queue_kept_short() {
    let mut path = Path::new();
    path.run(2000 * MS);
    let dropped = path.dropped;
    assert!(path.goodput(10_000 * MS) > 0.97);
    assert!(path.queue() < 20 * MS, "{:?}", path.queue());
    assert_eq!(path.dropped, dropped);
}

#[test]
fn losses_of_five_in_a_hundred_are_none_of_its_business() {
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
    assert!(path.packets() < 20.0, "{}", path.packets());
}

#[test]
fn where_there_is_no_queue_it_finds_what_is_delivered_and_loses_little() {
    let mut path = Path::new();
    path.room = 3;
    path.run(5000 * MS);
    let (sent, dropped) = (path.number, path.dropped);
    let goodput = path.goodput(20_000 * MS);
    let lost = (path.dropped - dropped) as f64 / (path.number - sent) as f64;
    assert!(goodput > 0.7 && lost < 0.03, "{goodput}, {lost} lost");
}

#[test]
fn a_link_that_slows_down_is_drained_and_one_that_speeds_up_is_filled() {
    let mut path = Path::new();
    path.room = 500;
    path.run(3000 * MS);
    path.each = 5 * MS;
    // What is in flight takes 300 ms then.
    path.run(500 * MS);
    assert!(path.queue() < 50 * MS, "{:?}", path.queue());
    assert!(path.goodput(2000 * MS) > 0.95);
    path.each = MS;
    path.run(500 * MS);
    assert!(path.goodput(1000 * MS) > 0.95);
}

#[test]
fn a_longer_round_trip_is_believed_once_the_pipe_was_drained() {
    let mut path = Path::new();
    // Without a pacer, a window that opens comes as one clump.
    path.room = 200;
    path.run(3000 * MS);
    path.rtt = 150 * MS;
    path.run(8000 * MS);
    assert!(path.goodput(2000 * MS) > 0.9);
    let least = path.machine.delay.least().unwrap();
    assert!(least >= 150 * MS, "{least:?}");
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
    assert!(path.packets() < 80.0, "{}", path.packets());
    assert!(path.packets() > 20.0, "{}", path.packets());
}

#[test]
fn persistent_congestion_starts_it_anew_with_the_least_window() {
    let mut path = Path::new();
    path.run(3000 * MS);
    path.machine.on_lost(path.now, path.now, BYTES, true);
    assert!((path.packets() - LEAST).abs() < 0.01);
    assert!(matches!(path.machine.state, State::StartUp));
    path.run(2000 * MS);
    assert!(path.goodput(2000 * MS) > 0.95);
}

#[test]
fn a_mark_is_answered_once_a_round_trip_by_a_fifth() {
    let mut path = Path::new();
    path.run(3000 * MS);
    let before = path.packets();
    path.machine.on_mark(path.now, path.now - 20 * MS);
    path.machine.on_mark(path.now, path.now - 10 * MS);
    let after = path.packets();
    assert!(
        (0.75..=0.82).contains(&(after / before)),
        "{before}, {after}"
    );
}

#[test]
fn after_half_a_minute_of_rest_it_begins_with_a_small_window() {
    let mut path = Path::new();
    path.run(3000 * MS);
    while let Some(packet) = path.flying.pop_front() {
        path.now += MS;
        path.machine
            .on_ack(path.now, packet.sent, BYTES, true, Duration::ZERO);
        let in_flight = BYTES * path.flying.len() as u64;
        path.machine.on_end_acks(path.now, in_flight, true);
    }
    path.now += 30_000 * MS;
    path.machine.on_sent(path.now, BYTES);
    assert!(
        (path.packets() - INITIAL).abs() < 0.01,
        "{}",
        path.packets()
    );
}

#[test]
fn another_packet_size_leaves_the_bytes_as_they_were() {
    let mut machine = Machine::new(Instant::now(), 1200);
    machine.on_mtu(1500);
    assert!((machine.window() - 12_000.0).abs() < 1.0);
    machine.on_mtu(9000);
    assert!(
        (machine.window() - 36_000.0).abs() < 1.0,
        "four packets at least"
    );
}

#[test]
fn beside_one_who_fills_the_queue_it_grows_as_he_does_and_alone_again_it_drains_it() {
    let mut path = Path::new();
    path.room = 300;
    path.run(3000 * MS);
    path.foreign(100);
    path.run(5000 * MS);
    assert!(matches!(
        path.machine.state,
        State::Beside(_) | State::Braking(_)
    ));
    let share = path.goodput(10_000 * MS);
    assert!((0.33..0.8).contains(&share), "{share}");
    path.foreign(0);
    path.run(15_000 * MS);
    assert!(path.queue() < 20 * MS, "{:?}", path.queue());
    assert!(path.goodput(5000 * MS) > 0.95);
}

#[test]
fn who_was_there_first_is_found_though_the_path_was_never_seen_without_him() {
    let mut path = Path::new();
    path.room = 300;
    path.foreign(150);
    path.run(3000 * MS);
    // He yields as CUBIC does, and is back.
    for _ in 0..4 {
        path.foreign.truncate(100);
        path.run(2000 * MS);
        path.foreign.resize(150, path.now + path.queue() + path.rtt);
        path.run(3000 * MS);
    }
    // Who takes all that is there for the path has a tenth of it.
    let share = path.goodput(10_000 * MS);
    assert!((0.25..0.67).contains(&share), "{share}");
}

#[test]
fn a_pacer_that_goes_by_a_queue_which_is_gone_is_shown_a_greater_window() {
    let mut path = Path::new();
    path.run(3000 * MS);
    let window = path.machine.window();
    path.machine.smoothed = 500 * MS;
    assert!((path.machine.window() - window).abs() < 1.0);
    let rtt = 50 * MS;
    path.machine.brake(path.now, rtt, None);
    let State::Braking(braking) = &mut path.machine.state else {
        panic!("it drains");
    };
    braking.drained = Some(path.now);
    let times = path.machine.window() / (path.machine.window * path.machine.mtu);
    let least = path.machine.delay.least().unwrap().as_secs_f64();
    assert!((times - 0.5 / (PACED * least)).abs() < 0.1, "{times}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_the_path_does_the_window_stays_a_window(
        seed in any::<u64>(),
        changes in prop::collection::vec((1_u64..20, 1_u64..300, 1_u32..300, 0.0..0.5, any::<bool>()), 1..8),
    ) {
        let mut path = Path::new();
        path.dice = fastrand::Rng::with_seed(seed);
        for (each, rtt, room, loss, mark) in changes {
            path.each = Duration::from_micros(each * 200);
            path.rtt = Duration::from_millis(rtt);
            path.room = room;
            path.loss = loss;
            for _ in 0..400 {
                path.step();
                let packets = path.packets();
                prop_assert!(packets.is_finite());
                prop_assert!(packets >= 2.0 - 1e-9, "{packets}");
                prop_assert!(packets < 1e6, "{packets}");
            }
            if mark {
                path.machine.on_mark(path.now, path.now);
            }
        }
    }
}
