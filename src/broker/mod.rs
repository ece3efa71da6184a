//! The far end: an embedded durable broker.

pub mod store;
