//! In each of these simulations the best number of lanes is known beforehand.

use std::time::Duration;

use super::{
    setting::{Broker, Setting, Window},
    simulation::{Change, Simulation},
};
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

pub(super) fn simulation(max_lanes: usize, setting: Setting) -> Simulation<Adaptive> {
    let policy = adaptive(max_lanes, &setting);
    let mut simulation = Simulation::new(policy, setting);
    simulation.run(100 * MS, 0.0, 0.0);
    assert_eq!(simulation.lanes(), 1, "the minimum is there from the start");
    simulation.changes.clear();
    simulation
}

pub(super) fn opened(changes: &[Change]) -> usize {
    let each = changes.iter().map(|c| match c.action {
        Action::Open(n) => n.get(),
        _ => 0,
    });
    each.sum()
}

/// Checks that no lane was opened, retired and opened again within an idle timeout, so that at most `max_lanes` were opened in one.
pub(super) fn keeps_its_promises<P: crate::scaler::ScalePolicy>(
    simulation: &Simulation<P>,
    max_lanes: usize,
) {
    let changes = &simulation.changes;
    for (i, first) in changes.iter().enumerate() {
        let near = changes[i..].iter().take_while(|c| c.at < first.at + IDLE);
        let near: Vec<_> = near.copied().collect();
        assert!(opened(&near) <= max_lanes, "{near:?}");
        if matches!(first.action, Action::Open(_)) {
            let closed = near
                .iter()
                .position(|c| matches!(c.action, Action::Retire(_)));
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
        let mut simulation = simulation(
            16,
            Setting {
                rtt: rtt * MS,
                broker: Broker::Serial(lane),
                lane_window: 256 * 1024,
                ..Setting::default()
            },
        );
        simulation.run(6 * SECOND, needed * lane, 0.1);
        let best = needed.ceil() as usize;
        for _ in 0..6 {
            simulation.run(SECOND, needed * lane, 0.1);
            assert!(
                simulation.lanes().abs_diff(best) <= 1,
                "{needed}: {:?}",
                simulation.changes
            );
        }
        assert!(
            simulation.queued() < 1000,
            "{needed}: {} queued",
            simulation.queued()
        );
        keeps_its_promises(&simulation, 16);
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
        let mut simulation = simulation(
            16,
            Setting {
                window: Window::Fixed(cwnd),
                ..Setting::default()
            },
        );
        let offered = needed * 65536.0 / 0.022;
        simulation.run(4 * SECOND, offered, 0.1);
        let best = needed.ceil() as usize;
        for _ in 0..6 {
            simulation.run(SECOND, offered, 0.1);
            assert!(
                simulation.lanes().abs_diff(best) <= 1,
                "{needed}: {:?}",
                simulation.changes
            );
        }
        assert!(
            simulation.queued() < 1000,
            "{needed}: {} queued",
            simulation.queued()
        );
        keeps_its_promises(&simulation, 16);
    }
}

#[test]
fn a_saturated_window_of_five_lanes_gets_five_lanes_and_no_more() {
    let mut simulation = simulation(
        16,
        Setting {
            window: Window::Fixed(300_000),
            ..Setting::default()
        },
    );
    simulation.run(8 * SECOND, 60e6, 0.1);
    assert!(
        simulation.lanes().abs_diff(5) <= 1,
        "{:?}",
        simulation.changes
    );
    assert!(simulation.reasons.contains_key(&Reason::CongestionLimited));
    keeps_its_promises(&simulation, 16);
}

#[test]
fn a_congestion_window_that_waits_for_lanes_is_not_taken_for_a_full_window() {
    // It grows while it is full: 17, 34, 68 kB, and then one lane's 64 KiB no longer fill it.
    let mut simulation = simulation(
        16,
        Setting {
            window: Window::SlowStart(17_000),
            batch: 4096,
            ..Setting::default()
        },
    );
    simulation.run(2 * SECOND, 9.5 * 65536.0 / 0.022, 0.1);
    let ten = simulation
        .changes
        .iter()
        .find(|c| c.lanes >= 10)
        .map(|c| c.at);
    assert!(ten < Some(SECOND), "{ten:?}: {:?}", simulation.changes);
    simulation.run(2 * SECOND, 9.5 * 65536.0 / 0.022, 0.1);
    assert!(
        (9..=11).contains(&simulation.lanes()),
        "{:?}",
        simulation.changes
    );
    assert!(simulation.queued() < 1000, "{} queued", simulation.queued());
}

#[test]
fn a_full_congestion_window_opens_nothing() {
    for cwnd in [14_400, 60_000, 200_000] {
        let mut simulation = simulation(
            64,
            Setting {
                window: Window::Fixed(cwnd),
                batch: 4096,
                lane_window: 256 * 1024,
                ..Setting::default()
            },
        );
        simulation.run(10 * SECOND, 2.0 * cwnd as f64 / 0.020, 0.2);
        assert_eq!(simulation.changes, [], "{cwnd}");
        assert!(simulation.reasons[&Reason::CongestionLimited] > 100);
    }
}

#[test]
fn loss_with_a_full_congestion_window_opens_nothing() {
    // CUBIC at 0.1 % loss: a dozen packets each round trip, and a backlog without end.
    let mut simulation = simulation(
        64,
        Setting {
            window: Window::Fixed(46_000),
            batch: 4096,
            lane_window: 128 * 1024,
            loss: 0.001,
            ..Setting::default()
        },
    );
    simulation.run(20 * SECOND, 6.25e6, 0.2);
    assert_eq!(simulation.changes, []);
}

#[test]
fn a_full_store_keeps_none_of_the_lanes_it_was_tried_with() {
    for commit in [0, 5, 10] {
        let mut simulation = simulation(
            16,
            Setting {
                broker: Broker::Store {
                    bytes_per_second: 1e6,
                    commit: commit * MS,
                },
                ..Setting::default()
            },
        );
        simulation.run(60 * SECOND, 8e6, 0.2);
        assert_eq!(simulation.lanes(), 1, "{:?}", simulation.changes);
        let tries = simulation.changes.len() / 2;
        assert!(
            (1..=7).contains(&tries),
            "back-off doubles from 1 s: {:?}",
            simulation.changes
        );
        assert!(
            opened(&simulation.changes) <= tries + 2,
            "one lane per trial, three without a baseline: {:?}",
            simulation.changes
        );
        assert!(
            simulation
                .changes
                .iter()
                .all(|c| [Reason::Backlog, Reason::BrokerSlow].contains(&c.reason))
        );
        assert!(
            simulation.reasons[&Reason::BrokerSlow] > 100,
            "and the reason says so: {:?}",
            simulation.reasons
        );
        keeps_its_promises(&simulation, 16);
    }
}

#[test]
fn a_store_that_takes_three_lanes_gets_three_or_four() {
    // 64 KiB in about 30 ms a lane: 2.2 MB a second, and the store stops at three times that.
    let mut simulation = simulation(
        64,
        Setting {
            broker: Broker::Store {
                bytes_per_second: 9e6,
                commit: Duration::ZERO,
            },
            ..Setting::default()
        },
    );
    simulation.run(60 * SECOND, 30e6, 0.2);
    assert!(
        (3..=5).contains(&simulation.lanes()),
        "{:?}",
        simulation.changes
    );
    keeps_its_promises(&simulation, 64);
}

#[test]
fn a_full_processor_opens_nothing() {
    let mut simulation = simulation(
        16,
        Setting {
            cpu: 2e6,
            ..Setting::default()
        },
    );
    simulation.run(10 * SECOND, 4e6, 0.2);
    assert_eq!(simulation.changes, []);
    assert!(simulation.reasons[&Reason::LanesNotFull] > 100);
}

#[test]
fn a_clean_link_with_room_opens_nothing() {
    let mut simulation = simulation(
        16,
        Setting {
            lane_window: 1 << 20,
            ..Setting::default()
        },
    );
    simulation.run(20 * SECOND, 10e6, 0.2);
    assert_eq!(simulation.changes, []);
}

#[test]
fn loss_without_congestion_gets_a_lane_for_each_packet_of_a_round_trip() {
    for loss in [0.01, 0.05] {
        let mut simulation = simulation(
            64,
            Setting {
                rtt: 50 * MS,
                loss,
                batch: 1200,
                lane_window: 1 << 20,
                ..Setting::default()
            },
        );
        simulation.run(10 * SECOND, 6.25e6, 0.1);
        assert_eq!(
            simulation.lanes(),
            64,
            "260 packets a round trip: {:?}",
            simulation.changes
        );
        let full = simulation.changes.last().unwrap().at;
        assert!(full < 2 * SECOND, "{full:?}");
        assert!(simulation.changes.iter().all(|c| c.reason == Reason::Loss));
        simulation.run(3 * SECOND, 0.0, 0.0);
        assert_eq!(
            simulation.lanes(),
            1,
            "and gives them back: {:?}",
            simulation.changes
        );
        keeps_its_promises(&simulation, 64);
    }
}

#[test]
fn rare_loss_gets_the_lanes_that_keep_the_99th_percentile_clear_of_it() {
    // S = W p / (1 % - p) = 260 * 0.1 / 0.9 = 29.
    for seed in 0..2 {
        let mut simulation = simulation(
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
        simulation.run(10 * SECOND, 6.25e6, 0.1);
        assert!(
            (12..=64).contains(&simulation.lanes()),
            "{:?}",
            simulation.changes
        );
        keeps_its_promises(&simulation, 64);
    }
}

#[test]
fn loss_on_a_trickle_opens_nothing() {
    let mut simulation = simulation(
        64,
        Setting {
            loss: 0.05,
            ..Setting::default()
        },
    );
    simulation.run(20 * SECOND, 40e3, 0.2);
    assert_eq!(
        simulation.changes,
        [],
        "with less than a packet a round trip there are no victims"
    );
}

#[test]
fn a_peer_that_permits_two_streams_gets_two_and_is_named_as_the_limit() {
    let mut simulation = simulation(
        16,
        Setting {
            peer_streams: 2,
            ..Setting::default()
        },
    );
    simulation.run(5 * SECOND, 5.0 * 65536.0 / 0.022, 0.1);
    assert_eq!(simulation.lanes(), 2);
    assert!(
        simulation.reasons[&Reason::PeerLimit] > 100,
        "{:?}",
        simulation.reasons
    );
    assert!(
        simulation.answered as f64 > 4.5 * 2.0 * 65536.0 / 0.022,
        "and the two go on"
    );
}
