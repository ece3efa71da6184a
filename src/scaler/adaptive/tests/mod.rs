//! The policy by example, one clause at a time.
#![allow(
    clippy::cast_possible_truncation,
    reason = "bytes of the tests are far below 2^53"
)]

mod properties;

use self::properties::{IDLE, MAX, MIN, RTT, WINDOW, policy};
use super::{local_network::TASK_DELAY, *};
use crate::scaler::tests::origin;

/// Four full lanes, a network with room, and a deep queue.
fn pressed() -> Load {
    Load {
        lanes: 4,
        lanes_busy: 4,
        lane_window: WINDOW,
        in_flight_bytes: 4 * WINDOW,
        queued_messages: 4000,
        queued_bytes: 4_000_000,
        oldest_wait: 2 * RTT,
        peer_streams_left: 100,
        rtt: RTT,
        min_rtt: RTT,
        cwnd: 1 << 24,
        congestion_events: 1,
        mtu: 1200,
        ..Load::default()
    }
}

fn decide(load: &Load) -> (Action, Reason) {
    let decision = policy().decide(origin(), load);
    (decision.action, decision.reason)
}

#[test]
fn each_veto_alone_keeps_a_lane_from_being_opened() {
    use Reason::*;
    assert_eq!(decide(&pressed()), (Action::open(4), Backlog));
    type Change = fn(&mut Load);
    let vetoes: [(Reason, Change); 11] = [
        (BelowThreshold, |l| l.queued_messages = 4 * 64 - 1),
        (BelowThreshold, |l| {
            (l.oldest_wait, l.ack_rate) = (RTT, Some(1e9))
        }),
        (LanesNotFull, |l| {
            (l.lanes_busy, l.in_flight_bytes) = (3, 3 * WINDOW)
        }),
        (CongestionLimited, |l| {
            l.bytes_in_flight = l.cwnd / 10 * 9 + 10
        }),
        (CongestionLimited, |l| {
            (l.cwnd, l.bytes_in_flight) = (2400, 1200)
        }),
        (CongestionLimited, |l| l.send_blocked = true),
        (PeerLimit, |l| l.peer_streams_left = 0),
        (MaxLanes, |l| {
            (l.lanes, l.lanes_busy, l.in_flight_bytes) = (MAX, MAX, 100 * WINDOW)
        }),
        (Cooldown, |l| l.lanes_opening = 1),
        (Idle, |l| {
            (l.queued_messages, l.queued_bytes, l.in_flight_bytes) = (0, 0, 0)
        }),
        (BelowThreshold, |l| {
            (l.queued_messages, l.queued_bytes) = (0, 0)
        }),
    ];
    for (reason, change) in vetoes {
        let mut load = pressed();
        if reason == BelowThreshold {
            load.queued_bytes = 100_000;
        }
        change(&mut load);
        assert_eq!(decide(&load), (Action::Hold, reason), "{load:?}");
    }
}

#[test]
fn few_large_messages_are_a_backlog_too() {
    let mut load = pressed();
    load.queued_messages = 4;
    assert_eq!(decide(&load), (Action::open(4), Reason::Backlog));
    load.queued_bytes = 4 * WINDOW - 1;
    assert_eq!(decide(&load), (Action::Hold, Reason::BelowThreshold));
}

#[test]
fn a_window_that_has_never_met_congestion_gets_the_lanes_that_it_will_need_in_a_round_trip() {
    let mut policy = policy();
    let mut load = pressed();
    load.congestion_events = 0;
    let mut now = origin();
    for (lanes, cwnd, wanted) in [
        (2, WINDOW, Reason::CongestionLimited),
        (2, 2 * WINDOW, Reason::Backlog),
        (4, 4 * WINDOW, Reason::Backlog),
        (8, 4 * WINDOW, Reason::CongestionLimited),
    ] {
        load.lanes = lanes;
        load.cwnd = cwnd;
        load.bytes_in_flight = cwnd;
        let decision = policy.decide(now, &load);
        assert_eq!(decision.reason, wanted, "{lanes} lanes, {cwnd} bytes");
        assert_eq!(
            decision.action == Action::Hold,
            wanted == Reason::CongestionLimited,
            "without waiting for the trial of the last ones"
        );
        now += RTT;
    }
}

/// Calls the policy with the same load each round trip. Returns the first action, and after how many calls.
fn first_action(policy: &mut Adaptive, load: &Load, calls: u32) -> Option<(u32, Action, Reason)> {
    (0..calls).find_map(|call| {
        let decision = policy.decide(origin() + RTT * call, load);
        let acted = decision.action != Action::Hold;
        acted.then_some((call, decision.action, decision.reason))
    })
}

/// An empty queue, and a path that holds nine tenths of all windows.
fn nearly_full() -> Load {
    let mut load = pressed();
    (load.queued_messages, load.queued_bytes) = (0, 0);
    load.in_flight_messages = 200;
    load.in_flight_bytes = 4 * WINDOW / 100 * 91;
    load.bytes_in_flight = load.in_flight_bytes;
    load.ack_mean = Some(RTT);
    load
}

#[test]
fn a_path_that_has_filled_the_lanes_for_four_rounds_gets_one_ahead_of_a_backlog() {
    let acted = first_action(&mut policy(), &nearly_full(), 50);
    assert_eq!(acted, Some((4, Action::open(1), Reason::Backlog)));
}

#[test]
fn bytes_at_the_broker_or_in_a_queue_on_the_way_do_not_fill_the_path() {
    type Change = fn(&mut Load);
    let changes: [Change; 4] = [
        |l| l.ack_mean = Some(RTT + RTT / 3),
        |l| l.bytes_in_flight /= 3,
        |l| l.min_rtt = RTT / 10 * 9,
        |l| l.in_flight_bytes = 4 * WINDOW / 100 * 89,
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut load = nearly_full();
        change(&mut load);
        assert_eq!(
            first_action(&mut policy(), &load, 50),
            None,
            "change {number}"
        );
    }
}

#[test]
fn lanes_that_a_full_window_does_not_fill_are_given_back_after_an_idle_timeout_however_long_the_queue()
 {
    let mut load = pressed();
    load.lanes = 8;
    load.in_flight_bytes = 3 * WINDOW;
    load.cwnd = 2 * WINDOW;
    load.bytes_in_flight = load.cwnd;
    let (calls, action, reason) = first_action(&mut policy(), &load, 500).unwrap();
    assert_eq!(
        (action, reason),
        (Action::retire(5), Reason::CongestionLimited)
    );
    assert!(RTT * calls >= IDLE, "{calls} calls");
}

#[test]
fn no_more_lanes_are_opened_than_the_queue_would_fill() {
    let mut load = pressed();
    load.queued_bytes = WINDOW + 1;
    load.queued_messages = 64 * 4;
    assert_eq!(decide(&load), (Action::open(2), Reason::Backlog));
}

#[test]
fn a_window_that_quic_has_no_data_for_is_no_veto_and_no_measure() {
    let mut load = pressed();
    load.bytes_in_flight = load.cwnd;
    load.app_limited = true;
    assert_eq!(decide(&load), (Action::open(4), Reason::Backlog));
    load.bytes_in_flight = load.cwnd / 100 * 81;
    assert_eq!(
        decide(&load),
        (Action::open(1), Reason::Backlog),
        "four lanes fill 0.8 of it, five fill it"
    );
}

#[test]
fn a_full_window_is_remembered_for_a_round_trip() {
    let mut policy = policy();
    let mut load = pressed();
    load.bytes_in_flight = load.cwnd;
    let _ = policy.decide(origin(), &load);
    load.bytes_in_flight = load.cwnd / 4;
    assert_eq!(
        policy.decide(origin() + RTT / 2, &load).reason,
        Reason::CongestionLimited
    );
    assert_eq!(policy.decide(origin() + RTT, &load).reason, Reason::Backlog);
}

#[test]
fn while_quic_takes_no_more_no_lane_is_opened_however_little_is_in_flight() {
    let mut policy = policy();
    let mut load = pressed();
    load.send_blocked = true;
    let mut reason = |after, load: &Load| policy.decide(origin() + after, load).reason;
    assert_eq!(reason(Duration::ZERO, &load), Reason::CongestionLimited);
    load.send_blocked = false;
    assert_eq!(reason(RTT / 2, &load), Reason::CongestionLimited);
    assert_eq!(reason(RTT, &load), Reason::Backlog);
}

#[test]
fn a_deep_queue_of_tiny_messages_holds_the_lanes() {
    let mut policy = policy();
    let mut load = pressed();
    load.queued_bytes = 4000;
    load.in_flight_bytes = 100;
    load.lanes_busy = 0;
    for call in 0..1000 {
        let decision = policy.decide(origin() + RTT * call, &load);
        assert_eq!(decision.action, Action::Hold, "{decision:?}");
    }
}

#[test]
fn a_demand_that_falls_slowly_is_not_a_stream_of_retirements() {
    let mut policy = policy();
    let mut load = pressed();
    load.lanes = MAX;
    load.queued_messages = 0;
    load.queued_bytes = 0;
    let mut at = Vec::new();
    for call in 0..2000u32 {
        let needed = u64::from(12 - (call / 20).min(10));
        load.in_flight_bytes = needed * WINDOW;
        let now = origin() + RTT / 2 * call;
        if let Action::Retire(fewer) = policy.decide(now, &load).action {
            load.lanes -= fewer.get();
            at.push(now);
        }
    }
    assert_eq!(load.lanes, MIN);
    assert!(
        at.windows(2)
            .all(|pair| pair[1] - pair[0] >= IDLE / RETIREMENTS)
    );
}

#[test]
fn loss_opens_nothing_when_nothing_is_unanswered() {
    let mut policy = policy();
    let mut load = pressed();
    load.queued_messages = 0;
    load.queued_bytes = 0;
    load.in_flight_bytes = 1;
    load.lanes = 2;
    let mut now = origin();
    let mut reason = Reason::Idle;
    for _ in 0..100 {
        now += RTT;
        load.packets_sent += 100;
        load.packets_lost += 1;
        let decision = policy.decide(now, &load);
        if decision.action != Action::Hold {
            reason = decision.reason;
        }
    }
    assert_eq!(reason, Reason::Loss, "with traffic it does");
    load.in_flight_bytes = 0;
    let decision = policy.decide(now + Duration::from_millis(1), &load);
    assert_eq!(
        (decision.action, decision.reason),
        (Action::Hold, Reason::Idle)
    );
}

#[test]
fn lost_lanes_of_the_minimum_are_replaced_whatever_was_decided_before() {
    let mut policy = policy();
    let mut load = pressed();
    assert_eq!(policy.decide(origin(), &load).reason, Reason::Backlog);
    load.lanes = MAX + 1;
    let decision = policy.decide(origin() + RTT, &load);
    assert_eq!(
        (decision.action, decision.reason),
        (Action::retire(1), Reason::MaxLanes)
    );
    load.lanes = 0;
    let decision = policy.decide(origin() + 2 * RTT, &load);
    assert_eq!(
        (decision.action, decision.reason),
        (Action::open(MIN), Reason::Minimum)
    );
}

#[test]
fn back_at_the_minimum_it_forgets_what_one_lane_brought() {
    let mut policy = policy();
    policy.demand.on_lane_rate(origin(), 1e5);
    let mut load = pressed();
    load.queued_messages = 0;
    load.queued_bytes = 0;
    load.in_flight_bytes = 1000;
    let mut now = origin();
    for lanes in [MIN, 8] {
        load.lanes = lanes;
        for _ in 0..300 {
            now += RTT / 2;
            load.acked_bytes += 10_000;
            load.acked_at = Some(now);
            if let Action::Retire(fewer) = policy.decide(now, &load).action {
                load.lanes -= fewer.get();
            }
        }
    }
    assert_eq!(load.lanes, MIN, "1 MB a second, which was worth ten lanes");
}

#[test]
fn losses_while_processors_are_late_open_nothing() {
    let opened = |min_rtt: Duration, rtt: Duration| {
        let mut policy = policy();
        let mut load = Load {
            min_rtt,
            rtt,
            queued_messages: 0,
            queued_bytes: 0,
            ..pressed()
        };
        let mut now = origin();
        (0..100).any(|call| {
            now += rtt;
            load.packets_sent += 100;
            // A loss counts with the reading before it.
            load.packets_lost += u64::from(call > 2);
            policy.decide(now, &load).reason == Reason::Loss
        })
    };
    let local = Duration::from_micros(50);
    assert!(!opened(local, 2 * TASK_DELAY), "a full socket buffer");
    assert!(opened(local, local * 2), "a network that loses");
    assert!(opened(RTT, RTT + 2 * TASK_DELAY), "a queue on the way");
}

#[test]
fn on_a_local_network_lanes_are_those_whose_windows_the_rate_fills_within_the_delay_of_tasks() {
    let local = Load {
        min_rtt: Duration::from_micros(50),
        // Late tasks at both ends make round trips longer. More lanes do not help.
        rtt: Duration::from_millis(8),
        oldest_wait: Duration::from_millis(30),
        ack_rate: Some(3.5 * WINDOW as f64 / TASK_DELAY.as_secs_f64()),
        ..pressed()
    };
    assert_eq!(decide(&local), (Action::Hold, Reason::LanesNotFull));
    let faster = Load {
        ack_rate: Some(4.5 * WINDOW as f64 / TASK_DELAY.as_secs_f64()),
        ..local.clone()
    };
    assert_eq!(decide(&faster), (Action::open(4), Reason::Backlog));
    let held = Load {
        broker_hold: Some(2 * TASK_DELAY),
        ..local
    };
    assert_eq!(decide(&held), (Action::open(4), Reason::Backlog));
}
