//! The figures of the laboratory are correct.

use anabranch_lab::{floor, run};

use super::{adaptive, compared, scenario};

#[test]
fn on_an_empty_link_every_message_takes_the_floor_and_not_more() {
    let fields = [("load", "1mbit"), ("duration", "1s"), ("warm-up", "200ms")];
    let floor = floor(&scenario(&fields));
    let outcome = adaptive(&fields);
    let delivery = outcome.delivery_ms;
    for took in [delivery.p50, delivery.p99, delivery.max] {
        assert!(
            (took - floor.p50).abs() < 0.1,
            "{took} ms, the floor is {} ms",
            floor.p50
        );
    }
    assert!(
        (outcome.receipt_ms.p50 - 50.1).abs() < 0.2,
        "{:?}",
        outcome.receipt_ms
    );
}

#[test]
fn every_message_is_stored_and_acknowledged_once_the_run_is_over() {
    for strategy in ["adaptive", "4", "per-message"] {
        let scenario = scenario(&[("loss", "2%"), ("load", "1mbit"), ("duration", "1s")]);
        let outcome = run(&scenario, strategy.parse().unwrap()).unwrap();
        assert!((122..=123).contains(&outcome.offered), "{strategy}");
        assert_eq!(outcome.delivered, outcome.offered, "{strategy}");
        assert_eq!((outcome.undelivered, outcome.lost), (0, 0), "{strategy}");
        assert!(outcome.packets.lost > 0, "{strategy}: the link loses");
    }
}

#[test]
fn the_same_seed_gives_the_same_figures_and_another_gives_others() {
    for strategy in ["adaptive", "16", "64", "per-message"] {
        let figures = |seed: &str| {
            let fields = [
                ("loss", "2%"),
                ("load", "2mbit"),
                ("pattern", "poisson"),
                ("duration", "3s"),
                ("seed", seed),
            ];
            let outcome = run(&scenario(&fields), strategy.parse().unwrap()).unwrap();
            (outcome.delivery_ms, outcome.packets, outcome.decisions)
        };
        let first = figures("1");
        for _ in 0..4 {
            assert_eq!(figures("1"), first, "{strategy}");
        }
        assert_ne!(figures("2").0, first.0, "{strategy}");
    }
}

#[test]
fn what_the_link_does_not_carry_is_handed_back_and_counts_with_its_wait() {
    let fields = [
        ("rate", "1mbit"),
        ("load", "400%"),
        ("duration", "4s"),
        ("rtt", "20ms"),
    ];
    let outcome = adaptive(&fields);
    assert!(outcome.undelivered > 0);
    assert_eq!(outcome.delivered + outcome.undelivered, outcome.offered);
    assert_eq!(outcome.lost, 0);
    assert!(outcome.throughput_mbit > 0.8 && outcome.throughput_mbit <= 1.0);
    assert!(
        outcome.delivery_ms.max > 9_000.0,
        "{:?}",
        outcome.delivery_ms
    );
}

#[test]
fn lanes_reach_the_floor_of_a_stream_per_message() {
    let comparison = compared(&[
        ("loss", "1%"),
        ("load", "20mbit"),
        ("congestion", "thalweg"),
        ("duration", "3s"),
        ("warm-up", "1s"),
        ("strategies", "1,64,per-message"),
    ]);
    let p90 = |name: &str| comparison.of(name).unwrap().delivery_ms.p90;
    assert!(p90("64") < 1.02 * p90("per-message"), "{} ms", p90("64"));
    assert!(
        p90("1") > 1.5 * p90("64"),
        "one stream waits for what others lost"
    );
}
