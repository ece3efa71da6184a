use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

type Books = Slots<u32, u32>;

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

/// All that is to be done on the spot, with every discarded stream gone at once.
fn dry(books: &mut Books, now: Instant) -> Vec<Action<u32, u32>> {
    let actions: Vec<_> = std::iter::from_fn(|| books.poll(now)).collect();
    for action in &actions {
        if let Action::Discard(..) = action {
            books.on_discarded();
        }
    }
    actions
}

fn work(books: &mut Books, now: Instant) -> Vec<Work<u32>> {
    std::iter::from_fn(|| books.poll_work(now)).collect()
}

fn permits(books: &mut Books, now: Instant) -> Vec<Permit> {
    let open = |work| match work {
        Work::Open(permit) => permit,
        Work::Test(trial) => panic!("{trial:?} instead of an open"),
    };
    work(books, now).into_iter().map(open).collect()
}

/// Enters streams that nobody waits for.
fn stock(books: &mut Books, streams: std::ops::Range<u32>, now: Instant) {
    for stream in streams {
        books.opening += 1;
        books.on_opened(Permit(()), stream, now);
    }
}

#[test]
fn permits_are_granted_up_to_min_for_nobody_and_up_to_max_for_waiters() {
    let now = start();
    let mut books = Books::new(Config { min: 2, ..config() });
    assert_eq!(permits(&mut books, now).len(), 2);
    for waiter in 0..2 {
        books.join(waiter);
    }
    assert_eq!(
        permits(&mut books, now).len(),
        0,
        "two are on their way for two"
    );
    for waiter in 2..9 {
        books.join(waiter);
    }
    assert_eq!(permits(&mut books, now).len(), 2, "max is 4");
}

#[test]
fn the_stream_used_last_is_handed_out_first() {
    let now = start();
    let mut books = Books::new(config());
    stock(&mut books, 0..3, now);
    let slot = books.try_take(now).unwrap();
    assert_eq!(slot.stream, 2);
    books.on_unused(slot);
    assert_eq!(books.try_take(now).unwrap().stream, 2);
}

#[test]
fn a_check_leaves_half_of_the_idle_streams_ready() {
    let now = start();
    let mut books = Books::new(Config {
        check_interval: Some(10 * MS),
        ..config()
    });
    stock(&mut books, 0..4, now);
    assert_eq!(books.poll_wake(), Some(now + 10 * MS));
    let due = now + 10 * MS;
    let mut trials = work(&mut books, due);
    assert_eq!((trials.len(), books.status().idle), (2, 2));
    assert_eq!(
        books.poll_wake(),
        None,
        "the next check waits for one of these to end, not for time"
    );
    let Some(Work::Test(trial)) = trials.pop() else {
        panic!("a check is a trial")
    };
    books.on_passed(trial, due);
    assert_eq!(work(&mut books, due).len(), 1);
}

#[test]
fn a_stream_that_only_lay_there_does_not_grow_younger_by_being_checked() {
    let now = start();
    let mut books = Books::new(Config {
        check_interval: Some(10 * MS),
        idle_timeout: Some(25 * MS),
        ..config()
    });
    stock(&mut books, 0..1, now);
    for round in 1..=2 {
        let at = now + round * 10 * MS;
        assert!(dry(&mut books, at).is_empty());
        for work in work(&mut books, at) {
            let Work::Test(trial) = work else {
                panic!("{work:?}")
            };
            books.on_passed(trial, at);
        }
    }
    assert_eq!(books.poll_wake(), Some(now + 25 * MS));
    let gone = dry(&mut books, now + 25 * MS);
    assert!(
        matches!(gone[..], [Action::Discard(0, EvictReason::Idle)]),
        "{gone:?}"
    );
}

#[test]
fn reaping_stops_at_min() {
    let now = start();
    let mut books = Books::new(Config {
        min: 2,
        idle_timeout: Some(10 * MS),
        ..config()
    });
    stock(&mut books, 0..4, now);
    let gone = dry(&mut books, now + 10 * MS);
    assert_eq!(gone.len(), 2, "{gone:?}");
    assert_eq!(
        books.poll_wake(),
        None,
        "what is left may stay, so no timer is needed"
    );
}

#[test]
fn refilling_up_to_min_pauses_after_a_failed_open_and_a_waiter_does_not() {
    let now = start();
    let mut books = Books::new(Config {
        min: 3,
        open_retry: 10 * MS,
        ..config()
    });
    for permit in permits(&mut books, now) {
        assert_eq!(books.on_open_failed(permit, Failure::NotOpened, now), None);
    }
    assert_eq!(books.poll_wake(), Some(now + 10 * MS));
    assert_eq!(permits(&mut books, now + 9 * MS).len(), 0);
    books.join(0);
    assert_eq!(permits(&mut books, now + 9 * MS).len(), 1);
    assert_eq!(permits(&mut books, now + 10 * MS).len(), 2);
}

#[test]
fn a_failed_open_is_told_to_the_head_of_the_line_unless_enough_is_on_its_way() {
    let now = start();
    let mut books = Books::new(config());
    for waiter in 10..13 {
        books.join(waiter);
    }
    let mut granted = permits(&mut books, now);
    let fail = |books: &mut Books, permit| books.on_open_failed(permit, Failure::NotOpened, now);
    assert_eq!(fail(&mut books, granted.pop().unwrap()), Some(10));
    // Waiter 11 leaves, so that the two opens still under way are one more than the line needs.
    assert_eq!(books.leave(Ticket(1)), Some(11));
    assert_eq!(fail(&mut books, granted.pop().unwrap()), None);
    assert_eq!(fail(&mut books, granted.pop().unwrap()), Some(12));
}

#[test]
fn at_the_peers_limit_waiters_stay_in_line_and_one_open_is_tried_after_each_pause() {
    let now = start();
    let mut books = Books::new(Config {
        open_retry: 10 * MS,
        ..config()
    });
    stock(&mut books, 0..1, now);
    let held = books.try_take(now).unwrap();
    for waiter in 0..2 {
        books.join(waiter);
    }
    for permit in permits(&mut books, now) {
        assert_eq!(books.on_open_failed(permit, Failure::Refused, now), None);
    }
    assert_eq!(books.status().limit, Some(1));
    assert_eq!(permits(&mut books, now + 9 * MS).len(), 0);
    assert_eq!(books.poll_wake(), Some(now + 10 * MS));
    let later = now + 10 * MS;
    let mut granted = permits(&mut books, later);
    assert_eq!(granted.len(), 1);
    // The last stream leaves: now nothing can come back, and the refusal is an answer.
    books.retire(held, EvictReason::Broken);
    dry(&mut books, later);
    let told = books.on_open_failed(granted.pop().unwrap(), Failure::Refused, later);
    assert_eq!(told, Some(0));
}

#[test]
fn at_the_peers_limit_a_waiter_for_whom_nothing_can_come_back_is_served_without_a_pause() {
    let now = start();
    let mut books = Books::new(config());
    books.join(0);
    for waiter in [0, 1] {
        let permit = permits(&mut books, now).pop().unwrap();
        let told = books.on_open_failed(permit, Failure::Refused, now);
        assert_eq!((told, books.status().limit), (Some(waiter), Some(0)));
        books.join(waiter + 1);
    }
}

#[test]
fn who_does_not_wait_never_overtakes_who_does() {
    let now = start();
    let mut books = Books::new(config());
    stock(&mut books, 0..1, now);
    books.join(0);
    assert!(books.try_take(now).is_none());
    let actions = dry(&mut books, now);
    assert!(matches!(actions[..], [Action::Hand(..)]), "{actions:?}");
}

#[test]
fn a_stream_on_its_way_to_be_discarded_still_takes_its_room() {
    let now = start();
    let mut books = Books::new(Config { max: 1, ..config() });
    stock(&mut books, 0..1, now);
    let slot = books.try_take(now).unwrap();
    books.join(0);
    books.retire(slot, EvictReason::Dirty);
    assert_eq!(permits(&mut books, now).len(), 0);
    assert!(matches!(
        books.poll(now),
        Some(Action::Discard(0, EvictReason::Dirty))
    ));
    assert_eq!(permits(&mut books, now).len(), 0);
    books.on_discarded();
    assert_eq!(permits(&mut books, now).len(), 1);
}

#[test]
fn a_time_limit_beyond_all_clocks_means_never() {
    let now = start();
    let forever = Duration::MAX;
    let mut books = Books::new(Config {
        check_interval: Some(forever),
        idle_timeout: Some(forever),
        max_age: Some(forever),
        max_idle: forever,
        probe_validity: forever,
        open_retry: forever,
        min: 2,
        ..config()
    });
    stock(&mut books, 0..1, now);
    assert_eq!(books.poll_wake(), None);
    let permit = permits(&mut books, now).pop().unwrap();
    assert_eq!(books.on_open_failed(permit, Failure::NotOpened, now), None);
    assert_eq!(permits(&mut books, now).len(), 0);
    assert!(books.poll_wake() > Some(now));
}

/// One thing that happens to a pool. Numbers choose among what is there.
#[derive(Debug, Clone, Copy)]
enum Op {
    Join,
    GiveUp(usize),
    TryTake,
    Wait(u64),
    Keeper,
    Opened(usize),
    OpenFailed(usize, Failure),
    Passed(usize),
    Failed(usize),
    Return(usize),
    Retire(usize),
    Discarded(usize),
    /// What becomes of the following hands: 0 broken, 1 the caller is gone, else delivered.
    Hands(u8),
    Close,
}

fn op() -> impl Strategy<Value = Op> {
    let failure = prop_oneof![
        Just(Failure::Refused),
        Just(Failure::NotOpened),
        Just(Failure::Unproved(EvictReason::ProbeFailed)),
    ];
    prop_oneof![
        6 => Just(Op::Join),
        2 => any::<usize>().prop_map(Op::GiveUp),
        2 => Just(Op::TryTake),
        4 => (0..30_u64).prop_map(Op::Wait),
        9 => Just(Op::Keeper),
        6 => any::<usize>().prop_map(Op::Opened),
        2 => (any::<usize>(), failure).prop_map(|(n, failure)| Op::OpenFailed(n, failure)),
        5 => any::<usize>().prop_map(Op::Passed),
        1 => any::<usize>().prop_map(Op::Failed),
        6 => any::<usize>().prop_map(Op::Return),
        2 => any::<usize>().prop_map(Op::Retire),
        5 => any::<usize>().prop_map(Op::Discarded),
        1 => (0..6_u8).prop_map(Op::Hands),
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

/// The world around the books: holders, tasks and the manager, each stream in exactly one pair of hands.
struct World {
    books: Books,
    config: Config,
    now: Instant,
    hands: u8,
    next: u32,
    permits: Vec<Permit>,
    trials: Vec<Trial<u32>>,
    in_use: Vec<Slot<u32>>,
    discarding: Vec<u32>,
    /// Streams that only the books hold.
    inside: BTreeSet<u32>,
    /// Waiters without an outcome, who are numbered in the order of asking.
    line: BTreeSet<u32>,
    tickets: Vec<Ticket>,
}

impl World {
    fn new(config: Config) -> Self {
        Self {
            books: Books::new(config.clone()),
            config,
            now: start(),
            hands: u8::MAX,
            next: 0,
            permits: Vec::new(),
            trials: Vec::new(),
            in_use: Vec::new(),
            discarding: Vec::new(),
            inside: BTreeSet::new(),
            line: BTreeSet::new(),
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
                self.tickets.push(self.books.join(waiter));
                self.line.insert(waiter);
            }
            Op::GiveUp(n) => {
                let n = n.checked_rem(self.line.len());
                if let Some(&waiter) = n.and_then(|n| self.line.iter().nth(n)) {
                    let ticket = self.tickets[usize::try_from(waiter).unwrap()];
                    assert_eq!(self.books.leave(ticket), Some(waiter));
                    self.line.remove(&waiter);
                }
            }
            Op::TryTake => {
                if let Some(slot) = self.books.try_take(now) {
                    assert!(self.line.is_empty(), "a waiter was overtaken");
                    assert!(self.inside.remove(&slot.stream));
                    self.in_use.push(slot);
                }
            }
            Op::Wait(ms) => self.now += Duration::from_millis(ms),
            Op::Keeper => self.keep(),
            Op::Opened(n) => {
                if let Some(permit) = Self::take(&mut self.permits, n) {
                    self.inside.insert(self.next);
                    self.books.on_opened(permit, self.next, now);
                    self.next += 1;
                }
            }
            Op::OpenFailed(n, failure) => {
                if let Some(permit) = Self::take(&mut self.permits, n)
                    && let Some(waiter) = self.books.on_open_failed(permit, failure, now)
                {
                    self.outcome(waiter);
                }
            }
            Op::Passed(n) => {
                if let Some(mut trial) = Self::take(&mut self.trials, n) {
                    self.inside.insert(*trial.stream());
                    self.books.on_passed(trial, now);
                }
            }
            Op::Failed(n) => {
                if let Some(mut trial) = Self::take(&mut self.trials, n) {
                    self.inside.insert(*trial.stream());
                    self.books.on_failed(trial, EvictReason::ProbeFailed);
                }
            }
            Op::Return(n) => {
                if let Some(slot) = Self::take(&mut self.in_use, n) {
                    self.inside.insert(slot.stream);
                    self.books.on_returned(slot, now);
                }
            }
            Op::Retire(n) => {
                if let Some(slot) = Self::take(&mut self.in_use, n) {
                    self.inside.insert(slot.stream);
                    self.books.retire(slot, EvictReason::Dirty);
                }
            }
            Op::Discarded(n) => {
                if Self::take(&mut self.discarding, n).is_some() {
                    self.books.on_discarded();
                }
            }
            Op::Hands(kind) => self.hands = kind,
            Op::Close => self.books.close(),
        }
        self.drain();
        self.check();
    }

    /// A waiter was told something: it must be the first who still waited.
    fn outcome(&mut self, waiter: u32) {
        assert_eq!(self.line.pop_first(), Some(waiter), "out of turn");
    }

    fn drain(&mut self) {
        while let Some(action) = self.books.poll(self.now) {
            match action {
                Action::Discard(stream, _) => {
                    assert!(self.inside.remove(&stream), "{stream} left twice");
                    self.discarding.push(stream);
                }
                Action::TellClosed(waiter) => self.outcome(waiter),
                Action::Hand(waiting, slot) => {
                    self.outcome(waiting.waiter);
                    assert!(self.inside.contains(&slot.stream), "handed out twice");
                    match self.hands {
                        0 => {
                            self.line.insert(waiting.waiter);
                            self.books.retire(slot, EvictReason::Broken);
                            self.books.rejoin(waiting);
                        }
                        1 => self.books.on_unused(slot),
                        _ => {
                            self.inside.remove(&slot.stream);
                            self.in_use.push(slot);
                        }
                    }
                }
            }
        }
    }

    fn keep(&mut self) {
        while let Some(work) = self.books.poll_work(self.now) {
            match work {
                Work::Open(permit) => self.permits.push(permit),
                Work::Test(mut trial) => {
                    assert!(self.inside.remove(trial.stream()), "tested twice");
                    self.trials.push(trial);
                }
            }
        }
        if let Some(wake) = self.books.poll_wake() {
            assert!(wake > self.now, "the keeper would spin");
        }
        let status = self.books.status();
        let room = status.streams() + status.opening + self.discarding.len() < status.max;
        let waits_for_time = self.books.poll_wake().is_some() || status.opening > 0;
        if !status.closed && room {
            let coming = status.opening + status.returning + status.testing;
            assert!(
                status.waiting <= coming || (status.limit.is_some() && waits_for_time),
                "someone waits for nothing: {status:?}"
            );
            assert!(
                status.streams() + status.opening >= status.min || waits_for_time,
                "below min, and nothing is done: {status:?}"
            );
        }
    }

    fn check(&self) {
        let status = self.books.status();
        assert_eq!(status.in_use, self.in_use.len());
        assert_eq!(status.opening, self.permits.len());
        assert_eq!(status.waiting, self.line.len());
        let known = self.inside.len() + self.in_use.len() + self.trials.len();
        assert_eq!(status.streams(), known, "a stream was lost or made up");
        assert!(known + self.discarding.len() + status.opening <= self.config.max);
        let left = status.counts.retired_total();
        assert_eq!(status.counts.opened, left + u64::try_from(known).unwrap());
    }

    /// Lets everything end well until nothing moves.
    fn settle(&mut self) {
        self.hands = u8::MAX;
        for _ in 0..10_000 {
            self.apply(Op::Keeper);
            if !self.discarding.is_empty() {
                self.apply(Op::Discarded(0));
            } else if !self.permits.is_empty() {
                self.apply(Op::Opened(0));
            } else if !self.trials.is_empty() {
                self.apply(Op::Passed(0));
            } else if !self.in_use.is_empty() {
                self.apply(Op::Return(0));
            } else if self.books.has_work(self.now) {
                // The keeper's turn again.
            } else if self.line.is_empty() && self.books.status().streams() >= self.config.min {
                return;
            } else if let Some(wake) = self.books.poll_wake() {
                self.now = wake;
                self.drain();
            } else {
                return;
            }
        }
        panic!("never at rest: {:?}", self.books.status());
    }
}

proptest! {
    #[test]
    fn whatever_happens_the_books_add_up_and_everyone_is_served_in_turn(
        config in any_config(),
        ops in prop::collection::vec(op(), 1..120),
    ) {
        let mut world = World::new(config);
        for op in ops {
            world.apply(op);
        }
        world.settle();
        let status = world.books.status();
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
        let status = world.books.status();
        prop_assert_eq!(status.waiting + status.opening + status.streams(), 0);
        prop_assert_eq!(world.books.poll_wake(), None);
    }
}
