//! What both ends need of QUIC.
//!
//! | | |
//! |---|---|
//! | [`TransportConfig`] | windows, stream limits, timeouts |
//! | [`NetworkProvider`], [`Udp`] | where packets go: real UDP, or something in its place |
//! | [`Congestion`] | the choice of a congestion controller |
//! | [`PathMonitor`], [`PathStats`] | what that controller sees |
//! | [`CloseCode`], [`CloseReason`] | why connections end |

mod close;
mod congestion;
mod endpoint;
mod network;
mod path_stats;
mod transport;

pub(crate) use endpoint::endpoint;
pub use {
    close::{CloseCode, CloseReason, Side},
    congestion::Congestion,
    endpoint::BindError,
    network::{NetworkProvider, Resolving, Udp, any_local},
    path_stats::{PathMonitor, PathStats},
    transport::TransportConfig,
};
