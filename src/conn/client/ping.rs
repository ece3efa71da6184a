//! Sans-I/O: when to ping, what a pong means, and when a connection is lost.
//!
//! One ping is outstanding at a time. A caller that needs to know now whether the connection works requests a ping
//! ([`Pings::request`]) and is returned with the pong of a ping that was written after the request.
//!
//! A connection without other traffic may be pinged less often. At each interval the caller tells whether there was traffic
//! since the last pong. While there was none, only every n-th interval sends a ping; as soon as there is traffic, the next
//! interval does. So a connection in use is pinged at every interval.
//!
//! The timeout runs from the moment the ping is *written*. While flow control prevents that, a broker that does not read is
//! slow and not dead; QUIC's keep-alive and idle timeout then decide whether it is alive.

use std::{
    mem,
    time::{Duration, Instant},
};

/// What the caller must do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PingAction {
    /// Write a ping with this nonce, then call [`Pings::on_written`].
    Send(u64),
    /// Call [`Pings::poll`] again at this time; with `None`, after the next event.
    WaitUntil(Option<Instant>),
    /// Give the connection up: the pong did not arrive in time.
    TimedOut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No ping is outstanding, and the next one is due at this time.
    Idle(Instant),
    /// A ping is waiting to be written.
    Writing,
    /// A ping was written at this time, and its pong has not arrived.
    Written(Instant),
}

/// The pings of one connection. `W` identifies a caller that waits for a pong.
#[derive(Debug)]
pub(super) struct Pings<W> {
    interval: Duration,
    timeout: Duration,
    /// Without other traffic, one interval in this many sends a ping.
    idle_multiple: u32,
    /// Intervals since the last ping that sent none.
    skipped: u32,
    nonce: u64,
    state: State,
    /// Callers that the outstanding ping, or the next one if none is outstanding, will answer.
    waiting: Vec<W>,
    /// Callers whose request came after the outstanding ping was written. They wait for the ping after it.
    waiting_for_next: Vec<W>,
}

/// Error of a pong that answers no outstanding ping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UnexpectedPong;

impl<W> Pings<W> {
    /// The most callers that may wait at once.
    const MAX_WAITING: usize = 64;

    /// Creates the pings of a connection that was made at `now`. The first ping is due at once, because it is the first
    /// measurement of the round-trip time.
    pub(super) const fn new(interval: Duration, timeout: Duration, now: Instant) -> Self {
        Self {
            interval,
            timeout,
            idle_multiple: 1,
            skipped: 0,
            nonce: 0,
            state: State::Idle(now),
            waiting: Vec::new(),
            waiting_for_next: Vec::new(),
        }
    }

    /// Sets that without other traffic only one interval in `multiple` sends a ping.
    pub(super) const fn idle_multiple(mut self, multiple: u32) -> Self {
        self.idle_multiple = multiple;
        self
    }

    /// Returns the time after which a missing pong means that the connection is lost.
    pub(super) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Returns what to do at `now`. `had_traffic` tells whether anything but pings was sent or received since the last
    /// pong; it is called only if the answer depends on it.
    pub(super) fn poll(&mut self, now: Instant, had_traffic: impl FnOnce() -> bool) -> PingAction {
        match self.state {
            State::Idle(due) if now >= due && self.may_skip() && !had_traffic() => {
                self.skipped += 1;
                self.state = State::Idle(now + self.interval);
                PingAction::WaitUntil(Some(now + self.interval))
            }
            State::Idle(due) if now >= due || !self.waiting.is_empty() => {
                self.skipped = 0;
                self.nonce += 1;
                self.state = State::Writing;
                PingAction::Send(self.nonce)
            }
            State::Idle(due) => PingAction::WaitUntil(Some(due)),
            State::Writing => PingAction::WaitUntil(None),
            State::Written(at) if now >= at + self.timeout => PingAction::TimedOut,
            State::Written(at) => PingAction::WaitUntil(Some(at + self.timeout)),
        }
    }

    /// Returns whether this interval may pass without a ping if there was no traffic.
    fn may_skip(&self) -> bool {
        self.nonce > 0 && self.skipped + 1 < self.idle_multiple && self.waiting.is_empty()
    }

    /// Takes note that the ping was written completely at `now`.
    pub(super) fn on_written(&mut self, now: Instant) {
        if self.state == State::Writing {
            self.state = State::Written(now);
        }
    }

    /// Takes note of a pong. Returns the round-trip time and the callers that waited for it.
    pub(super) fn on_pong(
        &mut self,
        now: Instant,
        nonce: u64,
    ) -> Result<(Duration, Vec<W>), UnexpectedPong> {
        match self.state {
            State::Written(at) if nonce == self.nonce => {
                self.state = State::Idle(at + self.interval);
                let answered =
                    mem::replace(&mut self.waiting, mem::take(&mut self.waiting_for_next));
                Ok((now.saturating_duration_since(at), answered))
            }
            _ => Err(UnexpectedPong),
        }
    }

    /// Requests a ping now for `waiter`. Must not be called while [`Pings::accepts_requests`] is false.
    pub(super) fn request(&mut self, waiter: W) {
        match self.state {
            State::Idle(_) | State::Writing => self.waiting.push(waiter),
            State::Written(_) => self.waiting_for_next.push(waiter),
        }
    }

    /// Returns whether another caller may wait.
    pub(super) const fn accepts_requests(&self) -> bool {
        self.waiting.len() + self.waiting_for_next.len() < Self::MAX_WAITING
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test needs some instant")]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    struct Clock(Instant);

    impl Clock {
        fn at(&self, seconds: u32) -> Instant {
            self.0 + SECOND * seconds
        }
    }

    /// Returns pings with an interval of 5 s and a timeout of 3 s.
    fn pings() -> (Pings<&'static str>, Clock) {
        let now = Instant::now();
        (Pings::new(SECOND * 5, SECOND * 3, now), Clock(now))
    }

    #[test]
    fn a_ping_goes_out_every_interval_while_pongs_come() {
        let (mut pings, clock) = pings();
        for nonce in 1..10 {
            let at = clock.at((u32::try_from(nonce).unwrap() - 1) * 5);
            assert_eq!(pings.poll(at, not_called), PingAction::Send(nonce));
            pings.on_written(at);
            assert_eq!(
                pings.poll(at, not_called),
                PingAction::WaitUntil(Some(at + SECOND * 3))
            );
            let (rtt, answered) = pings.on_pong(at + SECOND, nonce).unwrap();
            assert_eq!((rtt, answered), (SECOND, vec![]));
            let due = at + SECOND * 5;
            assert_eq!(
                pings.poll(at + SECOND * 2, not_called),
                PingAction::WaitUntil(Some(due))
            );
        }
    }

    /// For pings without an idle multiple.
    fn not_called() -> bool {
        unreachable!("every interval sends a ping, so traffic does not matter")
    }

    #[test]
    fn a_link_that_is_not_used_is_pinged_at_every_third_interval_and_one_in_use_at_each() {
        let (pings, clock) = pings();
        let mut pings = pings.idle_multiple(3);
        assert_eq!(
            pings.poll(clock.at(0), || false),
            PingAction::Send(1),
            "the first"
        );
        let mut nonce = 1;
        let mut pinged = Vec::new();
        for second in 1..=100 {
            let now = clock.at(second);
            if let State::Writing = pings.state {
                pings.on_written(now - SECOND);
                pings.on_pong(now - SECOND, nonce).unwrap();
            }
            // There is traffic from the 35th to the 45th second.
            if let PingAction::Send(next) = pings.poll(now, || (35..=45).contains(&second)) {
                nonce = next;
                pinged.push(second);
            }
        }
        assert_eq!(pinged, [15, 30, 35, 40, 45, 60, 75, 90]);
    }

    #[test]
    fn who_asks_is_answered_at_once_on_a_link_that_rests() {
        let (pings, clock) = pings();
        let mut pings = pings.idle_multiple(3);
        pings.poll(clock.at(0), || false);
        pings.on_written(clock.at(0));
        pings.on_pong(clock.at(0), 1).unwrap();
        assert_eq!(
            pings.poll(clock.at(5), || false),
            PingAction::WaitUntil(Some(clock.at(10)))
        );
        pings.request("now");
        assert_eq!(pings.poll(clock.at(6), || false), PingAction::Send(2));
    }

    #[test]
    fn a_link_without_a_pong_is_dead_after_the_timeout_and_not_before() {
        let (mut pings, clock) = pings();
        pings.poll(clock.at(0), not_called);
        pings.on_written(clock.at(0));
        let just_before = clock.at(3) - Duration::from_nanos(1);
        assert_eq!(
            pings.poll(just_before, not_called),
            PingAction::WaitUntil(Some(clock.at(3)))
        );
        assert_eq!(pings.poll(clock.at(3), not_called), PingAction::TimedOut);
    }

    #[test]
    fn a_ping_that_cannot_be_written_does_not_run_against_the_timeout() {
        let (mut pings, clock) = pings();
        assert_eq!(pings.poll(clock.at(0), not_called), PingAction::Send(1));
        assert_eq!(
            pings.poll(clock.at(1000), not_called),
            PingAction::WaitUntil(None)
        );
        pings.on_written(clock.at(1000));
        assert_eq!(
            pings.poll(clock.at(1002), not_called),
            PingAction::WaitUntil(Some(clock.at(1003)))
        );
    }

    #[test]
    fn who_asks_is_answered_by_a_ping_written_after_the_question() {
        let (mut pings, clock) = pings();
        pings.poll(clock.at(0), not_called);
        pings.request("before it was written");
        pings.on_written(clock.at(0));
        pings.request("after it was written");
        assert_eq!(
            pings.on_pong(clock.at(1), 1),
            Ok((SECOND, vec!["before it was written"]))
        );
        assert_eq!(
            pings.poll(clock.at(1), not_called),
            PingAction::Send(2),
            "at once"
        );
        pings.on_written(clock.at(1));
        assert_eq!(
            pings.on_pong(clock.at(2), 2),
            Ok((SECOND, vec!["after it was written"]))
        );
        assert_eq!(
            pings.poll(clock.at(2), not_called),
            PingAction::WaitUntil(Some(clock.at(6)))
        );
        pings.request("while none is outstanding");
        assert_eq!(
            pings.poll(clock.at(3), not_called),
            PingAction::Send(3),
            "at once"
        );
    }

    #[test]
    fn a_pong_that_answers_no_ping_is_told() {
        let (mut pings, clock) = pings();
        assert_eq!(pings.on_pong(clock.at(0), 0), Err(UnexpectedPong));
        pings.poll(clock.at(0), not_called);
        assert_eq!(
            pings.on_pong(clock.at(0), 1),
            Err(UnexpectedPong),
            "not written"
        );
        pings.on_written(clock.at(0));
        assert_eq!(pings.on_pong(clock.at(0), 2), Err(UnexpectedPong));
        assert!(pings.on_pong(clock.at(0), 1).is_ok());
        assert_eq!(pings.on_pong(clock.at(0), 1), Err(UnexpectedPong), "twice");
    }

    #[test]
    fn the_crowd_of_those_who_wait_is_bounded() {
        let (mut pings, _) = pings();
        let mut requested = 0;
        while pings.accepts_requests() {
            pings.request("me too");
            requested += 1;
        }
        assert_eq!(requested, 64);
    }
}
