//! Scenarios with a known right answer: the decisions of the scaler, and their results.

use std::{collections::BTreeMap, time::Duration};

use anabranch::scaler::Action;
use anabranch_lab::Outcome;

use super::{adaptive, compared};

/// Returns when lanes were opened, and how many.
fn openings(outcome: &Outcome) -> Vec<(Duration, usize)> {
    let opened = outcome
        .trace
        .decisions
        .iter()
        .filter_map(|decided| match decided.action {
            Action::Open(n) => Some((decided.at, n.get())),
            _ => None,
        });
    opened.collect()
}

#[test]
fn a_clean_link_whose_window_is_not_the_limit_is_left_with_one_lane() {
    for load in ["100kbit", "10mbit"] {
        let outcome = adaptive(&[
            ("rtt", "20ms"),
            ("load", load),
            ("duration", "2s"),
            ("warm-up", "1s"),
        ]);
        assert_eq!((outcome.lanes.opened, outcome.lanes.max), (0, 1), "{load}");
        assert!(
            outcome.delivery_ms.max < 10.5,
            "{load}: {:?}",
            outcome.delivery_ms
        );
    }
}

#[test]
fn where_the_congestion_window_is_full_no_lane_is_opened_and_the_throughput_is_that_of_the_best_static_number()
 {
    /// Bytes in flight that the load needs: 20 Mbit/s over 50 ms.
    const NEEDED: u64 = 125_000;
    // Summed over all seeds, because a single run depends on when losses happen.
    let mut carried_by = BTreeMap::<String, f64>::new();
    for seed in ["1", "2", "3", "4", "5", "6"] {
        let comparison = compared(&[
            ("loss", "1%"),
            ("load", "20mbit"),
            ("duration", "8s"),
            ("strategies", "adaptive,1,4,16"),
            ("seed", seed),
        ]);
        let outcome = comparison.of("adaptive").unwrap();
        // Lanes may open while the window is large enough for the load, or nearly so.
        let samples = &outcome.trace.samples;
        let carried = samples.iter().rposition(|sample| sample.cwnd > NEEDED / 2);
        let full = &samples[carried.unwrap_or(0)..];
        assert!(
            full.len() > 300,
            "seed {seed}: full in {} of 400 samples",
            full.len()
        );
        let opened = full.windows(2).any(|pair| pair[1].lanes > pair[0].lanes);
        assert!(!opened, "seed {seed}: {:?}", outcome.decisions);
        let held = outcome.decisions["congestion_limited"];
        let all: u64 = outcome.decisions.values().sum();
        assert!(held * 10 >= all * 9, "seed {seed}: {:?}", outcome.decisions);
        for outcome in &comparison.outcomes {
            *carried_by.entry(outcome.name.clone()).or_default() += outcome.throughput_mbit;
        }
    }
    let adaptive = carried_by.remove("adaptive").unwrap();
    let best = carried_by.values().copied().fold(0.0, f64::max);
    assert!(adaptive > best * 0.95, "{adaptive}, best of {carried_by:?}");
}

#[test]
fn a_loss_without_congestion_is_met_with_as_many_lanes_as_the_best_static_number() {
    let comparison = compared(&[
        ("loss", "1%"),
        ("load", "20mbit"),
        ("congestion", "thalweg"),
        ("duration", "5s"),
        ("warm-up", "3s"),
        ("strategies", "adaptive,1,16,64"),
    ]);
    let outcome = comparison.of("adaptive").unwrap();
    let regret = outcome.regret.unwrap();
    assert!(regret.worst() <= 0.10, "{regret:?}");
    assert!(outcome.lanes.last >= 32, "{:?}", outcome.lanes);
    assert!(outcome.decisions["loss"] > 0, "{:?}", outcome.decisions);
}

#[test]
fn a_broker_that_is_slow_as_a_whole_gets_no_more_lanes_and_the_caller_waits() {
    let comparison = compared(&[
        ("rtt", "20ms"),
        ("load", "20mbit"),
        ("store-rate", "10mbit"),
        ("buffer", "1MiB"),
        ("duration", "4s"),
        ("strategies", "adaptive,1"),
    ]);
    let outcome = comparison.of("adaptive").unwrap();
    assert!(outcome.blocked_seconds > 1.0, "{}", outcome.blocked_seconds);
    assert!(outcome.lanes.max <= 3, "{:?}", outcome.lanes);
    let regret = outcome.regret.unwrap();
    assert!(regret.worst() <= 0.10, "{regret:?}");
}

#[test]
fn a_peer_that_permits_two_streams_hangs_nobody_and_is_the_reason() {
    // One lane carries 6.5 Mbit/s.
    let outcome = adaptive(&[
        ("rtt", "20ms"),
        ("lane-window", "16KiB"),
        ("load", "8mbit"),
        ("peer-streams", "2"),
        ("duration", "3s"),
    ]);
    assert_eq!(outcome.delivered, outcome.offered);
    assert!(outcome.throughput_mbit > 5.0, "{}", outcome.throughput_mbit);
    let decided = outcome.decisions.get("peer_limit").copied();
    assert!(decided.unwrap_or_default() > 0, "{:?}", outcome.decisions);
}

#[test]
fn a_burst_on_an_idle_producer_is_drained_as_by_the_best_static_number_and_leaves_no_lane_behind() {
    let fields = [
        ("rtt", "20ms"),
        ("pattern", "once:20000"),
        ("buffer", "64MiB"),
        ("duration", "2s"),
        ("idle-timeout", "500ms"),
        ("tail", "3s"),
        ("strategies", "adaptive,1,2,4,8"),
    ];
    let comparison = compared(&fields);
    let outcome = comparison.of("adaptive").unwrap();
    assert_eq!(outcome.delivered, 20_000);
    assert_eq!(outcome.lanes.last, 1, "{:?}", outcome.lanes);
    let ideal = comparison.outcomes[comparison.best_static.unwrap()]
        .delivery_ms
        .max;
    let took = outcome.delivery_ms.max;
    assert!(
        took <= 1.15 * ideal,
        "{took} ms, the best static takes {ideal} ms"
    );
}

#[test]
fn square_waves_do_not_make_lanes_come_and_go() {
    let idle_timeout = Duration::from_millis(500);
    for period in ["50ms", "250ms", "500ms", "2s", "5s"] {
        let outcome = adaptive(&[
            ("rtt", "20ms"),
            ("load", "20mbit"),
            ("pattern", &format!("burst:{period}/50%")),
            ("noise", "20%"),
            ("idle-timeout", "500ms"),
            ("duration", "5s"),
        ]);
        let openings = openings(&outcome);
        for (at, _) in &openings {
            let within = openings
                .iter()
                .filter(|(other, _)| (*at..*at + idle_timeout).contains(other));
            let opened: usize = within.map(|(_, n)| n).sum();
            assert!(
                opened <= 16,
                "{period}: {opened} lanes within an idle timeout"
            );
        }
        let mut retired: Option<Duration> = None;
        for decided in &outcome.trace.decisions {
            match (decided.action, retired) {
                (Action::Retire(_), _) => retired = Some(decided.at),
                (Action::Open(_), Some(before)) => {
                    let last = openings.iter().rev().find(|(at, _)| *at < before);
                    let since = decided.at - last.map_or(Duration::ZERO, |(at, _)| *at);
                    assert!(
                        since >= idle_timeout,
                        "{period}: opened again after {since:?}"
                    );
                }
                _ => {}
            }
        }
    }
}

#[test]
fn a_lane_that_is_stalled_by_a_lost_packet_holds_up_nothing_but_its_own() {
    let fields = [
        ("rtt", "600ms"),
        ("load", "400kbit"),
        ("congestion", "thalweg"),
        ("duration", "8s"),
        ("warm-up", "4s"),
        // Some of these packets carry no message.
        ("lose-at", "4500ms,4700ms,4900ms,5100ms,5300ms,5500ms"),
        ("strategies", "1,8,per-message"),
    ];
    let comparison = compared(&fields);
    let late = |name: &str| {
        let outcome = comparison.of(name).unwrap();
        let share = outcome
            .trace
            .distribution
            .iter()
            .find(|point| point[1] > 310.0);
        share.map_or(0.0, |point| 1.0 - point[0])
    };
    let (one, eight, fresh) = (late("1"), late("8"), late("per-message"));
    assert!(one > 0.10, "one lane stalls all later messages: {one}");
    assert!(eight < one / 4.0, "eight lanes: {eight}, one: {one}");
    assert!(fresh > 0.0, "the lost one itself is late: {fresh}");
}

#[test]
fn a_fat_pipe_gets_as_many_lanes_as_windows_fit_into_it() {
    let comparison = compared(&[
        ("rtt", "100ms"),
        ("rate", "1gbit"),
        ("load", "95%"),
        ("size", "64KiB"),
        ("lane-window", "1MiB"),
        ("peer-window", "1250000B"),
        ("duration", "6s"),
        ("warm-up", "3s"),
        ("strategies", "adaptive"),
    ]);
    let outcome = comparison.of("adaptive").unwrap();
    assert!(
        outcome.throughput_mbit >= 900.0,
        "{}",
        outcome.throughput_mbit
    );
    // 957 Mbit/s for 100 ms are 11.4 windows. A tenth of each window is spare, and the queue of the start-up is not drained.
    assert!(
        (11..=16).contains(&outcome.lanes.last),
        "{:?}",
        outcome.lanes
    );
}

#[test]
fn a_broker_that_takes_each_stream_batch_by_batch_gets_the_lanes_of_little_s_law() {
    let comparison = compared(&[
        ("rtt", "20ms"),
        ("load", "4mbit"),
        ("broker-delay", "10ms"),
        ("idle-timeout", "1s"),
        ("duration", "8s"),
        ("warm-up", "4s"),
        ("strategies", "adaptive,4,5,6,8"),
    ]);
    let outcome = comparison.of("adaptive").unwrap();
    // 488 batches per second, of 10 to 11 ms each.
    assert!((5..=7).contains(&outcome.lanes.last), "{:?}", outcome.lanes);
    let regret = outcome.regret.unwrap();
    assert!(regret.worst() <= 0.10, "{regret:?}");
}
