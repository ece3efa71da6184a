//! What waits: accepted messages, from the call until a lane takes them.

pub(in crate::producer) mod accept;
pub(in crate::producer) mod budget;
pub(in crate::producer) mod chunk;
pub(in crate::producer) mod flush_epochs;
pub(in crate::producer) mod key_shards;
pub(in crate::producer) mod lane_waker;
pub(in crate::producer) mod ordered;
pub(in crate::producer) mod queue;
