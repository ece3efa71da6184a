//! The laboratory: what lanes and congestion controllers are worth on a given link, in virtual time.
//!
//! A [`Scenario`] is a link, a load and a broker. [`run()`] runs it with one [`Strategy`], with the real producer and the
//! real broker over the [simulated network](anabranch::sim). [`compare`] runs it with each strategy, and compares them with
//! the best fixed number of lanes in hindsight.
//!
//! ```text
//! lanes         Scenario ─▶ run: arrivals ─▶ producer ─▶ link ─▶ broker ─▶ recording_store ─▶ analysis ─▶ Outcome ─┐
//!                  │              strategy ────┘ recording_policy, trace                                           ├─▶ Comparison
//!                  └───────────▶ floor ────────────────────────────────────────────────────────────────────────────┘   with regrets
//! controllers   Case ─▶ flows over quinn alone ─▶ record ─▶ Figure, each with its goal
//! ```
//!
//! ```
//! use anabranch_lab::{Scenario, compare};
//!
//! # fn main() -> Result<(), anabranch_lab::RunError> {
//! let mut scenario = Scenario::default();
//! scenario.set("loss", "0%")?;
//! scenario.set("load", "1mbit")?;
//! scenario.set("duration", "500ms")?;
//! scenario.set("strategies", "adaptive,1")?;
//! let comparison = compare(&scenario)?;
//! let adaptive = comparison.of("adaptive").expect("it is one of the strategies");
//! assert_eq!(adaptive.lanes.opened, 0);
//! # Ok(())
//! # }
//! ```
//!
//! [`controllers`] compares congestion controllers.
//!
//! A run is repeatable by its seed as far as the tested code is: messages and losses are the same, but tokio's `select!`
//! uses a random number generator that cannot be seeded.

mod congestion;
pub mod controllers;
mod identity;
mod lanes;
mod stats;
mod tasks;
mod time;

pub use congestion::Controller;
pub use lanes::{
    Comparison, Decided, Lanes, Load, Outcome, Packets, Pattern, QueueSize, Regret, RunError,
    Sample, Scenario, ScenarioError, Strategy, Stretch, Trace, compare, compare_all, floor, run,
};
pub use stats::Quantiles;
