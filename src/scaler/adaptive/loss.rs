//! Sans-I/O: how many lanes keep a lost packet from delaying messages that were not lost.
//!
//! A lost packet holds back what follows it on its own stream until it has been sent again, about one round trip. With `W`
//! packets in that time spread over `S` lanes, about `W/S` follow on the same lane. So of all packets a share of about
//! `p·(1 + W/S)` comes late: `p` are lost themselves, and the others are victims.
//!
//! - With a packet a lane, `S = W`, a lost packet delays only itself. More lanes are of no use.
//! - While `p` is small, fewer lanes keep the late packets below `ε` = 1 %, so that the 99th percentile never sees a loss. Then
//!   `ε − p` may be victims. The law permits a quarter of that: `S = W·4p/(ε − p)`.
//!
//! ```text
//! S = W · min(1, 4p / (ε − p))      rounded up to a power of two
//! ```
//!
//! From `p = ε/5` on that is a packet a lane. The estimate is not better than a power of two, and a lane too many costs less than
//! one too few.
//!
//! `W` counts the packets of a round trip and of the time until a loss is detected: three more packets, or a timer of an eighth
//! of a round trip, at least 1 ms (RFC 9002 §6.1).
//!
//! `p` is the *loss event rate* of RFC 5348 §5.4: one loss per average number of packets between two losses, over the last
//! intervals, recent ones weighing more. Losses within a few round trips are one event, so a queue that overflows once and drops
//! twenty packets is one event. The estimate needs no time window: it covers as many packets as the remembered losses took, and
//! it falls while no loss comes.
//!
//! What is sent while messages wait for the congestion window or for a processor does not count, lost or not, because those
//! messages do not wait for a delayed lane. A window that is full for moments, and carries the load all the same, is helped by
//! lanes, and its losses count. These lanes have no trial: the measure of their gain is the share of late messages, which takes
//! thousands of messages to tell.
//!
//! Measured in simulation at 100 Mbit/s, 50 ms, 1 % loss and half the link's rate (`W` = 260): 90th percentile 78 ms with one
//! stream, 71 with 8, 27 with 64, 27 with a stream for every message.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::common::{GRANULARITY, whole};
use crate::scaler::{config::MAX_LANES, load::Load};

/// `ε`: the permitted share of late packets. The 99th percentile is what users look at; at 0.1 % hardly any link could be served.
const LATE: f64 = 0.01;
/// Intervals that are averaged. RFC 5348 takes eight, to slow down soon, and their estimate is off by 40 %. Here the estimate may
/// be slower, and that of 32 is off by 20 %.
const INTERVALS: usize = 32;
/// Where losses are rarer than one in a hundred round trips, one lane is enough by the formula above. So no more than this many
/// round trips must be remembered: all intervals of that length.
const MEMORY_ROUND_TRIPS: u32 = 32 * 100;
/// The part of `ε − p` that may be victims. With all of it the 99th percentile would be at the edge.
const VICTIMS: f64 = 0.25;
/// Packets after a lost one that make it count as lost (RFC 9002 §6.1.1).
const REORDERING: f64 = 3.0;
/// Round trips within which losses are one event. A queue that overflows drops until the sender has slowed down.
const APART: u32 = 4;
/// Factor of the permitted lanes for each loss event: 8 after the first, 64 after the second. One loss in `n` packets may be one
/// in `4n`, and the first may be a queue that overflowed once.
const CREDIT: f64 = 8.0;
/// Factor of `W`, because packets do not come evenly and the next lane is not always free.
const UNEVEN: f64 = 1.25;
/// The level falls when this part of it is enough. Smaller steps are within the error of the estimate.
const FALL: f64 = 0.25;

/// Watches packets and losses, and returns how many lanes the losses are worth.
#[derive(Debug, Clone)]
pub(super) struct LossTerm {
    /// The least age at which a loss is forgotten.
    memory: Duration,
    last: Option<Totals>,
    /// Packets that were counted.
    counted: f64,
    /// When each loss happened and how many packets had been counted then. At most [`INTERVALS`].
    events: VecDeque<(Instant, f64)>,
    /// Where the interval before the first event begins, in counted packets.
    since: f64,
    level: usize,
    /// Whether messages waited for something other than a lane at some moment since the last reading.
    waits: bool,
    /// The value of `waits` between the two readings before.
    waited: bool,
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
            counted: 0.0,
            events: VecDeque::new(),
            since: 0.0,
            level: 1,
            waits: false,
            waited: false,
        }
    }

    /// Returns the lanes that the present losses are worth, at least 1.
    pub(super) fn lanes(&self) -> usize {
        self.level
    }

    /// Reads the connection's totals, at most once in a round trip.
    ///
    /// `waits_elsewhere` says that messages wait for the congestion window or a processor, so that what is sent does not count.
    /// A loss shows a round trip after it happened, and then fills the window by making it smaller. So the value of the reading
    /// before decides.
    pub(super) fn on_load(&mut self, now: Instant, load: &Load, waits_elsewhere: bool) {
        /// The least time between two readings. On a local network a round trip has too few packets to count.
        const MIN_INTERVAL: Duration = Duration::from_millis(5);
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
            // Smaller totals are those of another connection, maybe on another network.
            *self = Self::new(self.memory);
            self.last = Some(totals);
            return;
        }
        self.waits |= waits_elsewhere;
        let time = now.saturating_duration_since(last.at);
        if time < load.rtt.max(MIN_INTERVAL) {
            return;
        }
        self.last = Some(totals);
        let sent = (totals.sent - last.sent) as f64;
        let waited = std::mem::replace(&mut self.waited, self.waits);
        self.waits = waits_elsewhere;
        if !waited {
            let round_trips = time.as_secs_f64() / load.rtt.as_secs_f64().max(1e-6);
            self.count(now, sent, totals.lost - last.lost, load.rtt, round_trips);
        }
        let memory = load.rtt.saturating_mul(MEMORY_ROUND_TRIPS).max(self.memory);
        while let Some(&(at, position)) = self.events.front()
            && now.saturating_duration_since(at) >= memory
        {
            self.events.pop_front();
            self.since = position;
        }

        let exposed = exposed(sent / time.as_secs_f64(), load.rtt);
        let wanted = exposed * lanes_per_packet(self.event_rate());
        let wanted = wanted.min(self.credit()).min(MAX_LANES as f64);
        let wanted = whole(wanted.ceil()).max(1).next_power_of_two();
        if wanted > self.level || wanted == 1 || wanted as f64 <= self.level as f64 * FALL {
            self.level = wanted;
        }
    }

    /// Adds what was sent and lost since the last reading. There is at most one event in [`APART`] round trips, spread evenly.
    fn count(&mut self, now: Instant, sent: f64, lost: u64, rtt: Duration, round_trips: f64) {
        let same = self
            .events
            .back()
            .is_some_and(|&(at, _)| now.saturating_duration_since(at) < rtt * APART);
        let events = whole((round_trips / f64::from(APART)).ceil())
            .min(usize::try_from(lost).unwrap_or(usize::MAX))
            .min(INTERVALS);
        let events = if same { 0 } else { events };
        for i in 1..=events {
            if self.events.len() >= INTERVALS
                && let Some((_, position)) = self.events.pop_front()
            {
                self.since = position;
            }
            let position = self.counted + sent * i as f64 / events as f64;
            self.events.push_back((now, position));
        }
        self.counted += sent;
    }

    /// Returns the most lanes that so few losses can be worth.
    fn credit(&self) -> f64 {
        let events = i32::try_from(self.events.len()).unwrap_or(i32::MAX);
        CREDIT.powi(events)
    }

    /// Returns the loss event rate of RFC 5348 §5.4. The interval that is still open counts if it makes losses rarer.
    fn event_rate(&self) -> f64 {
        let closed = self.events.len();
        if closed == 0 {
            return 0.0;
        }
        let positions = self.events.iter().rev().map(|&(_, position)| position);
        let ends = std::iter::once(self.counted).chain(positions.clone());
        let starts = positions.chain([self.since]);
        let intervals = ends.zip(starts).map(|(end, start)| end - start);
        let weigh = |intervals: &mut dyn Iterator<Item = f64>| -> f64 {
            intervals
                .take(closed)
                .zip(weights())
                .map(|(i, w)| i * w)
                .sum()
        };
        let with_open = weigh(&mut intervals.clone());
        let without = weigh(&mut intervals.clone().skip(1));
        let weight: f64 = weights().take(closed).sum();
        let average = (weight / with_open.max(without).max(1.0)).min(1.0);
        // After n packets without a loss, losses are rarer than 4.6/n with 99 % certainty, whatever came before:
        // (1 - 4.6/n)^n is about 1 %.
        let open = self.counted - self.events.back().map_or(0.0, |&(_, position)| position);
        average.min(4.6 / open.max(1.0))
    }
}

/// Returns `W`: the packets that are sent before a lost one is detected and sent again.
fn exposed(packets_per_second: f64, rtt: Duration) -> f64 {
    let detected = (packets_per_second * (rtt / 8).max(GRANULARITY).as_secs_f64()).min(REORDERING);
    (packets_per_second * rtt.as_secs_f64() + detected) * UNEVEN
}

/// Returns the lanes that a loss rate is worth for each packet of `W`, at most one.
fn lanes_per_packet(p: f64) -> f64 {
    match LATE - p {
        room if room > 0.0 => (p / (room * VICTIMS)).min(1.0),
        _ => 1.0,
    }
}

/// Returns the weights of the intervals by RFC 5348 §5.4, the most recent first: even for half of them, then falling.
fn weights() -> impl Iterator<Item = f64> {
    let n = INTERVALS as f64;
    (0..INTERVALS).map(move |i| (2.0 * (n - i as f64) / (n + 2.0)).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scaler::tests::{Rng, origin};

    /// Sends `rate` packets a round trip of 50 ms for `seconds`, loses each with probability `p`, and returns the level at every
    /// load after the first half.
    fn levels(rate: u64, p: f64, seconds: u32, seed: u64) -> Vec<usize> {
        let mut rng = Rng::new(seed);
        let mut term = LossTerm::new(Duration::from_secs(10));
        let mut load = Load {
            rtt: Duration::from_millis(50),
            ..Load::default()
        };
        let loads = seconds * 20;
        let mut seen = Vec::new();
        for at in 0..loads {
            load.packets_sent += rate;
            load.packets_lost += (0..rate).filter(|_| rng.next_f64() < p).count() as u64;
            term.on_load(origin() + load.rtt * at, &load, false);
            if at > loads / 2 {
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
    fn rare_losses_get_the_lanes_that_keep_the_99th_percentile_clear_of_them() {
        // S = W 4p / (1 % - p) = 129 · 0.4 / 0.9 = 57 for 100 packets, 3 until a loss is detected, and a quarter more. Counting
        // events sees less than p; the band and the rounding are a doubling each.
        for seed in 0..8 {
            for n in levels(100, 0.001, 120, seed) {
                assert!((16..=64).contains(&n), "seed {seed}: {n} lanes");
            }
        }
        for seed in 0..8 {
            let most = levels(100, 0.0001, 120, seed).into_iter().max();
            assert!(
                most <= Some(16),
                "seed {seed}: {most:?} lanes for 1 in 10 000"
            );
        }
    }

    #[test]
    fn from_a_fifth_of_a_percent_on_each_packet_that_a_loss_may_delay_has_a_lane() {
        for (rate, p) in [(10, 0.02), (20, 0.05), (40, 0.02), (260, 0.01), (260, 0.05)] {
            for seed in 0..4 {
                for n in levels(rate, p, 60, seed) {
                    let all = usize::try_from(rate).unwrap().min(MAX_LANES);
                    assert!(n >= all && n <= 4 * all, "{rate} at {p}: {n} lanes");
                }
            }
        }
    }

    #[test]
    fn one_loss_is_worth_eight_lanes_at_most_and_the_next_eight_times_as_many() {
        let mut term = LossTerm::new(Duration::from_secs(10));
        let mut load = Load {
            rtt: Duration::from_millis(50),
            ..Load::default()
        };
        let mut levels = Vec::new();
        for at in 0..30 {
            load.packets_sent += 100;
            load.packets_lost += u64::from(at % 10 == 5);
            term.on_load(origin() + load.rtt * at, &load, false);
            levels.push(term.lanes());
        }
        levels.dedup();
        assert_eq!(levels, [1, 8, 64]);
    }

    #[test]
    fn what_is_lost_while_messages_wait_for_the_window_counts_neither_then_nor_a_round_trip_later()
    {
        let mut term = LossTerm::new(Duration::from_secs(10));
        let mut load = Load {
            rtt: Duration::from_millis(50),
            ..Load::default()
        };
        for at in 0..100 {
            load.packets_sent += 100;
            load.packets_lost += u64::from(at % 3 == 1 && at > 3);
            term.on_load(origin() + load.rtt * at, &load, at % 3 == 0);
        }
        assert_eq!(term.lanes(), 1);
        let mut term = LossTerm::new(Duration::from_secs(10));
        for at in 100..200 {
            load.packets_sent += 100;
            load.packets_lost += u64::from(at % 3 == 0);
            term.on_load(origin() + load.rtt * at, &load, at % 3 == 0);
        }
        assert!(term.lanes() > 16, "a loss makes the window full by itself");
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
        for at in 0..2000 {
            load.packets_sent += 200;
            if at % 100 == 0 {
                load.packets_lost += 50;
            }
            term.on_load(origin() + load.rtt * at, &load, false);
            assert!(
                term.lanes() <= 8,
                "a full queue drops every 5 s: {}",
                term.lanes()
            );
        }
    }

    #[test]
    fn the_number_falls_when_the_traffic_stops_and_when_the_losses_do() {
        let lossy = |packets: u64,
                     loads: std::ops::Range<u32>,
                     term: &mut LossTerm,
                     load: &mut Load,
                     p: u64| {
            for at in loads {
                load.packets_sent += packets;
                load.packets_lost += p;
                term.on_load(origin() + load.rtt * at, load, false);
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
        assert_eq!(quiet.lanes(), 1, "no packet, no victim");
        lossy(100, 50..550, &mut term, &mut load, 0);
        assert!(term.lanes() <= 16, "50 000 packets without a loss");
        lossy(100, 550..5050, &mut term, &mut load, 0);
        assert_eq!(term.lanes(), 1, "half a million, and forgotten");
    }

    #[test]
    fn a_new_connection_starts_without_old_losses() {
        let mut load = Load {
            rtt: Duration::from_millis(50),
            ..Load::default()
        };
        let mut term = LossTerm::new(Duration::from_secs(10));
        for at in 0..50 {
            load.packets_sent += 100;
            load.packets_lost += 1;
            term.on_load(origin() + load.rtt * at, &load, false);
        }
        load.packets_sent = 10;
        load.packets_lost = 0;
        term.on_load(origin() + load.rtt * 50, &load, false);
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
        for at in 0..50 {
            load.packets_sent += 100;
            load.packets_lost += 1;
            term.on_load(origin() + load.rtt * at, &load, false);
        }
        let later = origin() + Duration::from_secs(3600);
        for at in 0..3 {
            load.packets_sent += 100;
            term.on_load(later + load.rtt * at, &load, false);
        }
        assert_eq!(term.lanes(), 1);
    }
}
