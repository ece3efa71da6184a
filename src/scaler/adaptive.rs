//! Pure: the default policy: queue depth drives, network state vetoes, a measured gain confirms, peak-hold
//! releases. The law and its sources are on the [front page](super).

mod buried;
mod loss;
mod need;
#[cfg(test)]
mod properties;
mod span;
#[cfg(test)]
mod tests;
mod trial;

use std::{
    cmp::Ordering,
    time::{Duration, Instant},
};

use self::{
    buried::Buried,
    loss::LossTerm,
    need::Need,
    trial::{Trials, Verdict},
};
use super::{Action, Config, Decision, Load, MAX_LANES, Reason, ScalePolicy};
use crate::config::ConfigError;

/// The part of the congestion window from which on it counts as full. The last tenth comes and goes with
/// each acknowledgement.
const FULL: f64 = 0.9;
/// Rounds for which the path must fill the lanes before one is opened ahead of a backlog: a moment of it is no load that
/// grows.
const AHEAD: u32 = 4;
/// The shortest time that anything waits for: timers are not finer.
const LEAST: Duration = Duration::from_millis(1);
/// Messages that wait no longer than this wait for a processor as likely as for a lane: on a local network both ends' tasks are
/// milliseconds apart when they have much to do, and another lane gives them more.
const NOISE: Duration = Duration::from_millis(5);
/// So many times the broker's hold may lie at it on a local network: the group that is being stored and those that gather.
const GATHERING: u32 = 4;
/// How often to look while answers are due and nothing is queued: losses are counted, and a hundred looks a
/// second cost nothing.
const UNHURRIED: Duration = Duration::from_millis(10);
/// How soon a lane of the minimum that did not open is tried again.
const RETRY: Duration = Duration::from_millis(100);
/// The longest time for which anything measured is believed without measuring it again.
const LONGEST_BELIEF: Duration = Duration::from_secs(300);
/// Retirements within one idle timeout at most, so that a slowly falling need is not a stream of them.
const RETIREMENTS: u32 = 4;

/// Opens a lane when messages wait and a lane is what is missing, or when losses stall messages that others
/// lost; retires lanes that nobody wanted for an idle timeout.
#[derive(Debug, Clone)]
pub struct Adaptive {
    config: Config,
    buried: Buried,
    loss: LossTerm,
    need: Need,
    trials: Trials,
    /// When the congestion window was last seen full.
    filled_at: Option<Instant>,
    /// When QUIC was last seen to take no more, for that or another reason.
    full_at: Option<Instant>,
    /// Since when the path has filled the lanes at every look.
    path_full_since: Option<Instant>,
    /// Lanes at the last look: what has been added since is wanted.
    seen: usize,
    last_open: Option<Instant>,
    last_retire: Option<Instant>,
    /// After a retirement: an idle timeout after the opening before it.
    barred_until: Option<Instant>,
}

/// The wish for more lanes, before anyone has asked whether they may be opened.
struct Wish {
    lanes: usize,
    reason: Reason,
    /// Whether it is still to be seen that they help.
    trial: Option<Pace>,
}

/// How lanes on trial follow each other.
#[derive(Clone, Copy, PartialEq)]
enum Pace {
    /// The next after the verdict on the last.
    Stepwise,
    /// Step by step with a congestion window that doubles: one verdict on all of them.
    Foreseen,
}

impl Adaptive {
    /// A policy that keeps to `config`.
    ///
    /// # Errors
    ///
    /// Every field of `config` that breaks its rule.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            buried: Buried::default(),
            loss: LossTerm::new(config.idle_timeout),
            need: Need::new(&config),
            trials: Trials::new(&config),
            config,
            filled_at: None,
            full_at: None,
            path_full_since: None,
            seen: 0,
            last_open: None,
            last_retire: None,
            barred_until: None,
        })
    }

    /// Reads every meter; the verdict is that of the trial.
    fn look(&mut self, now: Instant, load: &Load) -> Verdict {
        // What waits for the congestion window does not wait for a lane, nor does what waits for a processor.
        let full = self.is_full(now, load);
        let otherwise = full && is_waiting(load) || is_busy(load);
        self.loss.on_look(now, load, otherwise);
        let verdict = self.trials.on_look(now, load);
        if let Verdict::Enough { lane_rate } | Verdict::Gain { lane_rate, .. } = verdict {
            self.need.on_lane_rate(now, lane_rate);
        }
        let streams = load.total_lanes();
        if streams <= self.config.min_lanes {
            self.need.forget_lane_rate();
        }
        self.need.on_look(now, load, full);
        self.need
            .hold(now, used_by_path(load).min(load.total_lanes()));
        let waits_for_lanes = self.is_deep(load) && !full;
        let pressed = load.lanes_opening > 0 || self.trials.is_running() || waits_for_lanes;
        let grown = streams > std::mem::replace(&mut self.seen, streams);
        let held = if pressed || grown {
            streams
        } else {
            self.against_loss(load).min(streams)
        };
        self.need.hold(now, held);
        verdict
    }

    fn act(&mut self, now: Instant, load: &Load, verdict: Verdict) -> (Action, Reason) {
        let streams = load.total_lanes();
        if streams < self.config.min_lanes {
            let missing = self.config.min_lanes - streams;
            return self.open(now, load, missing, Reason::Minimum);
        }
        if streams > self.config.max_lanes {
            let spare = streams - self.config.max_lanes;
            return (Action::retire(spare), Reason::MaxLanes);
        }
        if let Some(helpful) = helpful(verdict, load) {
            let kept = helpful
                .max(self.config.min_lanes)
                .max(self.against_loss(load));
            return match streams.saturating_sub(kept) {
                0 => (Action::Hold, self.no_gain(now, Reason::Ceiling)),
                spare => (Action::retire(spare), self.no_gain(now, Reason::NoGain)),
            };
        }
        match self.wish(now, load) {
            Ok(wish) => self.grant(now, load, &wish),
            Err(reason) => match self.spare(now, load) {
                0 => (Action::Hold, reason),
                spare if reason == Reason::CongestionLimited => (Action::retire(spare), reason),
                spare => (Action::retire(spare), Reason::Idle),
            },
        }
    }

    /// QUIC took no more within the last round trip: another lane would have waited as well.
    fn is_full(&self, now: Instant, load: &Load) -> bool {
        was_within_a_round_trip(self.full_at, now, load)
    }

    /// The congestion window was full within the last round trip.
    fn is_filled(&self, now: Instant, load: &Load) -> bool {
        was_within_a_round_trip(self.filled_at, now, load)
    }

    /// The lanes that losses are worth: with nothing on its way there is nobody to stall.
    fn against_loss(&self, load: &Load) -> usize {
        let lanes = if load.is_quiet() {
            1
        } else {
            self.loss.lanes()
        };
        lanes.min(self.config.max_lanes)
    }

    /// Would more lanes help? Otherwise the reason why not.
    fn wish(&self, now: Instant, load: &Load) -> Result<Wish, Reason> {
        let streams = load.total_lanes();
        let waits = is_waiting(load);
        let full = self.is_full(now, load);
        let against_loss = self.against_loss(load);
        // Where messages wait for the congestion window, a stall more is not what they wait for.
        if against_loss > streams && !(full && waits) {
            return Ok(Wish {
                lanes: against_loss,
                reason: Reason::Loss,
                trial: None,
            });
        }
        if load.is_quiet() {
            return Err(Reason::Idle);
        }
        let late = self.buried.is_late();
        if !(waits && (late || self.is_deep(load))) {
            // One lane ahead of a load that grows: a backlog would be there before it.
            let long = load.round().saturating_mul(AHEAD);
            let grows = self
                .path_full_since
                .is_some_and(|since| now.saturating_duration_since(since) >= long);
            return match !full && grows {
                true => Ok(Wish {
                    lanes: streams.saturating_add(1),
                    reason: Reason::Backlog,
                    trial: None,
                }),
                false => Err(Reason::BelowThreshold),
            };
        }
        if streams >= most_of_rate(load) {
            return Err(Reason::LanesNotFull);
        }
        // Little's law: the lanes there are hold what they can, the others are to hold what is queued.
        let more = load.queued_bytes.div_ceil(load.lane_window.max(1)).max(1);
        let more = usize::try_from(more).unwrap_or(usize::MAX);
        if self.is_filled(now, load) || is_path_full(load) {
            let lanes = foreseen(load).min(streams.saturating_add(more));
            if lanes > streams {
                return Ok(Wish {
                    lanes,
                    reason: Reason::Backlog,
                    trial: Some(Pace::Foreseen),
                });
            }
        }
        if full {
            return Err(Reason::CongestionLimited);
        }
        if !are_lanes_full(load) {
            return Err(Reason::LanesNotFull);
        }
        let more = if late { streams } else { more };
        Ok(Wish {
            lanes: streams.saturating_add(more).min(room(load)),
            reason: Reason::Backlog,
            trial: Some(Pace::Stepwise),
        })
    }

    /// Opens what is wished for, as far as the options, the peer, the last trial and the last opening allow.
    fn grant(&mut self, now: Instant, load: &Load, wish: &Wish) -> (Action, Reason) {
        let streams = load.total_lanes();
        let mut most = self.config.max_lanes;
        if streams >= most {
            return (Action::Hold, Reason::MaxLanes);
        }
        if wish.trial == Some(Pace::Stepwise)
            && let Some(ceiling) = self.trials.ceiling(now)
        {
            most = most.min(ceiling.lanes);
            if streams >= most {
                return (Action::Hold, self.no_gain(now, Reason::Ceiling));
            }
        }
        if load.peer_streams_left == 0 {
            return (Action::Hold, Reason::PeerLimit);
        }
        let waits = self.trials.is_running() && wish.trial == Some(Pace::Stepwise);
        if load.lanes_opening > 0 || waits {
            return (Action::Hold, Reason::Cooldown);
        }
        let more = wish.lanes.min(most).saturating_sub(streams).min(streams);
        let (action, reason) = self.open(now, load, more, wish.reason);
        if let Action::Open(more) = action
            && wish.trial.is_some()
        {
            self.trials.begin_or_widen(load, more.get());
        }
        (action, reason)
    }

    fn open(&self, now: Instant, load: &Load, more: usize, reason: Reason) -> (Action, Reason) {
        let since = |at: Option<Instant>| at.map(|at| now.saturating_duration_since(at));
        if since(self.last_open).is_some_and(|age| age < load.rtt.max(LEAST)) {
            return (Action::Hold, Reason::Cooldown);
        }
        if reason != Reason::Minimum && self.barred_until.is_some_and(|until| now < until) {
            return (Action::Hold, Reason::Cooldown);
        }
        match more.min(load.peer_streams_left) {
            0 => (Action::Hold, Reason::PeerLimit),
            more => (Action::open(more), reason),
        }
    }

    /// Lanes that were not wanted at any moment of the last idle timeout.
    fn spare(&mut self, now: Instant, load: &Load) -> usize {
        let resting = self.last_retire.is_some_and(|at| {
            now.saturating_duration_since(at) < self.config.idle_timeout / RETIREMENTS
        });
        if resting || load.lanes_opening > 0 {
            return 0;
        }
        let kept = self.need.peak(now).max(self.config.min_lanes);
        load.total_lanes().saturating_sub(kept)
    }

    /// Remembers what was decided.
    fn note(&mut self, now: Instant, action: Action) {
        match action {
            Action::Hold => {}
            Action::Open(_) => self.last_open = Some(now),
            Action::Retire(_) => {
                self.last_retire = Some(now);
                self.barred_until = self.last_open.map(|at| at + self.config.idle_timeout);
            }
        }
    }

    /// When to look again, also where nobody enqueues.
    fn wake_after(&self, now: Instant, load: &Load, action: Action) -> Option<Duration> {
        let streams = load.total_lanes();
        if load.queued_messages > 0 {
            return Some((load.rtt / 2).max(LEAST));
        }
        if !load.is_quiet()
            || load.lanes_opening > 0
            || self.trials.is_running()
            || action != Action::Hold
        {
            return Some(load.rtt.max(UNHURRIED));
        }
        match streams.cmp(&self.config.min_lanes) {
            Ordering::Less => Some(load.rtt.max(RETRY)),
            Ordering::Equal => None,
            Ordering::Greater => {
                let rested = self
                    .last_retire
                    .map(|at| at + self.config.idle_timeout / RETIREMENTS);
                let due = self.need.falls_below(streams).max(rested);
                let wait = due.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
                Some(wait.max(LEAST))
            }
        }
    }

    /// A threshold of messages, or a window of bytes, is queued for each lane.
    fn is_deep(&self, load: &Load) -> bool {
        let lanes = load.total_lanes().max(1);
        let window = load.lane_window.saturating_mul(lanes as u64);
        load.queued_messages >= self.backlog_threshold(lanes)
            || (load.queued_bytes >= window && load.queued_messages > 0)
    }

    fn no_gain(&self, now: Instant, otherwise: Reason) -> Reason {
        match self.trials.ceiling(now) {
            Some(ceiling) if ceiling.broker_slow => Reason::BrokerSlow,
            _ => otherwise,
        }
    }
}

impl ScalePolicy for Adaptive {
    fn decide(&mut self, now: Instant, load: &Load) -> Decision {
        if is_pipe_full(load) {
            self.filled_at = Some(now);
        }
        if is_pipe_full(load) || load.send_blocked {
            self.full_at = Some(now);
        }
        self.path_full_since = match is_path_full(load) {
            true => self.path_full_since.or(Some(now)),
            false => None,
        };
        let load = &self.buried.uncover(now, load, self.is_full(now, load));
        let verdict = self.look(now, load);
        let (action, reason) = self.act(now, load, verdict);
        self.note(now, action);
        Decision {
            action,
            reason,
            wake_after: self.wake_after(now, load, action),
        }
    }

    fn backlog_threshold(&self, lanes: usize) -> usize {
        self.config.backlog_threshold.saturating_mul(lanes.max(1))
    }
}

fn was_within_a_round_trip(at: Option<Instant>, now: Instant, load: &Load) -> bool {
    at.is_some_and(|at| now.saturating_duration_since(at) < load.rtt.max(LEAST))
}

/// QUIC has sent all that the congestion window lets through, and has more.
///
/// A window that is as large as what is in flight is not full where QUIC has nothing more to send: quinn lets
/// it grow only while something waits for it, so it stops just above what the lanes can fill. To take that
/// for a full pipe would keep the lanes few and the window small for ever.
fn is_pipe_full(load: &Load) -> bool {
    let next = load.bytes_in_flight.saturating_add(load.mtu);
    !load.app_limited && load.cwnd > 0 && (is_near_window(load) || next >= load.cwnd)
}

fn is_near_window(load: &Load) -> bool {
    load.bytes_in_flight as f64 >= load.cwnd as f64 * FULL
}

/// No lane could take another batch.
fn are_lanes_full(load: &Load) -> bool {
    let windows = load.lane_window.saturating_mul(load.lanes as u64);
    load.lanes > 0
        && (load.lanes_busy >= load.lanes || load.in_flight_bytes as f64 >= windows as f64 * FULL)
}

/// The lanes that a trial leaves, where these may be fewer than there are: those before it, and what the path uses. Of
/// lanes that were foreseen all helped together; what the path does not use was foreseen wrongly.
fn helpful(verdict: Verdict, load: &Load) -> Option<usize> {
    let used = used_by_path(load);
    match verdict {
        Verdict::NoGain { lanes } => Some(lanes.max(used)),
        Verdict::Gain { widened: true, .. } if used > 0 && used < load.lanes => Some(used),
        _ => None,
    }
}

/// The lanes that a congestion window that is full and has never met congestion wants in a round trip: it doubles each round
/// trip, and a lane takes one to open. Not where the broker is what holds them, or something queues on the way.
fn foreseen(load: &Load) -> usize {
    let held = load.broker_hold.unwrap_or_default();
    if load.congestion_events > 0 || !is_in_network(load, held) || is_queue_standing(load) {
        return 0;
    }
    let next = load.bytes_in_flight.saturating_mul(2);
    let lanes = next.div_ceil(load.lane_window.max(1));
    usize::try_from(lanes).unwrap_or(usize::MAX)
}

/// The lane windows that the path alone holds: that these are needed is no question for a trial. What lies at the broker,
/// or in a queue on the way, is none of the path's.
fn windows_of_path(load: &Load) -> f64 {
    let held = load
        .ack_mean
        .unwrap_or(Duration::MAX)
        .saturating_sub(load.rtt);
    if !is_in_network(load, held) {
        return 0.0;
    }
    let clear = load.min_rtt.as_secs_f64() / load.rtt.max(load.min_rtt).as_secs_f64().max(1e-6);
    load.in_flight_bytes as f64 * clear / load.lane_window.max(1) as f64
}

/// The lanes that the path makes use of, with a tenth of each to spare.
fn used_by_path(load: &Load) -> usize {
    whole((windows_of_path(load) / FULL).ceil())
}

/// The path holds nearly all that the lanes may have unanswered: with a little more to send, they would be what holds it
/// back.
fn is_path_full(load: &Load) -> bool {
    load.lanes > 0 && used_by_path(load) > load.lanes
}

/// What is unanswered is in the network: it is `held` elsewhere for little of the time, and is not there now.
fn is_in_network(load: &Load, held: Duration) -> bool {
    held <= (load.rtt / 4).max(LEAST) && load.bytes_in_flight >= load.in_flight_bytes / 2
}

/// Round trips take longer than they could: something queues on the way (as HyStart++ asks, RFC 9406).
fn is_queue_standing(load: &Load) -> bool {
    load.rtt > load.min_rtt + (load.min_rtt / 8).max(LEAST)
}

/// The lanes that would fill the congestion window, if each new one put as much into the network as those
/// there are. Where windows are the limit that is `cwnd / window`; where a broker holds the bytes, few are in
/// the network, and there is room for many lanes.
fn room(load: &Load) -> usize {
    if load.bytes_in_flight == 0 || is_near_window(load) {
        return MAX_LANES;
    }
    let room = load.lanes as f64 * load.cwnd as f64 / load.bytes_in_flight as f64;
    whole(room.ceil()).max(load.lanes + 1)
}

/// Little's law on a local network, where neither the path nor the broker keeps anything: the lanes whose windows the present
/// rate fills within the noise of both ends' tasks. What waits there in more of them waits for a processor. A store that syncs
/// is given more to gather in the meantime.
fn most_of_rate(load: &Load) -> usize {
    let held = load.broker_hold.unwrap_or_default();
    match load.ack_rate {
        Some(rate) if is_local(load) && held < NOISE => {
            let time = NOISE.max(held.saturating_mul(GATHERING)).as_secs_f64();
            whole((rate * time / load.lane_window.max(1) as f64).ceil()).max(1)
        }
        _ => usize::MAX,
    }
}

/// Both ends' tasks take longer than the network between them.
fn is_local(load: &Load) -> bool {
    load.min_rtt < NOISE
}

/// On a local network round trips take longer than the network by more than the noise of tasks: both ends' processors are
/// late, or a socket's buffer is full. Losses there are that buffer's, and a stall of one round trip more is not what is
/// waited for.
fn is_busy(load: &Load) -> bool {
    is_local(load) && load.rtt > load.min_rtt + NOISE
}

/// What is queued now will not have left within a round trip, or on a local network within the noise of its tasks.
fn is_waiting(load: &Load) -> bool {
    if load.queued_messages == 0 {
        return false;
    }
    let windows = load.lane_window.saturating_mul(load.lanes as u64) as f64;
    let rate = match load.ack_rate {
        Some(rate) if rate > 0.0 => rate,
        _ => windows / load.round().as_secs_f64(),
    };
    let bar = load.rtt.max(NOISE);
    load.oldest_wait > bar || load.queued_bytes as f64 > rate * bar.as_secs_f64()
}

/// A number of lanes from a measure that may be anything.
fn whole(lanes: f64) -> usize {
    const MOST: f64 = 1e6;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "within 0 and a million; NaN becomes 0"
    )]
    let lanes = lanes.clamp(0.0, MOST) as usize;
    lanes
}
