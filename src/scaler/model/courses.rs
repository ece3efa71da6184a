//! The right answers over time: bursts, waves, pauses and long runs.

use std::num::NonZeroUsize;

use super::{
    FarEnd, Setting, World,
    answers::{IDLE, MS, SECOND, keeps_its_promises, opened, world},
};
use crate::scaler::{Action, Fixed, Reason};

#[test]
fn lanes_opened_while_a_broker_stands_still_are_given_back_under_steady_traffic() {
    for pause in [100, 300, 1000] {
        let mut world = world(16, Setting::default());
        world.run(2 * SECOND, 1e6, 0.2);
        world.freeze(pause * MS);
        world.run(2 * SECOND, 1e6, 0.2);
        let opened_then = opened(&world.moves);
        assert!(opened_then <= 3, "{pause} ms: {:?}", world.moves);
        world.run(8 * SECOND, 1e6, 0.2);
        assert_eq!(world.lanes(), 1, "{pause} ms: {:?}", world.moves);
        assert_eq!(opened(&world.moves), opened_then);
        keeps_its_promises(&world, 16);
    }
}

#[test]
fn what_a_lane_can_do_is_measured_anew_ever_more_rarely() {
    let lane = 1.6e6;
    let mut world = world(
        16,
        Setting {
            far_end: FarEnd::Serial(lane),
            lane_window: 256 * 1024,
            ..Setting::default()
        },
    );
    world.run(6 * SECOND, 4.6 * lane, 0.1);
    world.moves.clear();
    let mut opened_in = [0; 3];
    for half_minute in &mut opened_in {
        let before = world.moves.len();
        for _ in 0..30 {
            world.run(SECOND, 4.6 * lane, 0.1);
            assert!((4..=9).contains(&world.lanes()), "{:?}", world.moves);
            assert!(world.queued() < 3000, "{} queued", world.queued());
        }
        *half_minute = world.moves[before..]
            .iter()
            .filter(|m| matches!(m.action, Action::Open(_)))
            .count();
    }
    assert!(opened_in[0] > 0, "a lane was given up to see");
    assert!(
        opened_in[0] <= 3 && opened_in[1] <= 1 && opened_in[2] <= 1,
        "{opened_in:?} {:?}",
        world.moves
    );
    keeps_its_promises(&world, 16);
}

#[test]
fn square_waves_never_open_a_lane_anew_within_an_idle_timeout() {
    let far_ends = [
        FarEnd::Parallel(2 * MS),
        FarEnd::Serial(3e6),
        FarEnd::Store {
            bytes_per_second: 2e6,
            commit: 5 * MS,
        },
    ];
    for (far_end, tenths) in far_ends
        .into_iter()
        .flat_map(|f| [1, 3, 8, 10, 15, 20, 30, 100].map(|t| (f, t)))
    {
        let period = IDLE * tenths / 10;
        let mut world = world(
            16,
            Setting {
                far_end,
                ..Setting::default()
            },
        );
        for _ in 0..(100 / tenths).max(2) {
            world.run(period / 2, 13e6, 0.2);
            world.run(period / 2, 0.0, 0.0);
        }
        keeps_its_promises(&world, 16);
        if matches!(far_end, FarEnd::Store { .. }) {
            continue;
        }
        assert!(
            world.queued() < 5000,
            "{far_end:?} {period:?}: {} queued",
            world.queued()
        );
        if period / 2 < IDLE {
            let late = world
                .moves
                .iter()
                .filter(|m| m.at > 3 * SECOND && matches!(m.action, Action::Open(_)));
            assert_eq!(
                late.count(),
                0,
                "{period:?}: the lanes wait for the next wave: {:?}",
                world.moves
            );
        }
        world.run(2 * SECOND, 0.0, 0.0);
        assert_eq!(world.lanes(), 1);
    }
}

#[test]
fn a_burst_of_a_hundred_thousand_opens_within_a_round_trip_and_is_gone_an_idle_timeout_later() {
    let mut world = world(16, Setting::default());
    world.run(5 * SECOND, 0.0, 0.0);
    let start = world.now;
    world.burst(100_000);
    world.run(3 * SECOND, 0.0, 0.0);
    let first = world.moves[0];
    assert_eq!(
        (first.action, first.reason),
        (Action::open(1), Reason::Backlog)
    );
    assert!(first.at <= start + 20 * MS, "{first:?}");
    let all = world.moves.iter().find(|m| m.lanes == 16).unwrap().at - start;
    assert!(
        all < 16 * 22 * MS,
        "sixteen lanes in sixteen rounds: {all:?}"
    );
    assert_eq!(world.answered, 100_000 * 1024);
    world.run(2 * SECOND, 0.0, 0.0);
    assert_eq!(world.lanes(), 1, "{:?}", world.moves);
    keeps_its_promises(&world, 16);
}

#[test]
fn an_idle_producer_sets_no_timer() {
    let mut world = world(16, Setting::default());
    world.burst(100_000);
    world.run(10 * SECOND, 0.0, 0.0);
    assert_eq!(world.lanes(), 1);
    assert_eq!(world.wake, None);
}

#[test]
fn a_fixed_policy_keeps_its_number_through_everything() {
    let policy = Fixed::new(NonZeroUsize::new(8).unwrap());
    let mut world = World::new(policy, Setting::default());
    world.run(SECOND, 20e6, 0.2);
    world.run(5 * SECOND, 0.0, 0.0);
    world.burst(100_000);
    world.run(SECOND, 0.0, 0.0);
    assert_eq!(world.moves.len(), 1);
    assert_eq!(world.lanes(), 8);
}
