//! Pure: how many streams a producer has, and why.
//!
//! All streams of a connection share one congestion window, one processor and one broker. So a backlog alone
//! is no reason to open another. It helps when, and only when,
//!
//! - a lost packet stalls messages on its stream that were not lost (head-of-line blocking);
//! - every lane has as many bytes unanswered as it may, and the network could carry more;
//! - the far end works through each stream one batch at a time.
//!
//! ```text
//! queue, lanes ─┐                        ┌─ Open(n)   ┐
//! answers ──────┼─▶ Load ─▶ ScalePolicy ─┼─ Hold      ├─ with a Reason, and when to ask again
//! network ──────┘           (pure)       └─ Retire(n) ┘
//! ```
//!
//! A [`ScalePolicy`] sees a [`Load`] and answers with a [`Decision`]: an [`Action`], its [`Reason`] and when to
//! be asked again. [`Adaptive`] is the default, [`Fixed`] the alternative, and users can bring their own.
//! [`meter`] holds the meters that a [`Load`] is read from. Nothing here knows a clock, a socket or a task.
//!
//! # The law
//!
//! *Queue depth drives, network state vetoes, a measured gain confirms, peak-hold releases.*
//!
//! With `n` lanes open or opening, all of these must hold for a lane to be opened. They are asked in this
//! order, and the first that does not hold is the reason given:
//!
//! ```text
//! BelowThreshold  queued >= backlog_threshold · n messages, or n windows of bytes, or something is buried
//!                 and the queue would last, or its head has waited, longer than max(rtt, 5 ms)
//! CongestionLimited        within the last rtt, bytes in flight < 0.9 cwnd, or QUIC had nothing more to send; and no lane waited
//!                 for QUIC to take what it has
//! LanesNotFull   every lane is full: window, stall, late answers or flow control; on a local network also
//!                 n < ⌈rate · 5 ms / window⌉
//! MaxLanes      n < max_lanes
//! Ceiling, BrokerSlow   no trial without gain is too recent
//! PeerLimit       the peer permits another stream
//! Cooldown        no lane is being opened, no trial runs, the last opening is an rtt old
//!  ⇒ Open         min(wanted − n, n): at most double each rtt
//! wanted = min( n + ⌈queued bytes / window⌉                   the lanes are full: Little's law, L = λ·W
//!             , ⌈n · cwnd / bytes in flight⌉ )                 more would not fit the congestion window
//!          2 n where something is buried
//! ```
//!
//! **Buried** is what lies unanswered at a far end that works through each stream one batch at a time: the queue is empty
//! then, and every message late. With a mean time to the answer of `T`, and `T₀` for the round trip and the
//! broker's own hold, Little's law puts a share of `1 − T₀/T` of all that is in flight there. It counts as queued once
//! `T > 2·T₀` on every lane for four rounds while the network has room.
//!
//! **What the path holds needs no trial.** Bytes that are in the network for nearly all the time to their answer are there
//! because the path is long, and more of them need more windows. That is seen before there is a backlog: once the path has
//! filled nine tenths of the windows for four rounds, one lane is opened ahead of a load that grows. Where a trial finds no
//! gain, and when lanes are retired, as many stay as the path fills, with a tenth to spare. What a queue on the way
//! holds does not count: of the bytes in flight, the share `least rtt / rtt`.
//!
//! **On a local network**, with a least round trip and a broker's hold below 5 ms each, time is spent in the tasks of both ends. They are
//! milliseconds apart when processors are short, every lane is full now and then, and more lanes make smaller batches of the
//! same messages. So there are never more than the rate fills within 5 ms, or four
//! times the hold if that is longer: a store that syncs makes more of larger groups. And while round trips take 5 ms longer than
//! the network, losses do not count: they are a socket's whose process is late.
//!
//! **A window in slow start** is full at every moment, and yet no limit: it doubles each round trip, until the lanes are what
//! holds it. As a lane takes a round trip to open, they are opened for the window of the next one, `⌈2 · in flight / window⌉`,
//! without waiting for each other's verdict, until the connection first meets congestion or round trips grow longer by an
//! eighth (as in HyStart++, RFC 9406); one trial judges all of them, and leaves those that the path fills.
//!
//! **Loss** opens lanes without a backlog, as there is no rate to be gained but time. With `W` packets that are sent until
//! a lost one is known to be lost, of which a share `p` is lost, `S` lanes leave a share of about `p·(1 + W/S)` late:
//!
//! ```text
//! S = W · min(1, 4p / (ε − p))      rounded up to a power of two;  ε = 1 %; p: the loss event rate of RFC 5348 §5.4
//! ```
//!
//! With a packet a lane a lost packet delays itself and nobody else, which is the physical floor. Below `p = ε/5` fewer lanes
//! keep the 99th percentile clear of losses: only a quarter of what may be late there is late for another's loss. The first
//! loss is worth 8 lanes at most, the second 64: a queue that overflows once says little about `p`.
//!
//! What is sent while messages wait for the congestion window does not count, lost or not, and nothing is opened for losses
//! then: these messages do not wait for a stalled lane. Where the window is full for moments and carries the load all the
//! same, lanes help, and losses count. Measured in simulation at 100 Mbit/s, 50 ms, 1 % loss and half the link's rate
//! (`W` = 260): 90th percentile 78 ms with one stream, 71 with 8, 27 with 64, 27 with a stream for every message.
//!
//! **A trial** follows every opening for a backlog. Answers speak for the lanes of a round ago, a round being
//! the round trip and the broker's hold. So the rate before is measured while the new lanes open, and the rate
//! after from one round after they are ready: for one round when the gain is half of the ideal or more, for
//! three when it is doubtful. It must be `min_gain` for twice the lanes, its share for less. Without gain the
//! law retreats to where it was, for an idle timeout, then two, four, up to five minutes. Rates are taken
//! from answer to answer (draft-cheng-iccrg-delivery-rate-estimation), as answers come in clumps.
//!
//! **Retiring** looks at the *peak* of the need over the idle timeout, as gax's channel pool does:
//!
//! ```text
//! need = max( ⌈(in flight + queued) / window⌉     Little's law where windows are the limit
//!           , ⌈rate of answers / 0.95 c⌉          and where streams are: c is what one full lane brought
//!           , ⌈held by the path / 0.9 window⌉
//!           , S                                   losses, while anything is on its way
//!           , n while pressed )                   backlog, opening or trial
//! peak of need < n  ⇒  Retire(n − peak), newest first, at most four times an idle timeout
//! ```
//!
//! What waits for a full congestion window presses nobody: where that is the limit for an idle timeout, the lanes that it
//! does not fill are given back (`CongestionLimited`), however long the queue.
//!
//! After a burst all that is left over goes at once, an idle timeout after it was last needed. `c` is believed
//! for four idle timeouts and then tested by giving up a lane at a time; each time that was wrong, it is
//! believed twice as long.
//!
//! # What it keeps to
//!
//! Whatever it is shown (property tests in `adaptive/properties.rs`):
//!
//! - never more lanes than `max_lanes`, nor fewer than `min_lanes` by its own doing;
//! - at most twice the lanes each round trip; the minimum alone is opened at once;
//! - from an opening on, no retirement and opening again within one `idle_timeout`; hence at most
//!   `max_lanes` lanes opened in any `idle_timeout`, retreats included. Lanes of the minimum that died are
//!   replaced regardless;
//! - no lane is retired as idle while messages press; only a trial without gain may do that, or a window that was full for
//!   an idle timeout;
//! - the same looks get the same decisions.
//!
//! In models whose best number is known (`model/answers.rs`, `model/courses.rs`): a stream-serial broker gets `λ·W` lanes within
//! one, a long fat link `BDP / window` within one; a full congestion window, processor, or a clean link with
//! room open none; a full store keeps none of those it was tried with.
//!
//! # What it costs
//!
//! - A doubling takes about three rounds: one to open, one until answers speak for it, one to judge. Sixteen
//!   lanes are there after twelve to sixteen rounds. Opening all at once would be sooner, and would open all
//!   of them for nothing where the broker is the limit.
//! - A store at its limit is tried with one lane more (three after a cold start, when there was no rate to
//!   compare with): six times in the first five minutes, then every five minutes.
//! - Catching up with a backlog may take twice the lanes that keep up; they go after the idle timeout.
//! - Lanes against loss are not tried: the measure of their gain would be the share of late messages, which
//!   takes thousands of messages to tell, and a lane costs next to nothing.
//!
//! # Constants
//!
//! | constant | value | reason |
//! |---|---|---|
//! | late answers | twice a round, for 4 rounds | a lost packet delays those behind it by one or two |
//! | full window | 0.9 cwnd, or less than a packet left | the last tenth comes and goes with each acknowledgement |
//! | path | nine tenths of the windows, for 4 rounds; held elsewhere for rtt/4 at most | answers take that much longer by themselves; a moment is no load that grows |
//! | late messages `ε` | 1 % | the 99th percentile is what users look at; at 0.1 % hardly any link could be served |
//! | victims | a quarter of `ε − p` | with all of it, the 99th percentile would stand on the edge |
//! | unevenness | 1.25 W | packets do not come evenly, and the next lane is not always free |
//! | loss events | 4 round trips apart | a queue that overflows drops until the sender has heard of it and slowed down |
//! | loss intervals | 32 | off by 20 %, where RFC 5348's eight are off by 40 % |
//! | credit | 8 lanes, 64 from the second loss event on | one loss in `n` packets may be one in `4n`; on a slow link eight lanes are all it can use |
//! | loss level | powers of two, falls to a quarter | smaller steps are within the error of the estimate |
//! | loss memory | 3200 round trips, an idle timeout at least | rarer losses than one in 100 round trips are worth one lane |
//! | least round | 5 ms | several answers and looks on a local network |
//! | clear gain | half of the ideal | the error of one clump in two is less |
//! | trial | 3 rounds | two or three clumps at each end |
//! | short, long baseline | 2, 8 rounds | shorter is believed on credit only; longer speaks of the past |
//! | headroom | 0.95 of a full lane | the noise of arrivals |
//! | belief, first and longest | 4 idle timeouts, 5 min | a lane's price is small, a wrong guess costs a backlog |
//! | looks | max(rtt/2, 1 ms) with a queue, max(rtt, 10 ms) with answers due | a hundred looks a second cost nothing |
//!
//! # Sources
//!
//! Little, *A proof for the queuing formula L = λW*, 1961. RFC 9002 (QUIC loss detection and congestion
//! control): what a lost packet costs, and why a window that is not used does not grow. RFC 5348 §5.4 (average
//! loss interval). Peak-hold: gax `ChannelPoolSettings`; why not an average: tower#456. Validation by models
//! with a known optimum: Hellerstein et al., FeBID 2008.

mod adaptive;
mod config;
mod decision;
mod fixed;
mod load;
pub mod meter;
#[cfg(test)]
mod model;

pub use self::{
    adaptive::Adaptive,
    config::{Config, MAX_LANES},
    decision::{Action, Decision, Reason, ScalePolicy},
    fixed::Fixed,
    load::Load,
};
