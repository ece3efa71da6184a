//! Pure: when to ping, what a pong tells, and when a link is dead.
//!
//! One ping is out at a time. Whoever wants to know now whether the link lives asks for one ([`Pings::ask`]) and is
//! handed back with the pong of a ping that was written after the question.
//!
//! A link on which nothing else goes may be pinged less often: at each interval somebody says whether it was used since
//! the last pong, and while it was not, only every so many intervals bring a ping. So a link in use is never tested
//! later than one that is always tested.
//!
//! The timeout runs from the moment the ping is *written*. While flow control keeps it from that, a broker
//! that does not read is slow and not dead, and QUIC's own keep-alive and idle timeout are the judge.

use std::{
    mem,
    time::{Duration, Instant},
};

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Write this ping, then call [`Pings::on_written`].
    Ping(u64),
    /// Nothing before this time; `None`: nothing before something happens.
    Wait(Option<Instant>),
    /// The pong did not come in time.
    Dead,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No ping is out; the next is due at this time.
    Idle(Instant),
    /// The ping waits to be written.
    Writing,
    /// It was written at this time, and the pong is awaited.
    Written(Instant),
}

/// The pings of a link. `W` is who waits for a pong.
#[derive(Debug)]
pub(super) struct Pings<W> {
    interval: Duration,
    timeout: Duration,
    /// While nothing else goes on the link, one interval in so many brings a ping.
    rest: u32,
    /// How many brought none since the last ping.
    skipped: u32,
    nonce: u64,
    state: State,
    /// Those whom the ping that is out will answer.
    this: Vec<W>,
    /// Those who asked after it was written, and wait for the next one.
    next: Vec<W>,
}

/// A pong that answers no ping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unasked;

impl<W> Pings<W> {
    /// The most who may wait at once.
    const MOST_WAITING: usize = 64;

    /// The first ping is due at once: it is the first measurement of the round trip.
    pub(super) const fn new(interval: Duration, timeout: Duration, now: Instant) -> Self {
        Self {
            interval,
            timeout,
            rest: 1,
            skipped: 0,
            nonce: 0,
            state: State::Idle(now),
            this: Vec::new(),
            next: Vec::new(),
        }
    }

    /// While nothing else goes on the link, one interval in `rest` brings a ping.
    pub(super) const fn resting(mut self, rest: u32) -> Self {
        self.rest = rest;
        self
    }

    /// How long a pong may take.
    pub(super) const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// What to do at `now`. `used` answers whether the link was used since the last pong for anything but pings.
    pub(super) fn poll(&mut self, now: Instant, used: impl FnOnce() -> bool) -> Next {
        match self.state {
            State::Idle(due) if now >= due && self.may_rest() && !used() => {
                self.skipped += 1;
                self.state = State::Idle(now + self.interval);
                Next::Wait(Some(now + self.interval))
            }
            State::Idle(due) if now >= due || !self.this.is_empty() => {
                self.skipped = 0;
                self.nonce += 1;
                self.state = State::Writing;
                Next::Ping(self.nonce)
            }
            State::Idle(due) => Next::Wait(Some(due)),
            State::Writing => Next::Wait(None),
            State::Written(at) if now >= at + self.timeout => Next::Dead,
            State::Written(at) => Next::Wait(Some(at + self.timeout)),
        }
    }

    /// Whether this interval may pass without a ping.
    fn may_rest(&self) -> bool {
        self.nonce > 0 && self.skipped + 1 < self.rest && self.this.is_empty()
    }

    /// The ping is written, at `now`.
    pub(super) fn on_written(&mut self, now: Instant) {
        if self.state == State::Writing {
            self.state = State::Written(now);
        }
    }

    /// A pong came: how long it took, and who waited for it.
    pub(super) fn on_pong(
        &mut self,
        now: Instant,
        nonce: u64,
    ) -> Result<(Duration, Vec<W>), Unasked> {
        match self.state {
            State::Written(at) if nonce == self.nonce => {
                self.state = State::Idle(at + self.interval);
                let waited = mem::replace(&mut self.this, mem::take(&mut self.next));
                Ok((now.saturating_duration_since(at), waited))
            }
            _ => Err(Unasked),
        }
    }

    /// Somebody wants to know now. Not to be called while there is no [`Pings::room`].
    pub(super) fn ask(&mut self, waiting: W) {
        match self.state {
            State::Idle(_) | State::Writing => self.this.push(waiting),
            State::Written(_) => self.next.push(waiting),
        }
    }

    /// Whether anybody else may wait.
    pub(super) const fn room(&self) -> bool {
        self.this.len() + self.next.len() < Self::MOST_WAITING
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    struct Clock(Instant);

    impl Clock {
        fn at(&self, seconds: u32) -> Instant {
            self.0 + SECOND * seconds
        }
    }

    /// Pings every 5 s, with a timeout of 3 s.
    fn pings() -> (Pings<&'static str>, Clock) {
        let now = Instant::now();
        (Pings::new(SECOND * 5, SECOND * 3, now), Clock(now))
    }

    #[test]
    fn a_ping_goes_out_every_interval_while_pongs_come() {
        let (mut pings, clock) = pings();
        for nonce in 1..10 {
            let at = clock.at((u32::try_from(nonce).unwrap() - 1) * 5);
            assert_eq!(pings.poll(at, unused), Next::Ping(nonce));
            pings.on_written(at);
            assert_eq!(pings.poll(at, unused), Next::Wait(Some(at + SECOND * 3)));
            let (rtt, waited) = pings.on_pong(at + SECOND, nonce).unwrap();
            assert_eq!((rtt, waited), (SECOND, vec![]));
            let due = at + SECOND * 5;
            assert_eq!(pings.poll(at + SECOND * 2, unused), Next::Wait(Some(due)));
        }
    }

    /// For links that do not rest.
    fn unused() -> bool {
        unreachable!("a link that is always tested is not asked whether it was used")
    }

    #[test]
    fn a_link_that_is_not_used_is_pinged_at_every_third_interval_and_one_in_use_at_each() {
        let (pings, clock) = pings();
        let mut pings = pings.resting(3);
        assert_eq!(
            pings.poll(clock.at(0), || false),
            Next::Ping(1),
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
            // It is in use from the 35th to the 45th second.
            if let Next::Ping(next) = pings.poll(now, || (35..=45).contains(&second)) {
                nonce = next;
                pinged.push(second);
            }
        }
        assert_eq!(pinged, [15, 30, 35, 40, 45, 60, 75, 90]);
    }

    #[test]
    fn who_asks_is_answered_at_once_on_a_link_that_rests() {
        let (pings, clock) = pings();
        let mut pings = pings.resting(3);
        pings.poll(clock.at(0), || false);
        pings.on_written(clock.at(0));
        pings.on_pong(clock.at(0), 1).unwrap();
        assert_eq!(
            pings.poll(clock.at(5), || false),
            Next::Wait(Some(clock.at(10)))
        );
        pings.ask("now");
        assert_eq!(pings.poll(clock.at(6), || false), Next::Ping(2));
    }

    #[test]
    fn a_link_without_a_pong_is_dead_after_the_timeout_and_not_before() {
        let (mut pings, clock) = pings();
        pings.poll(clock.at(0), unused);
        pings.on_written(clock.at(0));
        let just_before = clock.at(3) - Duration::from_nanos(1);
        assert_eq!(
            pings.poll(just_before, unused),
            Next::Wait(Some(clock.at(3)))
        );
        assert_eq!(pings.poll(clock.at(3), unused), Next::Dead);
    }

    #[test]
    fn a_ping_that_cannot_be_written_does_not_run_against_the_timeout() {
        let (mut pings, clock) = pings();
        assert_eq!(pings.poll(clock.at(0), unused), Next::Ping(1));
        assert_eq!(pings.poll(clock.at(1000), unused), Next::Wait(None));
        pings.on_written(clock.at(1000));
        assert_eq!(
            pings.poll(clock.at(1002), unused),
            Next::Wait(Some(clock.at(1003)))
        );
    }

    #[test]
    fn who_asks_is_answered_by_a_ping_written_after_the_question() {
        let (mut pings, clock) = pings();
        pings.poll(clock.at(0), unused);
        pings.ask("while it waits to be written");
        pings.on_written(clock.at(0));
        pings.ask("after it was written");
        assert_eq!(
            pings.on_pong(clock.at(1), 1),
            Ok((SECOND, vec!["while it waits to be written"]))
        );
        assert_eq!(pings.poll(clock.at(1), unused), Next::Ping(2), "at once");
        pings.on_written(clock.at(1));
        assert_eq!(
            pings.on_pong(clock.at(2), 2),
            Ok((SECOND, vec!["after it was written"]))
        );
        assert_eq!(
            pings.poll(clock.at(2), unused),
            Next::Wait(Some(clock.at(6)))
        );
        pings.ask("while nothing is out");
        assert_eq!(pings.poll(clock.at(3), unused), Next::Ping(3), "at once");
    }

    #[test]
    fn a_pong_that_answers_no_ping_is_told() {
        let (mut pings, clock) = pings();
        assert_eq!(pings.on_pong(clock.at(0), 0), Err(Unasked));
        pings.poll(clock.at(0), unused);
        assert_eq!(pings.on_pong(clock.at(0), 1), Err(Unasked), "not written");
        pings.on_written(clock.at(0));
        assert_eq!(pings.on_pong(clock.at(0), 2), Err(Unasked));
        assert!(pings.on_pong(clock.at(0), 1).is_ok());
        assert_eq!(pings.on_pong(clock.at(0), 1), Err(Unasked), "twice");
    }

    #[test]
    fn the_crowd_of_those_who_wait_is_bounded() {
        let (mut pings, _) = pings();
        let mut asked = 0;
        while pings.room() {
            pings.ask("me too");
            asked += 1;
        }
        assert_eq!(asked, 64);
    }
}
