//! Sans-I/O: how many lanes a producer has, and why.
//!
//! All streams of a connection share one congestion window, and all lanes share a processor and a broker. So a backlog alone is
//! no reason to open another lane. Another lane helps only when
//!
//! - a lost packet delays messages on its stream that were not lost (head-of-line blocking);
//! - every lane has as many bytes unanswered as it may, and the network could carry more;
//! - the broker works through each stream one batch at a time.
//!
//! ```text
//! queue, lanes ─┐                        ┌─ Open(n)   ┐
//! answers ──────┼─▶ Load ─▶ ScalePolicy ─┼─ Hold      ├─ with a Reason, and when to ask again
//! network ──────┘                        └─ Retire(n) ┘
//! ```
//!
//! A [`ScalePolicy`] receives a [`Load`] and returns a [`Decision`]. [`Adaptive`] is the default and [`Fixed`] the alternative;
//! `examples/custom_policy.rs` is a policy of forty lines. [`meter`] holds the meters that fill a [`Load`].
//!
//! # The law
//!
//! *The queue asks, the network vetoes, a measured gain confirms, the peak of the demand releases.*
//!
//! With `n` lanes open or opening, [`Adaptive`] asks these questions in this order. The first that fails is the reason given.
//!
//! ```text
//! BelowThreshold     queued >= backlog_threshold · n messages, or n windows of bytes, or the broker has a backlog;
//!                    and the queue would last, or its head has waited, longer than max(rtt, 5 ms)
//! CongestionLimited  QUIC has room: for one rtt bytes in flight < 0.9 cwnd or nothing more to send, and no lane blocked
//! LanesNotFull       every lane is full; on a local network also n < ⌈rate · 5 ms / window⌉
//! MaxLanes           n < max_lanes
//! Ceiling, BrokerSlow    no trial without gain is too recent
//! PeerLimit          the peer permits another stream
//! Cooldown           no lane is opening, no trial runs, the last opening is an rtt old
//!  ⇒ Open            min(wanted − n, n), so lanes at most double in a round trip
//!                    wanted = min(n + ⌈queued bytes / window⌉, ⌈n · cwnd / bytes in flight⌉); 2 n for a broker's backlog
//! ```
//!
//! Losses open lanes without a backlog, because there they save time and not rate. A [`Load`] whose path is long, or whose
//! congestion window is in slow start, gets lanes ahead of a backlog. Lanes are retired when the peak of the demand over an
//! idle timeout is below `n`, or when their trial brought no gain. Each of these has a file in `adaptive/` that explains it:
//!
//! | file | question |
//! |---|---|
//! | `backlog.rs` | do messages wait, and is every lane full? |
//! | `broker_backlog.rs` | do messages wait at the broker? |
//! | `congestion.rs` | does QUIC take no more? |
//! | `slow_start.rs` | how many lanes will a doubling window need? |
//! | `path.rs` | how many lanes does a long path fill by itself? |
//! | `local_network.rs` | are processors slower than the network? |
//! | `loss.rs` | how many lanes keep losses from delaying others? |
//! | `trial.rs` | did the last opening raise the rate of answers? |
//! | `demand.rs` | how many lanes are still needed? |

mod adaptive;
mod config;
mod decision;
mod fixed;
mod load;
pub mod meter;
#[cfg(test)]
mod tests;

pub use self::{
    adaptive::Adaptive,
    config::{Config, MAX_LANES},
    decision::{Action, Decision, Reason, ScalePolicy},
    fixed::Fixed,
    load::Load,
};
