//! What goes out and comes back: lanes, their batches, and the requests that have no answer yet.

pub(in crate::producer) mod batcher;
pub(in crate::producer) mod completion;
pub(in crate::producer) mod expired;
pub(in crate::producer) mod expiry;
pub(in crate::producer) mod in_flight;
pub(in crate::producer) mod lane;
pub(in crate::producer) mod lane_stats;
pub(in crate::producer) mod per_message;
pub(in crate::producer) mod recovery;
pub(in crate::producer) mod responses;
pub(in crate::producer) mod source;
pub(in crate::producer) mod streams;
pub(in crate::producer) mod transport;
pub(in crate::producer) mod write_gate;
