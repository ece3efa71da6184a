//! How many lanes: what the scaling policy sees, and what becomes of its decisions.

pub(in crate::producer) mod autoscale;

pub use autoscale::Lanes;
