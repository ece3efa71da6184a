//! A congestion controller for links that lose, for any quinn connection.
//!
//! CUBIC takes every lost packet for congestion, and gives up most of its rate where one in a thousand is lost by
//! accident: on Wi-Fi, on mobile networks, by satellite. [`Thalweg`] takes the *queue* for congestion: what packets wait
//! longer than the least round trip. Losses count where they are more than the path loses anyway. (A thalweg is the line
//! of deepest water in a river, which a boat keeps to.)
//!
//! ```
//! use std::sync::Arc;
//! use quinn_thalweg::ThalwegConfig;
//!
//! let mut transport = quinn::TransportConfig::default();
//! transport.congestion_controller_factory(Arc::new(ThalwegConfig::default()));
//! ```
//!
//!
//! # How it works
//!
//! ```text
//! quinn ─ on_sent ─▶ Deliveries ─ round trip, in flight, rate ─▶ Delay: least, standing ─┐
//!       ─ on_ack ──▶   │                                                                 ├─▶ Machine ─▶ window()
//!       ─ on_congestion_event ─▶ Losses: ambient or more ────────────────────────────────┘    │
//!                                                    Neighbour: what CUBIC would do ◀─ beside ┘
//! ```
//!
//! | file | idea |
//! |---|---|
//! | `deliveries` | what was delivered, how fast, with how much in flight |
//! | `delay` | the least round trip, and the queue that stands on top of it |
//! | `losses` | the ambient share, and what is more than that |
//! | `neighbour` | CUBIC's law, for as long as such a flow shares the queue |
//! | `machine` | the states: start-up, cruise, braking, beside |
//! | `thalweg` | the shell that quinn knows |
//!
//! quinn asks a controller for one number, its window, and paces at 1.25 × window / smoothed round trip, in clumps of
//! 2 ms and of ten packets at least. So a window of one pipe and a few packets is a rate with little queue: the pacer is
//! always a little faster than the acknowledgements, the window holds it back, and the few packets are what
//! the clumps need. Start-up doubles the window each round at that pace. The smoothed round trip is late where a queue has
//! just been drained; for that long quinn is shown a greater window, or it would starve the link.
//!
//! All of it is pure: time comes in as an argument, and nothing is asked of a clock or of chance. A connection takes
//! about 75 kB for its notes, at most.
//!
//! # What it promises
//!
//! - Losses of up to a tenth of all packets, whether each by itself or in bursts, do not slow it down. What
//!   is lost beyond that is congestion, whatever caused it.
//! - On a path of its own it keeps a queue of 1.5 √(packets in flight), whatever room the queue has.
//! - Flows of this kind on one bottleneck come to equal shares.
//! - Beside flows that fill the queue, it fills it too, by CUBIC's law.
//! - A least round trip that was not seen for five seconds is measured anew, at 85 % of the rate for a round or two, and
//!   at half of it for another where somebody may share the path.
//! - A link that slows down to a tenth is drained, and one that is fast again filled, within ten round trips.
//! - Congestion marks (ECN) cut it to 0.8, once a round trip; persistent congestion starts it anew with four packets.
//!
//! The figures, beside CUBIC, New Reno and quinn's BBR, and what it does not do well, are in `docs/benchmarks.md` of anabranch.
//!
//! # References
//!
//! - C. Jin, D. Wei, S. Low: *FAST TCP*, INFOCOM 2004: a window by the ratio of least and present round trip.
//! - V. Arun, H. Balakrishnan: *Copa*, NSDI 2018: standing round trips, growth by velocity, a mode beside flows
//!   that fill the queue.
//! - N. Cardwell et al.: *BBRv3*, [draft-ietf-ccwg-bbr]: a model of the path, ceilings that are lifted by doubling steps,
//!   refreshing the least round trip.
//! - Y. Cheng et al.: [draft-cheng-iccrg-delivery-rate-estimation].
//! - [RFC 9002], [RFC 9438] (CUBIC), [RFC 8511] (less is given up for a mark).
//! - R. Ware et al.: *Modeling BBR's interactions with loss-based congestion control*, IMC 2019: why a cap by the least
//!   round trip alone is not fair.
//!
//! [draft-ietf-ccwg-bbr]: https://datatracker.ietf.org/doc/draft-ietf-ccwg-bbr/
//! [draft-cheng-iccrg-delivery-rate-estimation]: https://datatracker.ietf.org/doc/html/draft-cheng-iccrg-delivery-rate-estimation
//! [RFC 9002]: https://www.rfc-editor.org/rfc/rfc9002
//! [RFC 9438]: https://www.rfc-editor.org/rfc/rfc9438
//! [RFC 8511]: https://www.rfc-editor.org/rfc/rfc8511

mod delay;
mod deliveries;
mod losses;
mod machine;
mod neighbour;
mod thalweg;

pub use thalweg::{Thalweg, ThalwegConfig};
