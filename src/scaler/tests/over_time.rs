//! The right answers over time: bursts, waves, pauses and long runs.

use std::num::NonZeroUsize;

use super::{
    known_optima::{IDLE, MS, SECOND, keeps_its_promises, opened, simulation},
    setting::{Broker, Setting},
    simulation::Simulation,
};
use crate::scaler::{Action, Fixed, Reason};

#[test]
fn lanes_opened_while_a_broker_is_stopped_are_given_back_under_steady_traffic() {
    for pause in [100, 300, 1000] {
        let mut simulation = simulation(16, Setting::default());
        simulation.run(2 * SECOND, 1e6, 0.2);
        simulation.freeze(pause * MS);
        simulation.run(2 * SECOND, 1e6, 0.2);
        let opened_then = opened(&simulation.changes);
        assert!(opened_then <= 3, "{pause} ms: {:?}", simulation.changes);
        simulation.run(8 * SECOND, 1e6, 0.2);
        assert_eq!(
            simulation.lanes(),
            1,
            "{pause} ms: {:?}",
            simulation.changes
        );
        assert_eq!(opened(&simulation.changes), opened_then);
        keeps_its_promises(&simulation, 16);
    }
}

#[test]
fn what_one_lane_brings_is_measured_again_ever_more_rarely() {
    let lane = 1.6e6;
    let mut simulation = simulation(
        16,
        Setting {
            broker: Broker::Serial(lane),
            lane_window: 256 * 1024,
            ..Setting::default()
        },
    );
    simulation.run(6 * SECOND, 4.6 * lane, 0.1);
    simulation.changes.clear();
    let mut opened_in = [0; 3];
    for half_minute in &mut opened_in {
        let before = simulation.changes.len();
        for _ in 0..30 {
            simulation.run(SECOND, 4.6 * lane, 0.1);
            assert!(
                (4..=9).contains(&simulation.lanes()),
                "{:?}",
                simulation.changes
            );
            assert!(simulation.queued() < 3000, "{} queued", simulation.queued());
        }
        *half_minute = simulation.changes[before..]
            .iter()
            .filter(|c| matches!(c.action, Action::Open(_)))
            .count();
    }
    assert!(opened_in[0] > 0, "a lane was let go as a test");
    assert!(
        opened_in[0] <= 3 && opened_in[1] <= 1 && opened_in[2] <= 1,
        "{opened_in:?} {:?}",
        simulation.changes
    );
    keeps_its_promises(&simulation, 16);
}

#[test]
fn square_waves_never_open_a_lane_again_within_an_idle_timeout() {
    let brokers = [
        Broker::Parallel(2 * MS),
        Broker::Serial(3e6),
        Broker::Store {
            bytes_per_second: 2e6,
            commit: 5 * MS,
        },
    ];
    for (broker, tenths) in brokers
        .into_iter()
        .flat_map(|broker| [1, 3, 8, 10, 15, 20, 30, 100].map(|t| (broker, t)))
    {
        let period = IDLE * tenths / 10;
        let mut simulation = simulation(
            16,
            Setting {
                broker,
                ..Setting::default()
            },
        );
        for _ in 0..(100 / tenths).max(2) {
            simulation.run(period / 2, 13e6, 0.2);
            simulation.run(period / 2, 0.0, 0.0);
        }
        keeps_its_promises(&simulation, 16);
        if matches!(broker, Broker::Store { .. }) {
            continue;
        }
        assert!(
            simulation.queued() < 5000,
            "{broker:?} {period:?}: {} queued",
            simulation.queued()
        );
        if period / 2 < IDLE {
            let late = simulation
                .changes
                .iter()
                .filter(|c| c.at > 3 * SECOND && matches!(c.action, Action::Open(_)));
            assert_eq!(
                late.count(),
                0,
                "{period:?}: the lanes wait for the next wave: {:?}",
                simulation.changes
            );
        }
        simulation.run(2 * SECOND, 0.0, 0.0);
        assert_eq!(simulation.lanes(), 1);
    }
}

#[test]
fn a_burst_of_a_hundred_thousand_opens_within_a_round_trip_and_is_gone_an_idle_timeout_later() {
    let mut simulation = simulation(16, Setting::default());
    simulation.run(5 * SECOND, 0.0, 0.0);
    let start = simulation.now;
    simulation.burst(100_000);
    simulation.run(3 * SECOND, 0.0, 0.0);
    let first = simulation.changes[0];
    assert_eq!(
        (first.action, first.reason),
        (Action::open(1), Reason::Backlog)
    );
    assert!(first.at <= start + 20 * MS, "{first:?}");
    let all = simulation
        .changes
        .iter()
        .find(|c| c.lanes == 16)
        .unwrap()
        .at
        - start;
    assert!(
        all < 16 * 22 * MS,
        "sixteen lanes in sixteen rounds: {all:?}"
    );
    assert_eq!(simulation.answered, 100_000 * 1024);
    simulation.run(2 * SECOND, 0.0, 0.0);
    assert_eq!(simulation.lanes(), 1, "{:?}", simulation.changes);
    keeps_its_promises(&simulation, 16);
}

#[test]
fn an_idle_producer_sets_no_timer() {
    let mut simulation = simulation(16, Setting::default());
    simulation.burst(100_000);
    simulation.run(10 * SECOND, 0.0, 0.0);
    assert_eq!(simulation.lanes(), 1);
    assert_eq!(simulation.wake, None);
}

#[test]
fn a_fixed_policy_keeps_its_number_through_everything() {
    let policy = Fixed::new(NonZeroUsize::new(8).unwrap());
    let mut simulation = Simulation::new(policy, Setting::default());
    simulation.run(SECOND, 20e6, 0.2);
    simulation.run(5 * SECOND, 0.0, 0.0);
    simulation.burst(100_000);
    simulation.run(SECOND, 0.0, 0.0);
    assert_eq!(simulation.changes.len(), 1);
    assert_eq!(simulation.lanes(), 8);
}
