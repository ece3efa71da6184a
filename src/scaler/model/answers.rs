//! The right answers: in each of these worlds the best number of lanes is known without simulating it.

#![allow(clippy::cast_possible_truncation)]

use std::time::Duration;

use super::{FarEnd, Move, Setting, Window, World};
use crate::scaler::{Action, Adaptive, Config, Reason};

pub(super) const IDLE: Duration = Duration::from_secs(1);
pub(super) const MS: Duration = Duration::from_millis(1);
pub(super) const SECOND: Duration = Duration::from_secs(1);

fn adaptive(max_lanes: usize, setting: &Setting) -> Adaptive {
    Adaptive::new(Config {
        max_lanes,
        lane_window: setting.lane_window,
        idle_timeout: IDLE,
        ..Config::default()
    })
    .unwrap()
}

pub(super) fn world(max_lanes: usize, setting: Setting) -> World<Adaptive> {
    let policy = adaptive(max_lanes, &setting);
    let mut world = World::new(policy, setting);
    world.run(100 * MS, 0.0, 0.0);
    assert_eq!(world.lanes(), 1, "the minimum is there from the start");
    world.moves.clear();
    world
}

pub(super) fn opened(moves: &[Move]) -> usize {
    let each = moves.iter().map(|m| match m.action {
        Action::Open(n) => n.get(),
        _ => 0,
    });
    each.sum()
}

/// What every run must keep to: no stream is opened anew within an idle timeout, and so never more are opened
/// within one than there may be.
pub(super) fn keeps_its_promises<P: crate::scaler::ScalePolicy>(
    world: &World<P>,
    max_lanes: usize,
) {
    let moves = &world.moves;
    for (i, first) in moves.iter().enumerate() {
        let near = moves[i..].iter().take_while(|m| m.at < first.at + IDLE);
        let near: Vec<_> = near.copied().collect();
        assert!(opened(&near) <= max_lanes, "{near:?}");
        if matches!(first.action, Action::Open(_)) {
            let closed = near
                .iter()
                .position(|m| matches!(m.action, Action::Retire(_)));
            let again = &near[closed.unwrap_or(near.len())..];
            assert_eq!(opened(again), 0, "open, close, open: {near:?}");
        }
    }
}

#[test]
fn a_broker_that_is_serial_per_stream_gets_rate_times_delay_lanes() {
    // 16 KiB take 10 ms: one lane brings 1.6 MB a second, far less than its window would let through.
    let lane = 1.6e6;
    for (needed, rtt) in [
        (1.6, 20),
        (2.6, 20),
        (4.6, 20),
        (7.5, 20),
        (11.6, 20),
        (4.6, 2),
        (4.6, 100),
    ] {
        let mut world = world(
            16,
            Setting {
                rtt: rtt * MS,
                far_end: FarEnd::Serial(lane),
                lane_window: 256 * 1024,
                ..Setting::default()
            },
        );
        world.run(6 * SECOND, needed * lane, 0.1);
        let best = needed.ceil() as usize;
        for _ in 0..6 {
            world.run(SECOND, needed * lane, 0.1);
            assert!(
                world.lanes().abs_diff(best) <= 1,
                "{needed}: {:?}",
                world.moves
            );
        }
        assert!(world.queued() < 1000, "{needed}: {} queued", world.queued());
        keeps_its_promises(&world, 16);
    }
}

#[test]
fn a_long_fat_link_gets_its_bandwidth_delay_product_over_the_window() {
    // 64 KiB in 22 ms is 2.98 MB a second for each lane.
    for (needed, cwnd) in [
        (1.7, 1 << 30),
        (4.6, 1 << 30),
        (4.6, 6 * 65536),
        (9.5, 1 << 30),
    ] {
        let mut world = world(
            16,
            Setting {
                window: Window::Fixed(cwnd),
                ..Setting::default()
            },
        );
        let offered = needed * 65536.0 / 0.022;
        world.run(4 * SECOND, offered, 0.1);
        let best = needed.ceil() as usize;
        for _ in 0..6 {
            world.run(SECOND, offered, 0.1);
            assert!(
                world.lanes().abs_diff(best) <= 1,
                "{needed}: {:?}",
                world.moves
            );
        }
        assert!(world.queued() < 1000, "{needed}: {} queued", world.queued());
        keeps_its_promises(&world, 16);
    }
}

#[test]
fn a_saturated_window_of_five_lanes_gets_five_lanes_and_no_more() {
    let mut world = world(
        16,
        Setting {
            window: Window::Fixed(300_000),
            ..Setting::default()
        },
    );
    world.run(8 * SECOND, 60e6, 0.1);
    assert!(world.lanes().abs_diff(5) <= 1, "{:?}", world.moves);
    assert!(world.reasons.contains_key(&Reason::CongestionLimited));
    keeps_its_promises(&world, 16);
}

#[test]
fn a_congestion_window_that_waits_for_lanes_is_not_taken_for_a_full_pipe() {
    // It grows while it is full: 17, 34, 68 kB, and then one lane's 64 KiB no longer fill it.
    let mut world = world(
        16,
        Setting {
            window: Window::SlowStart(17_000),
            batch: 4096,
            ..Setting::default()
        },
    );
    world.run(2 * SECOND, 9.5 * 65536.0 / 0.022, 0.1);
    let ten = world.moves.iter().find(|m| m.lanes >= 10).map(|m| m.at);
    assert!(ten < Some(SECOND), "{ten:?}: {:?}", world.moves);
    world.run(2 * SECOND, 9.5 * 65536.0 / 0.022, 0.1);
    assert!((9..=11).contains(&world.lanes()), "{:?}", world.moves);
    assert!(world.queued() < 1000, "{} queued", world.queued());
}

#[test]
fn a_full_congestion_window_opens_nothing() {
    for cwnd in [14_400, 60_000, 200_000] {
        let mut world = world(
            64,
            Setting {
                window: Window::Fixed(cwnd),
                batch: 4096,
                lane_window: 256 * 1024,
                ..Setting::default()
            },
        );
        world.run(10 * SECOND, 2.0 * cwnd as f64 / 0.020, 0.2);
        assert_eq!(world.moves, [], "{cwnd}");
        assert!(world.reasons[&Reason::CongestionLimited] > 100);
    }
}

#[test]
fn loss_with_a_full_congestion_window_opens_nothing() {
    // CUBIC at 0.1 % loss: a dozen packets each round trip, and a backlog without end.
    let mut world = world(
        64,
        Setting {
            window: Window::Fixed(46_000),
            batch: 4096,
            lane_window: 128 * 1024,
            loss: 0.001,
            ..Setting::default()
        },
    );
    world.run(20 * SECOND, 6.25e6, 0.2);
    assert_eq!(world.moves, []);
}

#[test]
fn a_full_store_keeps_none_of_the_lanes_it_was_tried_with() {
    for commit in [0, 5, 10] {
        let mut world = world(
            16,
            Setting {
                far_end: FarEnd::Store {
                    bytes_per_second: 1e6,
                    commit: commit * MS,
                },
                ..Setting::default()
            },
        );
        world.run(60 * SECOND, 8e6, 0.2);
        assert_eq!(world.lanes(), 1, "{:?}", world.moves);
        let tries = world.moves.len() / 2;
        assert!(
            (1..=7).contains(&tries),
            "back-off doubles from 1 s: {:?}",
            world.moves
        );
        assert!(
            opened(&world.moves) <= tries + 2,
            "a lane a try, three without a baseline: {:?}",
            world.moves
        );
        assert!(
            world
                .moves
                .iter()
                .all(|m| [Reason::Backlog, Reason::BrokerSlow].contains(&m.reason))
        );
        assert!(
            world.reasons[&Reason::BrokerSlow] > 100,
            "and says why: {:?}",
            world.reasons
        );
        keeps_its_promises(&world, 16);
    }
}

#[test]
fn a_store_that_takes_three_lanes_gets_three_or_four() {
    // 64 KiB in about 30 ms a lane: 2.2 MB a second, and the store stops at three times that.
    let mut world = world(
        64,
        Setting {
            far_end: FarEnd::Store {
                bytes_per_second: 9e6,
                commit: Duration::ZERO,
            },
            ..Setting::default()
        },
    );
    world.run(60 * SECOND, 30e6, 0.2);
    assert!((3..=5).contains(&world.lanes()), "{:?}", world.moves);
    keeps_its_promises(&world, 64);
}

#[test]
fn a_full_processor_opens_nothing() {
    let mut world = world(
        16,
        Setting {
            cpu: 2e6,
            ..Setting::default()
        },
    );
    world.run(10 * SECOND, 4e6, 0.2);
    assert_eq!(world.moves, []);
    assert!(world.reasons[&Reason::LanesNotFull] > 100);
}

#[test]
fn a_clean_link_with_room_opens_nothing() {
    let mut world = world(
        16,
        Setting {
            lane_window: 1 << 20,
            ..Setting::default()
        },
    );
    world.run(20 * SECOND, 10e6, 0.2);
    assert_eq!(world.moves, []);
}

#[test]
fn loss_without_congestion_gets_a_lane_for_each_packet_of_a_round_trip() {
    for loss in [0.01, 0.05] {
        let mut world = world(
            64,
            Setting {
                rtt: 50 * MS,
                loss,
                batch: 1200,
                lane_window: 1 << 20,
                ..Setting::default()
            },
        );
        world.run(10 * SECOND, 6.25e6, 0.1);
        assert_eq!(
            world.lanes(),
            64,
            "260 packets a round trip: {:?}",
            world.moves
        );
        let full = world.moves.last().unwrap().at;
        assert!(full < 2 * SECOND, "{full:?}");
        assert!(world.moves.iter().all(|m| m.reason == Reason::Loss));
        world.run(3 * SECOND, 0.0, 0.0);
        assert_eq!(world.lanes(), 1, "and gives them back: {:?}", world.moves);
        keeps_its_promises(&world, 64);
    }
}

#[test]
fn rare_loss_gets_the_lanes_that_keep_the_99th_percentile_clear_of_it() {
    // S = W p / (1 % - p) = 260 * 0.1 / 0.9 = 29.
    for seed in 0..2 {
        let mut world = world(
            64,
            Setting {
                rtt: 50 * MS,
                loss: 0.001,
                batch: 1200,
                lane_window: 1 << 20,
                seed,
                ..Setting::default()
            },
        );
        world.run(10 * SECOND, 6.25e6, 0.1);
        assert!((12..=64).contains(&world.lanes()), "{:?}", world.moves);
        keeps_its_promises(&world, 64);
    }
}

#[test]
fn loss_on_a_trickle_opens_nothing() {
    let mut world = world(
        64,
        Setting {
            loss: 0.05,
            ..Setting::default()
        },
    );
    world.run(20 * SECOND, 40e3, 0.2);
    assert_eq!(
        world.moves,
        [],
        "less than a packet a round trip stalls nobody"
    );
}

#[test]
fn a_peer_that_permits_two_streams_gets_two_and_is_named_as_the_limit() {
    let mut world = world(
        16,
        Setting {
            peer_streams: 2,
            ..Setting::default()
        },
    );
    world.run(5 * SECOND, 5.0 * 65536.0 / 0.022, 0.1);
    assert_eq!(world.lanes(), 2);
    assert!(
        world.reasons[&Reason::PeerLimit] > 100,
        "{:?}",
        world.reasons
    );
    assert!(
        world.answered as f64 > 4.5 * 2.0 * 65536.0 / 0.022,
        "and the two work on"
    );
}
