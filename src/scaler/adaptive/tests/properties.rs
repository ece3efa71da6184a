//! What the policy keeps for any sequence of loads.

use proptest::{collection::vec, prelude::*};

use super::super::{common::whole, *};
use crate::scaler::tests::origin;

pub(super) const IDLE: Duration = Duration::from_secs(2);
pub(super) const RTT: Duration = Duration::from_millis(20);
pub(super) const MIN: usize = 2;
pub(super) const MAX: usize = 12;
pub(super) const WINDOW: u64 = 65_536;

/// What the loads are like for a while.
#[derive(Debug, Clone)]
struct Scene {
    calls: usize,
    gap: Duration,
    queued: usize,
    message: u64,
    /// Share of the lanes that are full, and of their windows in use.
    busy: f64,
    /// Share of the congestion window in flight.
    network: f64,
    app_limited: bool,
    send_blocked: bool,
    /// Bytes answered per second, for each lane.
    lane_rate: f64,
    /// The same for all lanes, at most.
    most_rate: f64,
    packets: u64,
    lost: u64,
    hold: Option<u64>,
    peer: usize,
    /// Calls that an opening takes.
    opening: usize,
}

fn scene() -> impl Strategy<Value = Scene> {
    let time = (1usize..30, prop_oneof![4 => 5u64..40, 1 => 40u64..3000]);
    let queue = (
        prop_oneof![1 => Just(0usize), 1 => 1usize..500, 2 => 500usize..9000],
        1u64..5000,
    );
    let lanes = (
        prop_oneof![2 => Just(1.0), 1 => 0.0..1.0],
        prop_oneof![2 => 0.0..0.8, 1 => 0.8..1.2],
        any::<bool>(),
        prop_oneof![3 => Just(false), 1 => Just(true)],
    );
    let rates = (1e3..1e7, 1e3..1e8);
    let packets = (
        prop_oneof![1 => Just(0u64), 2 => 1u64..400],
        prop_oneof![3 => Just(0u64), 1 => 1u64..5],
    );
    let far = (
        prop::option::of(0u64..200),
        prop_oneof![1 => 0usize..3, 3 => 3usize..40],
        1usize..5,
    );
    (time, queue, lanes, rates, packets, far).prop_map(
        |(time, queue, lanes, rates, packets, far)| Scene {
            calls: time.0,
            gap: Duration::from_millis(time.1),
            queued: queue.0,
            message: queue.1,
            busy: lanes.0,
            network: lanes.1,
            app_limited: lanes.2,
            send_blocked: lanes.3,
            lane_rate: rates.0,
            most_rate: rates.1,
            packets: packets.0,
            lost: packets.1,
            hold: far.0,
            peer: far.1,
            opening: far.2,
        },
    )
}

/// One call of the policy and its decision.
#[derive(Debug, Clone)]
struct Step {
    now: Instant,
    load: Load,
    decision: Decision,
}

pub(super) fn policy() -> Adaptive {
    Adaptive::new(Config {
        min_lanes: MIN,
        max_lanes: MAX,
        idle_timeout: IDLE,
        lane_window: WINDOW,
        ..Config::default()
    })
    .unwrap()
}

/// Plays the scenes to a new policy, and carries out its decisions.
fn play(scenes: &[Scene]) -> Vec<Step> {
    let mut policy = policy();
    let mut now = origin();
    let mut load = Load {
        rtt: RTT,
        min_rtt: RTT,
        cwnd: 1 << 20,
        mtu: 1200,
        lane_window: WINDOW,
        ..Load::default()
    };
    let mut ready_in = 0;
    let mut steps = Vec::new();
    for scene in scenes {
        for _ in 0..scene.calls {
            now += scene.gap;
            ready_in = usize::saturating_sub(ready_in, 1);
            if ready_in == 0 {
                load.lanes += std::mem::take(&mut load.lanes_opening);
            }
            show(&mut load, scene, now);
            let decision = policy.decide(now, &load);
            steps.push(Step {
                now,
                load: load.clone(),
                decision,
            });
            match decision.action {
                Action::Hold => {}
                Action::Open(more) => {
                    load.lanes_opening += more.get();
                    ready_in = scene.opening;
                }
                Action::Retire(fewer) => {
                    load.lanes = load
                        .lanes
                        .checked_sub(fewer.get())
                        .expect("more were retired than there are")
                }
            }
        }
    }
    steps
}

fn show(load: &mut Load, scene: &Scene, now: Instant) {
    let windows = load.lanes as u64 * WINDOW;
    load.queued_messages = scene.queued;
    load.queued_bytes = scene.queued as u64 * scene.message;
    load.oldest_wait = if scene.queued == 0 {
        Duration::ZERO
    } else {
        scene.gap
    };
    load.lanes_busy = whole(load.lanes as f64 * scene.busy);
    load.in_flight_bytes = (windows as f64 * scene.busy) as u64;
    load.bytes_in_flight = (load.cwnd as f64 * scene.network) as u64;
    load.app_limited = scene.app_limited;
    load.send_blocked = scene.send_blocked;
    load.peer_streams_left = scene.peer;
    load.broker_hold = scene.hold.map(Duration::from_millis);
    let rate = (scene.lane_rate * load.lanes as f64).min(scene.most_rate);
    let bytes = (rate * scene.gap.as_secs_f64()) as u64;
    if bytes > 0 {
        load.acked_bytes += bytes;
        load.acked_at = Some(now);
        load.ack_rate = Some(rate);
    }
    load.packets_sent += scene.packets;
    load.congestion_events += u64::from(scene.lost > 0 || scene.packets % 2 == 1);
    load.packets_lost += scene.lost.min(scene.packets);
}

fn opened(step: &Step) -> usize {
    match step.decision.action {
        Action::Open(more) => more.get(),
        _ => 0,
    }
}

fn retired(step: &Step) -> usize {
    match step.decision.action {
        Action::Retire(fewer) => fewer.get(),
        _ => 0,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_number_stays_between_its_bounds_and_what_the_peer_permits(scenes in vec(scene(), 1..30)) {
        for (i, step) in play(&scenes).iter().enumerate() {
            let lanes = step.load.total_lanes();
            prop_assert!(lanes + opened(step) <= MAX);
            prop_assert!(opened(step) <= step.load.peer_streams_left);
            prop_assert!(lanes <= MIN || lanes - retired(step) >= MIN, "call {i}");
        }
    }

    #[test]
    fn the_same_loads_get_the_same_decisions(scenes in vec(scene(), 1..20)) {
        let steps = play(&scenes);
        let mut again = policy();
        for step in steps {
            prop_assert_eq!(again.decide(step.now, &step.load), step.decision);
        }
    }

    #[test]
    fn every_action_has_a_reason_that_fits_it(scenes in vec(scene(), 1..30)) {
        use Reason::*;
        for step in play(&scenes) {
            let fitting: &[Reason] = match step.decision.action {
                Action::Open(_) => &[Minimum, Backlog, Loss],
                Action::Retire(_) => &[Idle, NoGain, BrokerSlow, MaxLanes, CongestionLimited],
                Action::Hold => &[
                    Idle, BelowThreshold, LanesNotFull, CongestionLimited, BrokerSlow, PeerLimit, Ceiling, MaxLanes, Cooldown,
                ],
            };
            prop_assert!(fitting.contains(&step.decision.reason), "{:?}", step.decision);
        }
    }

    #[test]
    fn lanes_double_at_most_once_a_round_trip(scenes in vec(scene(), 1..30)) {
        let mut last = None;
        for step in play(&scenes) {
            if opened(&step) == 0 || step.decision.reason == Reason::Minimum {
                continue;
            }
            prop_assert!(opened(&step) <= step.load.total_lanes());
            if let Some(last) = last.replace(step.now) {
                prop_assert!(step.now - last >= RTT);
            }
        }
    }

    #[test]
    fn a_lane_is_never_opened_again_within_an_idle_timeout(scenes in vec(scene(), 1..40)) {
        let steps = play(&scenes);
        for (i, step) in steps.iter().enumerate().filter(|(_, s)| opened(s) > 0) {
            let near = steps[i..].iter().take_while(|s| s.now - step.now < IDLE);
            let again: usize = near.clone().skip_while(|s| retired(s) == 0).map(opened).sum();
            prop_assert_eq!(again, 0);
            prop_assert!(near.map(opened).sum::<usize>() <= MAX);
        }
    }

    #[test]
    fn no_lane_is_retired_as_idle_while_messages_press(scenes in vec(scene(), 1..40)) {
        for step in play(&scenes).iter().filter(|s| retired(s) > 0) {
            let pressed = step.load.queued_messages >= 64 * step.load.total_lanes();
            prop_assert!(!(pressed && step.decision.reason == Reason::Idle));
            prop_assert!(step.load.lanes_opening == 0 || step.decision.reason != Reason::Idle);
        }
    }

    #[test]
    fn it_asks_to_be_woken_while_there_is_anything_to_decide(scenes in vec(scene(), 1..30)) {
        for step in play(&scenes) {
            let Step { load, decision, .. } = step;
            let Some(after) = decision.wake_after else {
                prop_assert!(load.is_quiet() && load.lanes_opening == 0 && load.lanes == MIN, "{load:?}");
                continue;
            };
            prop_assert!(after >= Duration::from_millis(1), "no busy loop");
            prop_assert!(after <= IDLE);
            prop_assert!(load.queued_messages == 0 || after <= RTT / 2);
        }
    }

    #[test]
    fn a_quiet_producer_is_back_at_its_minimum_after_the_wakes_that_were_asked_for(scenes in vec(scene(), 1..30)) {
        let mut policy = policy();
        let mut last = None;
        for step in play(&scenes) {
            let _ = policy.decide(step.now, &step.load);
            last = Some(step);
        }
        let step = last.unwrap();
        let mut now = step.now;
        let mut load = step.load;
        match step.decision.action {
            Action::Hold => {}
            Action::Open(more) => load.lanes_opening += more.get(),
            Action::Retire(fewer) => load.lanes -= fewer.get(),
        }
        load.lanes += std::mem::take(&mut load.lanes_opening);
        load.queued_messages = 0;
        load.queued_bytes = 0;
        load.in_flight_bytes = 0;
        load.peer_streams_left = MAX;
        let mut wakes = 0;
        let quiet_since = now;
        loop {
            let decision = policy.decide(now, &load);
            match decision.action {
                Action::Hold => {}
                Action::Open(more) => load.lanes += more.get(),
                Action::Retire(fewer) => load.lanes -= fewer.get(),
            }
            let Some(after) = decision.wake_after else { break };
            now += after;
            wakes += 1;
            prop_assert!(wakes < 20, "{:?} after {:?}", decision, now - quiet_since);
        }
        prop_assert_eq!(load.lanes, MIN);
        prop_assert!(now - quiet_since <= IDLE + IDLE / 4 + 4 * RTT, "{:?}", now - quiet_since);
    }
}

#[test]
fn the_scenes_are_rich_enough_to_meet_every_reason() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let mut met = std::collections::HashSet::new();
    for _ in 0..150 {
        let scenes = vec(scene(), 20..30)
            .new_tree(&mut runner)
            .unwrap()
            .current();
        met.extend(
            play(&scenes)
                .iter()
                .map(|s| (s.decision.reason, s.decision.action != Action::Hold)),
        );
    }
    for reason in Reason::ALL {
        assert!(
            met.iter().any(|(r, _)| *r == reason),
            "{reason} was never met"
        );
    }
}
