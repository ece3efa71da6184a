use std::{collections::BTreeSet, time::Duration};

use proptest::prelude::*;

use super::*;

type State = PoolState<u32, u32>;

const MS: Duration = Duration::from_millis(1);

fn config() -> Config {
    Config {
        min: 0,
        max: 4,
        check_interval: None,
        idle_timeout: None,
        ..Config::default()
    }
}

fn start() -> Instant {
    crate::time::now()
}

/// Returns all actions that follow, and completes every discard at once.
fn actions(state: &mut State, now: Instant) -> Vec<Action<u32, u32>> {
    let all: Vec<_> = std::iter::from_fn(|| state.poll(now)).collect();
    for action in &all {
        if let Action::Discard(..) = action {
            state.on_discarded();
        }
    }
    all
}

fn work(state: &mut State, now: Instant) -> Vec<Work<u32>> {
    std::iter::from_fn(|| state.poll_work(now)).collect()
}

fn permits(state: &mut State, now: Instant) -> Vec<Permit> {
    let open = |work| match work {
        Work::Open(permit) => permit,
        Work::Probe(probe) => panic!("{probe:?} instead of an open"),
    };
    work(state, now).into_iter().map(open).collect()
}

/// Enters idle streams.
fn stock(state: &mut State, streams: std::ops::Range<u32>, now: Instant) {
    for stream in streams {
        state.opening += 1;
        state.on_opened(Permit(()), stream, now);
    }
}

/// Serves a new waiter, to whom a stream is ready.
fn take(state: &mut State, now: Instant) -> Slot<u32> {
    state.enqueue(u32::MAX);
    match state.poll(now) {
        Some(Action::Deliver(_, slot)) => slot,
        other => panic!("{other:?} instead of a stream"),
    }
}

#[test]
fn permits_are_granted_up_to_min_without_waiters_and_up_to_max_for_waiters() {
    let now = start();
    let mut state = State::new(Config { min: 2, ..config() });
    assert_eq!(permits(&mut state, now).len(), 2);
    for waiter in 0..2 {
        state.enqueue(waiter);
    }
    assert_eq!(
        permits(&mut state, now).len(),
        0,
        "two opens are under way for two waiters"
    );
    for waiter in 2..9 {
        state.enqueue(waiter);
    }
    assert_eq!(permits(&mut state, now).len(), 2, "max is 4");
}

#[test]
fn the_stream_used_last_is_handed_out_first() {
    let now = start();
    let mut state = State::new(config());
    stock(&mut state, 0..3, now);
    let slot = take(&mut state, now);
    assert_eq!(slot.stream, 2);
    state.on_unused(slot);
    assert_eq!(take(&mut state, now).stream, 2);
}

#[test]
fn a_check_leaves_half_of_the_idle_streams_ready() {
    let now = start();
    let mut state = State::new(Config {
        check_interval: Some(10 * MS),
        ..config()
    });
    stock(&mut state, 0..4, now);
    assert_eq!(state.next_due(), Some(now + 10 * MS));
    let due = now + 10 * MS;
    let mut probing = work(&mut state, due);
    assert_eq!((probing.len(), state.status().idle), (2, 2));
    assert_eq!(
        state.next_due(),
        None,
        "the next check waits for one of these to end, not for time"
    );
    let Some(Work::Probe(probe)) = probing.pop() else {
        panic!("a check is a probe")
    };
    state.on_probe_passed(probe, due);
    assert_eq!(work(&mut state, due).len(), 1);
}

#[test]
fn a_check_does_not_extend_the_idle_time_of_a_stream() {
    let now = start();
    let mut state = State::new(Config {
        check_interval: Some(10 * MS),
        idle_timeout: Some(25 * MS),
        ..config()
    });
    stock(&mut state, 0..1, now);
    for round in 1..=2 {
        let at = now + round * 10 * MS;
        assert!(actions(&mut state, at).is_empty());
        for work in work(&mut state, at) {
            let Work::Probe(probe) = work else {
                panic!("{work:?}")
            };
            state.on_probe_passed(probe, at);
        }
    }
    assert_eq!(state.next_due(), Some(now + 25 * MS));
    let gone = actions(&mut state, now + 25 * MS);
    assert!(
        matches!(gone[..], [Action::Discard(0, EvictReason::Idle)]),
        "{gone:?}"
    );
}

#[test]
fn reaping_stops_at_min() {
    let now = start();
    let mut state = State::new(Config {
        min: 2,
        idle_timeout: Some(10 * MS),
        ..config()
    });
    stock(&mut state, 0..4, now);
    let gone = actions(&mut state, now + 10 * MS);
    assert_eq!(gone.len(), 2, "{gone:?}");
    assert_eq!(
        state.next_due(),
        None,
        "the streams that are left may stay, so no timer is needed"
    );
}

#[test]
fn refilling_up_to_min_pauses_after_a_failed_open_and_a_waiter_does_not() {
    let now = start();
    let mut state = State::new(Config {
        min: 3,
        open_retry: 10 * MS,
        ..config()
    });
    for permit in permits(&mut state, now) {
        assert_eq!(
            state.on_open_failed(permit, OpenFailure::NotOpened, now),
            None
        );
    }
    assert_eq!(state.next_due(), Some(now + 10 * MS));
    assert_eq!(permits(&mut state, now + 9 * MS).len(), 0);
    state.enqueue(0);
    assert_eq!(permits(&mut state, now + 9 * MS).len(), 1);
    assert_eq!(permits(&mut state, now + 10 * MS).len(), 2);
}

#[test]
fn a_failed_open_is_told_to_the_first_waiter_unless_enough_opens_are_under_way() {
    let now = start();
    let mut state = State::new(config());
    for waiter in 10..13 {
        state.enqueue(waiter);
    }
    let mut granted = permits(&mut state, now);
    let fail =
        |state: &mut State, permit| state.on_open_failed(permit, OpenFailure::NotOpened, now);
    assert_eq!(fail(&mut state, granted.pop().unwrap()), Some(10));
    // Waiter 11 leaves, so that the two opens still under way are one more than the queue needs.
    assert_eq!(state.cancel(Ticket(1)), Some(11));
    assert_eq!(fail(&mut state, granted.pop().unwrap()), None);
    assert_eq!(fail(&mut state, granted.pop().unwrap()), Some(12));
}

#[test]
fn at_the_peers_limit_waiters_stay_in_the_queue_and_one_open_is_tried_after_each_pause() {
    let now = start();
    let mut state = State::new(Config {
        open_retry: 10 * MS,
        ..config()
    });
    stock(&mut state, 0..1, now);
    let held = take(&mut state, now);
    for waiter in 0..2 {
        state.enqueue(waiter);
    }
    for permit in permits(&mut state, now) {
        assert_eq!(
            state.on_open_failed(permit, OpenFailure::AtPeerLimit, now),
            None
        );
    }
    assert_eq!(state.status().limit, Some(1));
    assert_eq!(permits(&mut state, now + 9 * MS).len(), 0);
    assert_eq!(state.next_due(), Some(now + 10 * MS));
    let later = now + 10 * MS;
    let mut granted = permits(&mut state, later);
    assert_eq!(granted.len(), 1);
    // The last stream is evicted. Nothing can come back now, so the refusal is told to a waiter.
    state.on_unusable(held, EvictReason::Broken);
    actions(&mut state, later);
    let told = state.on_open_failed(granted.pop().unwrap(), OpenFailure::AtPeerLimit, later);
    assert_eq!(told, Some(0));
}

#[test]
fn at_the_peers_limit_a_waiter_for_whom_nothing_can_come_back_is_served_without_a_pause() {
    let now = start();
    let mut state = State::new(config());
    state.enqueue(0);
    for waiter in [0, 1] {
        let permit = permits(&mut state, now).pop().unwrap();
        let told = state.on_open_failed(permit, OpenFailure::AtPeerLimit, now);
        assert_eq!((told, state.status().limit), (Some(waiter), Some(0)));
        state.enqueue(waiter + 1);
    }
}

#[test]
fn a_stream_that_is_being_discarded_still_counts_against_max() {
    let now = start();
    let mut state = State::new(Config { max: 1, ..config() });
    stock(&mut state, 0..1, now);
    let slot = take(&mut state, now);
    state.enqueue(0);
    state.on_unusable(slot, EvictReason::Dirty);
    assert_eq!(permits(&mut state, now).len(), 0);
    assert!(matches!(
        state.poll(now),
        Some(Action::Discard(0, EvictReason::Dirty))
    ));
    assert_eq!(permits(&mut state, now).len(), 0);
    state.on_discarded();
    assert_eq!(permits(&mut state, now).len(), 1);
}

#[test]
fn a_time_limit_that_no_clock_can_express_means_never() {
    let now = start();
    let forever = Duration::MAX;
    let mut state = State::new(Config {
        check_interval: Some(forever),
        idle_timeout: Some(forever),
        max_age: Some(forever),
        max_idle: forever,
        probe_validity: forever,
        open_retry: forever,
        min: 2,
        ..config()
    });
    stock(&mut state, 0..1, now);
    assert_eq!(state.next_due(), None);
    let permit = permits(&mut state, now).pop().unwrap();
    assert_eq!(
        state.on_open_failed(permit, OpenFailure::NotOpened, now),
        None
    );
    assert_eq!(permits(&mut state, now).len(), 0);
    assert!(state.next_due() > Some(now));
}

/// One event of a pool. A number selects one of the tokens or waiters there are.
#[derive(Debug, Clone, Copy)]
enum Op {
    Join,
    GiveUp(usize),
    Wait(u64),
    Maintain,
    Opened(usize),
    OpenFailed(usize, OpenFailure),
    Passed(usize),
    Failed(usize),
    Return(usize),
    Retire(usize),
    Discarded(usize),
    /// How the following deliveries end: 0 the stream is broken, 1 the caller has gone, else the caller has it.
    Deliveries(u8),
    Close,
}

fn op() -> impl Strategy<Value = Op> {
    let failure = prop_oneof![
        Just(OpenFailure::AtPeerLimit),
        Just(OpenFailure::NotOpened),
        Just(OpenFailure::Unproven(EvictReason::ProbeFailed)),
    ];
    prop_oneof![
        6 => Just(Op::Join),
        2 => any::<usize>().prop_map(Op::GiveUp),
        4 => (0..30_u64).prop_map(Op::Wait),
        9 => Just(Op::Maintain),
        6 => any::<usize>().prop_map(Op::Opened),
        2 => (any::<usize>(), failure).prop_map(|(n, failure)| Op::OpenFailed(n, failure)),
        5 => any::<usize>().prop_map(Op::Passed),
        1 => any::<usize>().prop_map(Op::Failed),
        6 => any::<usize>().prop_map(Op::Return),
        2 => any::<usize>().prop_map(Op::Retire),
        5 => any::<usize>().prop_map(Op::Discarded),
        1 => (0..6_u8).prop_map(Op::Deliveries),
    ]
}

fn any_config() -> impl Strategy<Value = Config> {
    let time = || prop_oneof![Just(None), (1..40_u64).prop_map(Some)];
    let zero = || prop_oneof![Just(0), 1..40_u64];
    (
        0..3_usize,
        1..5_usize,
        time(),
        time(),
        time(),
        zero(),
        zero(),
    )
        .prop_map(|(min, max, check, idle, age, max_idle, validity)| Config {
            min: min.min(max),
            max,
            check_interval: check.map(Duration::from_millis),
            idle_timeout: idle.map(Duration::from_millis),
            max_age: age.map(Duration::from_millis),
            max_idle: Duration::from_millis(max_idle),
            probe_validity: Duration::from_millis(validity),
            open_retry: 5 * MS,
            ..Config::default()
        })
}

/// What surrounds the state: holders, tasks and the manager. Each stream has exactly one owner.
struct World {
    state: State,
    config: Config,
    now: Instant,
    deliveries: u8,
    next: u32,
    permits: Vec<Permit>,
    probing: Vec<Probing<u32>>,
    in_use: Vec<Slot<u32>>,
    discarding: Vec<u32>,
    /// Streams that the state owns.
    inside: BTreeSet<u32>,
    /// Waiters that were not served yet, numbered in the order of their calls.
    queue: BTreeSet<u32>,
    tickets: Vec<Ticket>,
}

impl World {
    fn new(config: Config) -> Self {
        Self {
            state: State::new(config.clone()),
            config,
            now: start(),
            deliveries: u8::MAX,
            next: 0,
            permits: Vec::new(),
            probing: Vec::new(),
            in_use: Vec::new(),
            discarding: Vec::new(),
            inside: BTreeSet::new(),
            queue: BTreeSet::new(),
            tickets: Vec::new(),
        }
    }

    fn take<T>(of: &mut Vec<T>, n: usize) -> Option<T> {
        let n = n.checked_rem(of.len())?;
        Some(of.swap_remove(n))
    }

    fn apply(&mut self, op: Op) {
        let now = self.now;
        match op {
            Op::Join => {
                let waiter = u32::try_from(self.tickets.len()).unwrap();
                self.tickets.push(self.state.enqueue(waiter));
                self.queue.insert(waiter);
            }
            Op::GiveUp(n) => {
                let n = n.checked_rem(self.queue.len());
                if let Some(&waiter) = n.and_then(|n| self.queue.iter().nth(n)) {
                    let ticket = self.tickets[usize::try_from(waiter).unwrap()];
                    assert_eq!(self.state.cancel(ticket), Some(waiter));
                    self.queue.remove(&waiter);
                }
            }
            Op::Wait(ms) => self.now += Duration::from_millis(ms),
            Op::Maintain => self.maintain(),
            Op::Opened(n) => {
                if let Some(permit) = Self::take(&mut self.permits, n) {
                    self.inside.insert(self.next);
                    self.state.on_opened(permit, self.next, now);
                    self.next += 1;
                }
            }
            Op::OpenFailed(n, failure) => {
                if let Some(permit) = Self::take(&mut self.permits, n)
                    && let Some(waiter) = self.state.on_open_failed(permit, failure, now)
                {
                    self.served(waiter);
                }
            }
            Op::Passed(n) => {
                if let Some(mut probe) = Self::take(&mut self.probing, n) {
                    self.inside.insert(*probe.stream());
                    self.state.on_probe_passed(probe, now);
                }
            }
            Op::Failed(n) => {
                if let Some(mut probe) = Self::take(&mut self.probing, n) {
                    self.inside.insert(*probe.stream());
                    self.state.on_probe_failed(probe, EvictReason::ProbeFailed);
                }
            }
            Op::Return(n) => {
                if let Some(slot) = Self::take(&mut self.in_use, n) {
                    self.inside.insert(slot.stream);
                    self.state.on_returned(slot, now);
                }
            }
            Op::Retire(n) => {
                if let Some(slot) = Self::take(&mut self.in_use, n) {
                    self.inside.insert(slot.stream);
                    self.state.on_unusable(slot, EvictReason::Dirty);
                }
            }
            Op::Discarded(n) => {
                if Self::take(&mut self.discarding, n).is_some() {
                    self.state.on_discarded();
                }
            }
            Op::Deliveries(kind) => self.deliveries = kind,
            Op::Close => self.state.close(),
        }
        self.carry_out();
        self.check();
    }

    /// Checks that the waiter that was served is the first of the queue.
    fn served(&mut self, waiter: u32) {
        assert_eq!(self.queue.pop_first(), Some(waiter), "out of order");
    }

    fn carry_out(&mut self) {
        while let Some(action) = self.state.poll(self.now) {
            match action {
                Action::Discard(stream, _) => {
                    assert!(self.inside.remove(&stream), "{stream} left twice");
                    self.discarding.push(stream);
                }
                Action::RejectClosed(waiter) => self.served(waiter),
                Action::Deliver(dequeued, slot) => {
                    self.served(dequeued.waiter);
                    assert!(self.inside.contains(&slot.stream), "delivered twice");
                    match self.deliveries {
                        0 => {
                            self.queue.insert(dequeued.waiter);
                            self.state.on_unusable(slot, EvictReason::Broken);
                            self.state.requeue(dequeued);
                        }
                        1 => self.state.on_unused(slot),
                        _ => {
                            self.inside.remove(&slot.stream);
                            self.in_use.push(slot);
                        }
                    }
                }
            }
        }
    }

    fn maintain(&mut self) {
        while let Some(work) = self.state.poll_work(self.now) {
            match work {
                Work::Open(permit) => self.permits.push(permit),
                Work::Probe(mut probe) => {
                    assert!(self.inside.remove(probe.stream()), "probed twice");
                    self.probing.push(probe);
                }
            }
        }
        if let Some(wake) = self.state.next_due() {
            assert!(wake > self.now, "the maintenance task would spin");
        }
        let status = self.state.status();
        let room = status.streams() + status.opening + self.discarding.len() < status.max;
        let waits_for_time = self.state.next_due().is_some() || status.opening > 0;
        if !status.closed && room {
            let coming = status.opening + status.returning + status.checking;
            assert!(
                status.waiting <= coming || (status.limit.is_some() && waits_for_time),
                "a waiter has no open or probe under way: {status:?}"
            );
            assert!(
                status.streams() + status.opening >= status.min || waits_for_time,
                "below min without an open under way: {status:?}"
            );
        }
    }

    fn check(&self) {
        let status = self.state.status();
        assert_eq!(status.in_use, self.in_use.len());
        assert_eq!(status.opening, self.permits.len());
        assert_eq!(status.waiting, self.queue.len());
        let known = self.inside.len() + self.in_use.len() + self.probing.len();
        assert_eq!(status.streams(), known, "a stream was lost or made up");
        assert!(known + self.discarding.len() + status.opening <= self.config.max);
        let left = status.counts.evicted_total();
        assert_eq!(status.counts.opened, left + u64::try_from(known).unwrap());
    }

    /// Lets every open, probe and use succeed until nothing is left to do.
    fn settle(&mut self) {
        self.deliveries = u8::MAX;
        for _ in 0..10_000 {
            self.apply(Op::Maintain);
            if !self.discarding.is_empty() {
                self.apply(Op::Discarded(0));
            } else if !self.permits.is_empty() {
                self.apply(Op::Opened(0));
            } else if !self.probing.is_empty() {
                self.apply(Op::Passed(0));
            } else if !self.in_use.is_empty() {
                self.apply(Op::Return(0));
            } else if self.state.next_work(self.now).is_some() {
                // The next round starts it.
            } else if self.queue.is_empty() && self.state.status().streams() >= self.config.min {
                return;
            } else if let Some(wake) = self.state.next_due() {
                self.now = wake;
                self.carry_out();
            } else {
                return;
            }
        }
        panic!("did not settle: {:?}", self.state.status());
    }
}

proptest! {
    #[test]
    fn whatever_happens_the_counts_add_up_and_every_waiter_is_served_in_order(
        config in any_config(),
        ops in prop::collection::vec(op(), 1..120),
    ) {
        let mut world = World::new(config);
        for op in ops {
            world.apply(op);
        }
        world.settle();
        let status = world.state.status();
        prop_assert_eq!(status.waiting, 0);
        prop_assert!(status.idle >= world.config.min, "{:?}", status);
        prop_assert_eq!(status.idle, status.streams());
    }

    #[test]
    fn a_pool_that_is_closed_at_any_moment_ends_empty(
        config in any_config(),
        before in prop::collection::vec(op(), 1..60),
        after in prop::collection::vec(op(), 0..60),
    ) {
        let mut world = World::new(config);
        for op in before.into_iter().chain([Op::Close]).chain(after) {
            world.apply(op);
        }
        world.settle();
        let status = world.state.status();
        prop_assert_eq!(status.waiting + status.opening + status.streams(), 0);
        prop_assert_eq!(world.state.next_due(), None);
    }
}
