//! Pure: how many lanes keep a lost packet from stalling the others.
//!
//! A lost packet holds back what follows it on its own stream until it has been sent again, about one round
//! trip. With `W` packets in a round trip spread over `S` lanes, about `W/S` follow on the same lane, so of
//! all packets a share of about `p·(1 + W/S)` comes late: `p` are lost themselves, the others are victims.
//! What share is worth lanes?
//!
//! - While `p` is small, keep the late below `ε` = 1 %, so that the 99th percentile never sees a loss:
//!   `S = W·p/(ε − p)`.
//! - That has no answer at `p >= ε`, where the lost alone are the 99th percentile. From `p = ε/2` on, keep
//!   the victims no more numerous than the lost: `S = W`, a packet a lane.
//!
//! Both are one formula, and it has no jump: `S = W·p/max(ε − p, p)`.
//!
//! `p` is the *loss event rate* of RFC 5348 §5.4: the average number of packets between two losses over the
//! last intervals, recent ones weighing more. Losses within one round trip are one event, so a queue
//! that overflows once and drops twenty packets is one loss and not twenty. The estimate needs no window to
//! be chosen: it covers as many packets as so many losses take, and it falls by itself while none comes.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::whole;
use crate::scaler::{Load, MAX_STREAMS};

/// The share of late packets that is let pass: the 99th percentile stays clear of losses.
const LATE: f64 = 0.01;
/// Intervals that are averaged. RFC 5348 takes eight, to slow down soon; their estimate is off by 40 % at any
/// time. Nothing is in danger here, and the estimate of 32 is off by 20 %.
const INTERVALS: usize = 32;
/// Losses before the estimate is believed: three intervals, an error of a half or so.
const EVENTS: usize = 4;
/// Where losses are rarer than one in a hundred round trips, one lane is enough by the formula above. So many
/// intervals of that length are all that must be remembered.
const MEMORY_ROUND_TRIPS: u32 = 32 * 100;
/// The estimate is off by a fifth or so at any time; a number that moves by less than this is not new.
const RISE: f64 = 1.25;
const FALL: f64 = 0.5;

/// Watches packets and losses, and says how many lanes the losses are worth.
#[derive(Debug, Clone)]
pub(super) struct LossTerm {
    /// Forget losses not before this age.
    memory: Duration,
    last: Option<Totals>,
    /// When each loss happened and how many packets had been sent; one more than [`INTERVALS`] at most.
    events: VecDeque<(Instant, f64)>,
    level: usize,
    /// The congestion window was full at some moment since the last reading.
    was_full: bool,
}

#[derive(Debug, Clone, Copy)]
struct Totals {
    at: Instant,
    sent: u64,
    lost: u64,
}

impl LossTerm {
    pub(super) fn new(memory: Duration) -> Self {
        Self {
            memory,
            last: None,
            events: VecDeque::new(),
            level: 1,
            was_full: false,
        }
    }

    /// The lanes that the present losses are worth; 1 where they are worth none.
    pub(super) fn lanes(&self) -> usize {
        self.level
    }

    /// Reads the connection's totals. Does nothing within a round trip of the last reading. What is lost while the
    /// congestion window is `full` is no measure of the path: it may be the window's own doing, and where messages wait for
    /// the window, they do not wait for a stalled lane.
    pub(super) fn on_look(&mut self, now: Instant, load: &Load, full: bool) {
        /// Shorter than this, on a local network, the packets are too few to count.
        const LEAST: Duration = Duration::from_millis(5);
        let totals = Totals {
            at: now,
            sent: load.packets_sent,
            lost: load.packets_lost,
        };
        let Some(last) = self.last else {
            self.last = Some(totals);
            return;
        };
        if totals.sent < last.sent || totals.lost < last.lost {
            // Another connection, and maybe another network.
            *self = Self::new(self.memory);
            self.last = Some(totals);
            return;
        }
        self.was_full |= full;
        let time = now.saturating_duration_since(last.at);
        if time < load.rtt.max(LEAST) {
            return;
        }
        self.last = Some(totals);
        let sent = (totals.sent - last.sent) as f64;
        let round_trips = time.as_secs_f64() / load.rtt.as_secs_f64().max(1e-6);
        self.note(
            now,
            last.sent as f64,
            sent,
            if self.was_full {
                0
            } else {
                totals.lost - last.lost
            },
            round_trips,
        );

        self.was_full = full;
        let memory = load.rtt.saturating_mul(MEMORY_ROUND_TRIPS).max(self.memory);
        self.events
            .retain(|&(at, _)| now.saturating_duration_since(at) < memory);

        let per_round_trip = sent / round_trips;
        let p = self.event_rate(totals.sent as f64);
        let wanted = (per_round_trip * p / (LATE - p).max(p)).max(1.0);
        let wanted = wanted.min(MAX_STREAMS as f64).ceil();
        let level = self.level as f64;
        if wanted > level * RISE || wanted < level * FALL || wanted < 2.0 {
            self.level = whole(wanted);
        }
    }

    /// Adds what was lost since the last reading: an event a round trip at most, spread over what was sent.
    fn note(&mut self, now: Instant, before: f64, sent: f64, lost: u64, round_trips: f64) {
        let events = whole(round_trips.ceil())
            .min(usize::try_from(lost).unwrap_or(usize::MAX))
            .min(INTERVALS + 1);
        for i in 1..=events {
            if self.events.len() > INTERVALS {
                self.events.pop_front();
            }
            let place = before + sent * i as f64 / events as f64;
            self.events.push_back((now, place));
        }
    }

    /// RFC 5348 §5.4: one loss in how many packets, with the interval that is still open where that makes
    /// losses rarer.
    fn event_rate(&self, sent: f64) -> f64 {
        if self.events.len() < EVENTS {
            return 0.0;
        }
        let places = self.events.iter().rev().map(|&(_, place)| place);
        let ends = std::iter::once(sent).chain(places.clone());
        let intervals = ends.zip(places).map(|(end, start)| end - start);
        let closed = self.events.len() - 1;
        let weigh = |intervals: &mut dyn Iterator<Item = f64>| -> f64 {
            intervals
                .take(closed)
                .zip(weights())
                .map(|(i, w)| i * w)
                .sum()
        };
        let with_open = weigh(&mut intervals.clone());
        let without = weigh(&mut intervals.skip(1));
        let weight: f64 = weights().take(closed).sum();
        let average = (weight / with_open.max(without).max(1.0)).min(1.0);
        // After n packets without a loss it is rarer than 4.6/n with 99 % certainty, be the past as it may:
        // (1 - 4.6/n)^n is about 1 %.
        let open = sent - self.events.back().map_or(0.0, |&(_, place)| place);
        average.min(4.6 / open.max(1.0))
    }
}

/// RFC 5348 §5.4: the weights of the intervals, the most recent first: even for half of them, then falling.
fn weights() -> impl Iterator<Item = f64> {
    let n = INTERVALS as f64;
    (0..INTERVALS).map(move |i| (2.0 * (n - i as f64) / (n + 2.0)).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scaler::model::{Dice, origin};

    /// Sends `rate` packets a round trip of 50 ms for `seconds`, loses each with chance `p`, and returns the
    /// level at every look after the first half.
    fn levels(rate: u64, p: f64, seconds: u32, seed: u64) -> Vec<usize> {
        let mut dice = Dice::new(seed);
        let mut term = LossTerm::new(Duration::from_secs(10));
        let mut load = Load {
            rtt: Duration::from_millis(50),
            ..Load::default()
        };
        let looks = seconds * 20;
        let mut seen = Vec::new();
        for look in 0..looks {
            load.packets_sent += rate;
            load.packets_lost += (0..rate).filter(|_| dice.roll() < p).count() as u64;
            term.on_look(origin() + load.rtt * look, &load, false);
            if look > looks / 2 {
                seen.push(term.lanes());
            }
        }
        seen
    }

    #[test]
    fn a_link_without_loss_is_worth_one_lane() {
        assert!(levels(400, 0.0, 60, 1).iter().all(|&n| n == 1));
    }

    #[test]
    fn below_half_a_percent_the_lanes_keep_the_99th_percentile_clear_of_losses() {
        // S = W p / (1 % - p): 29 for 260 packets and 0.1 %. Event counting sees a little less than p, the
        // band a little more.
        for seed in 0..8 {
            for n in levels(260, 0.001, 120, seed) {
                assert!((12..=60).contains(&n), "seed {seed}: {n} lanes");
            }
        }
        for seed in 0..8 {
            let most = levels(100, 0.0001, 120, seed).into_iter().max();
            assert!(
                most <= Some(3),
                "seed {seed}: {most:?} lanes for 1 in 10 000"
            );
        }
    }

    #[test]
    fn from_half_a_percent_on_each_packet_of_a_round_trip_has_a_lane() {
        for (rate, p) in [(20, 0.02), (20, 0.05), (40, 0.02), (260, 0.01), (260, 0.05)] {
            for seed in 0..4 {
                for n in levels(rate, p, 60, seed) {
                    let all = usize::try_from(rate).unwrap().min(MAX_STREAMS);
                    assert!(n * 10 >= all * 6 && n <= all, "{rate} at {p}: {n} lanes");
                }
            }
        }
    }

    #[test]
    fn the_number_holds_still_under_a_steady_loss() {
        for seed in 0..4 {
            let seen = levels(260, 0.001, 300, seed);
            let moves = seen.windows(2).filter(|pair| pair[0] != pair[1]).count();
            assert!(moves <= 10, "seed {seed}: {moves} moves in 150 s");
        }
    }

    #[test]
    fn a_burst_of_drops_is_one_loss() {
        let mut term = LossTerm::new(Duration::from_secs(10));
        let mut load = Load {
            rtt: Duration::from_millis(50),
            ..Load::default()
        };
        for look in 0..2000 {
            load.packets_sent += 200;
            if look % 100 == 0 {
                load.packets_lost += 50;
            }
            term.on_look(origin() + load.rtt * look, &load, false);
            assert!(
                term.lanes() <= 2,
                "a full queue drops every 5 s: {}",
                term.lanes()
            );
        }
    }

    #[test]
    fn the_number_falls_when_the_traffic_stops_and_when_the_losses_do() {
        let lossy = |packets: u64,
                     looks: std::ops::Range<u32>,
                     term: &mut LossTerm,
                     load: &mut Load,
                     p: u64| {
            for look in looks {
                load.packets_sent += packets;
                load.packets_lost += p;
                term.on_look(origin() + load.rtt * look, load, false);
            }
        };
        let mut load = Load {
            rtt: Duration::from_millis(50),
            ..Load::default()
        };
        let mut term = LossTerm::new(Duration::from_secs(10));
        lossy(100, 0..50, &mut term, &mut load, 1);
        assert_eq!(term.lanes(), 64);
        let mut quiet = term.clone();
        lossy(0, 50..52, &mut quiet, &mut load.clone(), 0);
        assert_eq!(quiet.lanes(), 1, "no packet, nobody to stall");
        lossy(100, 50..550, &mut term, &mut load, 0);
        assert_eq!(term.lanes(), 1, "50 000 packets without a loss");
    }

    #[test]
    fn a_new_connection_starts_without_old_losses() {
        let mut load = Load {
            rtt: Duration::from_millis(50),
            ..Load::default()
        };
        let mut term = LossTerm::new(Duration::from_secs(10));
        for look in 0..50 {
            load.packets_sent += 100;
            load.packets_lost += 1;
            term.on_look(origin() + load.rtt * look, &load, false);
        }
        load.packets_sent = 10;
        load.packets_lost = 0;
        term.on_look(origin() + load.rtt * 50, &load, false);
        assert_eq!(term.lanes(), 1);
        assert!(term.events.is_empty());
    }

    #[test]
    fn losses_of_long_ago_are_no_measure_of_today() {
        let mut load = Load {
            rtt: Duration::from_millis(50),
            ..Load::default()
        };
        let mut term = LossTerm::new(Duration::from_secs(10));
        for look in 0..50 {
            load.packets_sent += 100;
            load.packets_lost += 1;
            term.on_look(origin() + load.rtt * look, &load, false);
        }
        let later = origin() + Duration::from_secs(3600);
        for look in 0..3 {
            load.packets_sent += 100;
            term.on_look(later + load.rtt * look, &load, false);
        }
        assert_eq!(term.lanes(), 1);
    }
}
