//! How many lanes: what the scaling policy sees, and what becomes of its decisions.

mod autoscale;

pub(super) use autoscale::Autoscale;
pub use autoscale::Lanes;
