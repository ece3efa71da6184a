//! Runs a producer and a broker on a simulated link, and compares numbers of lanes.

mod analysis;
mod arrivals;
mod compare;
mod floor;
mod outcome;
mod recording_policy;
mod recording_store;
mod regret;
mod run;
mod scenario;
mod strategy;
mod trace;

pub use arrivals::Pattern;
pub use compare::{Comparison, compare, compare_all};
pub use floor::floor;
pub use outcome::{Lanes, Outcome, Packets, Regret, Trace};
pub use recording_policy::Decided;
pub use run::{RunError, run};
pub use scenario::{Load, QueueSize, Scenario, ScenarioError};
pub use strategy::Strategy;
pub use trace::{Sample, Stretch};
