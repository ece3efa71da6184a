//! An async message producer over QUIC that opens another stream only when one would help, with an embedded
//! durable broker and consumers.

mod ids;
mod tasks;
mod time;

pub mod pool;
pub mod scaler;
#[cfg(feature = "sim")]
pub mod sim;
pub mod wire;
