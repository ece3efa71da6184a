//! QUIC for both ends.
//!
//! | | |
//! |---|---|
//! | [`TransportConfig`] | windows, limits and timeouts |
//! | [`NetworkProvider`], [`Udp`] | the network that packets go through |
//! | [`Congestion`] | the choice of a congestion controller |
//! | [`PathMonitor`], [`PathStats`] | what the congestion controller sees |
//! | [`CloseCode`], [`CloseReason`] | why a connection was closed |

mod close;
mod congestion;
mod endpoint;
mod network;
mod path_stats;
mod transport;

#[cfg(any(feature = "producer", feature = "broker", test))]
pub(crate) use endpoint::endpoint;
pub use {
    close::{CloseCode, CloseReason, Side},
    congestion::{Congestion, CongestionError},
    endpoint::BindError,
    network::{NetworkProvider, PortClosed, Resolving, Udp},
    path_stats::{PathMonitor, PathStats},
    transport::TransportConfig,
};
