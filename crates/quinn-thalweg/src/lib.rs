//! A congestion controller for quinn that keeps its rate on links with random packet loss.
//!
//! Loss-based controllers (CUBIC, New Reno) take every lost packet for congestion. Where one packet in a thousand is lost
//! at random (Wi-Fi, mobile networks, satellites), they give up most of the link. [`Thalweg`] takes the *queue* for
//! congestion: the time by which round trips are longer than the shortest one. Losses count as congestion only where they
//! exceed what the path loses at every rate. (A thalweg is the line of deepest water along a river.)
//!
//! **Status:** experimental. It was tested in simulation and through a relay on one machine, and never run on a real
//! wide-area network; see [known limits](#known-limits).
//!
//! # Usage
//!
//! ```
//! use std::sync::Arc;
//! use quinn_thalweg::ThalwegConfig;
//!
//! let mut transport = quinn::TransportConfig::default();
//! transport.congestion_controller_factory(Arc::new(ThalwegConfig::default()));
//! # fn f(mut client: quinn::ClientConfig, mut server: quinn::ServerConfig, transport: quinn::TransportConfig) {
//!
//! // The sender's controller decides; a server that sends little data may keep another one.
//! let transport = Arc::new(transport);
//! client.transport_config(transport.clone());
//! server.transport_config(transport);
//! # }
//! ```
//!
//! There is nothing to configure. The crate depends on `quinn-proto` alone and implements its
//! [`Controller`](quinn_proto::congestion::Controller). The example `lossy_link` compares it with CUBIC on a simulated
//! link.
//!
//! # Model
//!
//! All of the controller is sans-I/O: time is an argument, and there is no clock, no task and no random number.
//!
//! ```text
//! quinn ── on_sent ──────────────▶ RateSampler ── RTT, in flight, rate ──▶ DelayEstimator
//!       ── on_ack, on_end_acks ──▶   (records)                              │ minimum RTT, standing queue
//!       ── on_congestion_event ──▶ LossEstimator ── ambient or excess ──┐   │
//!                                                                       ▼   ▼
//! quinn ◀── window() ──────────────────────────────────────────────── StateMachine ◀──▶ CubicModel
//! ```
//!
//! | module | contents |
//! |---|---|
//! | `rate_sample` | delivery rate samples, each with the packets in flight that went with it |
//! | `delay` | the minimum RTT, and the standing queue on top of it |
//! | `loss_rate` | the ambient loss rate, and whether more is lost |
//! | `cubic_model` | CUBIC's law, for as long as a competitor fills the queue |
//! | `state` | the state machine: start-up, cruise, drain, competitive |
//! | `controller` | the adapter to quinn |
//!
//! The **window** in cruise is `BDP + 1.5 √BDP` packets. The BDP is estimated as the packets in flight × minimum RTT /
//! standing RTT. This is the law of FAST TCP: it does not depend on losses, and flows that follow it converge to equal
//! shares. The standing RTT is the minimum over a sixteenth of a round trip (Copa), which filters out bursts.
//!
//! **Pacing** is quinn's: 1.25 × window / smoothed RTT. The window limits the rate, and the target queue covers the
//! pacer's bursts. After a queue has drained, the smoothed RTT is late; meanwhile the window given to quinn is greater by
//! the same factor, so that the rate stays right.
//!
//! # States
//!
//! ```text
//!            a queue forms, or the rate          the queue is longer than ours should be,
//!            stops following the window          or the minimum RTT is out of date
//!  Startup ─────────────────────────▶ Cruise ─────────────────────────────────────▶ Drain
//!     ▲                                ▲  │                                          │  ▲ │
//!     │ persistent congestion          │  └─ the queue fell, not by ─▶ Competitive ◀─┼──┼─┘ the queue is shared
//!     └─ from every state              │     our doing                      └────────┼──┘    every few seconds
//!                                      └─────────── the queue was ours ──────────────┘
//! ```
//!
//! - **Startup** doubles the window each round.
//! - **Cruise** keeps the target queue. It grows while the queue is below its target, faster with each such round.
//!   Where losses exceed the ambient rate without a queue (a policer, a shallow queue), a ceiling holds the window, and is
//!   raised by doubling steps.
//! - **Drain** reduces what is in flight to 0.85 of the BDP for a round or two, and where that is not conclusive to half
//!   of it for another. It tells a queue of our own, a longer path, and a competitor's queue apart, and measures the
//!   minimum RTT again.
//! - **Competitive** follows CUBIC's law while a competitor fills the queue. After an overflow it drains once: flows of this
//!   kind that took each other for a competitor then drain together, see the queue vanish, and return to cruise.
//!
//! # Constants
//!
//! | constant | value | reason or source |
//! |---|---|---|
//! | initial window | 10 packets | RFC 9002, 7.2 |
//! | minimum window | 4 packets | RFC 9002 allows 2; quinn delays the acknowledgement of a single packet |
//! | target queue | 1.5 √BDP, at least 2 packets and 400 µs | two bursts of quinn's pacer; grows less than the BDP, so smaller windows gain |
//! | standing RTT | 1/16 RTT, at least 2.5 ms | Copa; quinn's pacer sends a burst every 2 ms |
//! | growth below the target | 30, 60, 90 % a round | nearly slow start after three rounds, cautious in the first |
//! | end of start-up | less than 25 % growth for 3 rounds | BBR |
//! | age of the minimum RTT | measured again after 5 s or 20 RTT, discarded after 10 s | BBRv3, BBR |
//! | drain targets | 0.85 and 0.425 BDP | a drained queue within two rounds, without a stall (BBR's ProbeRTT sends 4 packets for 200 ms) |
//! | shared queue | the RTT falls by 1/32 in the second step | seen from a share of a twelfth of the link on |
//! | maximum ambient loss | 10 % | a trade-off: above it, a policer and a lossy path cannot be told apart |
//! | excess loss | ambient + 2 % + 3 σ, over blocks of 4 rounds and 100 packets | measured; losses must be spread over the round |
//! | loss ceiling | holds 16 to 128 rounds, raised by 1, 2, 4 … packets | BBRv3 `inflight_hi` |
//! | ECN | window × 0.8, once a round trip | RFC 8511 |
//! | displaced | window below 3/4 of its maximum, with a queue | a quarter is more than the noise of the window, and little to lose |
//! | test after an overflow | after 1 s or 10 RTT | costs a twentieth of the time at most |
//! | competitive | C = 0.4, β = 0.7 | RFC 9438 |
//! | claim | up to 1/3 of the link, 3 times | the fair share beside two flows; CUBIC alone would be too slow for a late flow |
//!
//! Those without a source were chosen by measurement in simulation, and are explained where they are defined.
//!
//! # Properties
//!
//! Each of these is measured, beside CUBIC, New Reno and quinn's BBR, in `docs/benchmarks.md` of the repository.
//!
//! - Random losses of up to a tenth of all packets, independent or in bursts, do not reduce the rate. More loss counts as
//!   congestion, whatever caused it.
//! - On a path without competitors, the queue holds 1.5 √BDP packets, even in a deep buffer.
//! - Flows with this controller converge to equal shares of a bottleneck.
//! - Beside a flow that fills the queue, it fills the queue as well, by CUBIC's law.
//! - When the rate of a link falls to a tenth, the queue is drained within ten round trips; when it rises again, the link
//!   is filled within ten.
//! - Persistent congestion starts it again with four packets.
//! - A path needs at most about 75 kB of memory.
//!
//! # Known limits
//!
//! - It was never run on a real wide-area network. The simulation contains no radio scheduler and no cross traffic other
//!   than QUIC flows.
//! - Beside several CUBIC flows it may claim a third of the link, which is more than its share beside three or more.
//! - Beside CUBIC as Linux runs it, it has between a third and two thirds of a link of 10 ms. With longer round trips and
//!   queues deeper than one BDP it has less, down to a twentieth at 150 ms when it starts second: the grid is in
//!   `docs/benchmarks.md`.
//! - With less than a twelfth of a link, it cannot tell a competitor's queue from the path. It detects such a competitor
//!   only when that one reduces its window.
//! - Flows with this controller that shared a bottleneck with a CUBIC flow may take each other for it after it has gone.
//!   They then keep the queue as full as CUBIC does.
//!
//! # References
//!
//! - C. Jin, D. Wei, S. Low: *FAST TCP*, INFOCOM 2004: the window by the ratio of minimum and present RTT.
//! - V. Arun, H. Balakrishnan: *Copa*, NSDI 2018: the standing RTT, accelerated growth, a mode for competitors that fill
//!   the queue.
//! - N. Cardwell et al.: BBRv3, [draft-ietf-ccwg-bbr]: a model of the path, `inflight_hi`, refreshing the minimum RTT.
//! - Y. Cheng et al.: [draft-cheng-iccrg-delivery-rate-estimation].
//! - [RFC 9002] (QUIC loss detection and congestion control), [RFC 9438] (CUBIC), [RFC 8511] (the response to ECN marks).
//! - R. Ware et al.: *Modeling BBR's interactions with loss-based congestion control*, IMC 2019: why a limit by the
//!   minimum RTT alone is not fair.
//!
//! [draft-ietf-ccwg-bbr]: https://datatracker.ietf.org/doc/draft-ietf-ccwg-bbr/
//! [draft-cheng-iccrg-delivery-rate-estimation]: https://datatracker.ietf.org/doc/html/draft-cheng-iccrg-delivery-rate-estimation
//! [RFC 9002]: https://www.rfc-editor.org/rfc/rfc9002
//! [RFC 9438]: https://www.rfc-editor.org/rfc/rfc9438
//! [RFC 8511]: https://www.rfc-editor.org/rfc/rfc8511

mod controller;
mod cubic_model;
mod delay;
mod loss_rate;
mod rate_sample;
mod state;

pub use controller::{Thalweg, ThalwegConfig};

#[cfg(test)]
mod bottleneck;
