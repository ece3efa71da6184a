//! The laboratory: what lanes are worth on a given link, found out before anybody deploys on it.
//!
//! A [`Scenario`] is a link, a load and a far end. [`run()`] plays it with one [`Strategy`], in virtual time, with the
//! real producer and the real broker over the [simulated network](anabranch::sim); [`compare`] plays it with all that
//! compete and finds the best number of streams in hindsight, against which the others are measured.
//!
//! ```text
//! Scenario ─▶ run: pattern ─▶ producer ─▶ link ─▶ broker ─▶ tap ─▶ Outcome ─┐
//!    │             strategy ───┘ recorder, sampler                          ├─▶ Comparison
//!    └──────────▶ floor ────────────────────────────────────────────────────┘    with each one's Regret
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
//! let adaptive = comparison.of("adaptive").expect("it competed");
//! assert_eq!(adaptive.lanes.opened, 0);
//! # Ok(())
//! # }
//! ```
//!
//! [`controllers`] compares congestion controllers: flows over quinn alone, one row a promise.
//!
//! A run repeats with its seed as far as the code under test does: messages and losses are the same, while tokio's
//! `select!` draws from dice that cannot be seeded.

mod compare;
pub mod controllers;
mod cpu;
mod floor;
mod flows;
mod measured;
mod outcome;
mod pattern;
mod quantiles;
mod record;
mod regret;
mod run;
mod scenario;
mod store;
mod strategy;
mod tasks;
mod time;
mod trace;

pub use compare::{Comparison, compare, compare_all};
pub use floor::floor;
pub use outcome::{Lanes, Outcome, Packets, Trace};
pub use pattern::Pattern;
pub use quantiles::Quantiles;
pub use record::Decided;
pub use regret::Regret;
pub use run::{RunError, run};
pub use scenario::{Controller, Load, QueueSize, Scenario, ScenarioError};
pub use strategy::Strategy;
pub use trace::{Sample, Stretch};
