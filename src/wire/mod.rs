//! What goes over the wire: packets, batches, and the codec between them and bytes.
//!
//! Bytes in, packets out, no I/O.

mod packet;
mod record;

pub use packet::{
    Connect, Connected, Delivery, Failure, FailureCode, Identity, Packet, Produce, Refused, Start,
    Stored, Subscribe, TopicInfo,
};
pub use record::{Header, Record};
