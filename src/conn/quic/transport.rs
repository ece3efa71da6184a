//! QUIC for both ends: the numbers of the transport, and the endpoints that use them.

use std::{sync::Arc, time::Duration};

use quinn::{AckFrequencyConfig, IdleTimeout, MtuDiscoveryConfig, VarInt};

use super::{
    congestion::{Congestion, WatchedFactory},
    path_stats::PathMonitor,
};
use crate::config::{ConfigError, Problems};

/// The numbers of the transport, for one end.
///
/// [`TransportConfig::default`] is a client's, [`TransportConfig::server`] a server's. There are no unidirectional streams and
/// no datagrams: the protocol uses neither.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TransportConfig {
    /// How many streams the peer may have open at once. Default: 0 for a client, 128 for a server, where it must
    /// leave room for the session and for every lane, subscription and question of a client. Each one costs
    /// the server about 1 kB for the whole life of the connection, used or not.
    pub max_streams: u32,
    /// How many bytes the peer may send on one stream before this end has read them. Default: 2 MiB, which
    /// one stream can use at 160 Mbit/s and 100 ms. At most 8 MiB: quinn ends a connection in whose stream more than 1024
    /// gaps wait for lost packets, which that is too little for with a tenth of the packets lost.
    pub stream_receive_window: u32,
    /// The same for all streams of a connection together, which bounds the memory of a connection. Default: 16 MiB.
    /// At least the window of one stream; a few times that, or streams that nobody reads starve the others.
    pub receive_window: u32,
    /// How many bytes written here may be unacknowledged, over all streams of a connection. Default: 8 MiB. It
    /// bounds memory and hides a backlog: producers keep less than this unanswered by themselves.
    pub send_window: u32,
    /// After how long without a packet a connection is dead. Default: 30 s. The smaller one of both ends counts.
    pub idle_timeout: Duration,
    /// How often quinn itself sends something on an idle connection. Default: `None`, never: clients ping, and
    /// one who waits needs no second timer.
    pub keep_alive: Option<Duration>,
    /// The round trip assumed before the first is measured. Default: 100 ms. A lost first packet is repeated
    /// after three of these, and the RFC's 333 ms make that a second.
    pub initial_rtt: Duration,
    /// The longest that the peer is asked to delay an acknowledgement. Default: 5 ms, in place of 25 ms: with the
    /// last packet of a burst lost, this delay is added to the time until it is repeated. `None` does not ask.
    pub max_ack_delay: Option<Duration>,
    /// The largest UDP payload that is tried on the path, in bytes. Default: 1452, an Ethernet frame. Connections
    /// begin with 1200 and probe upwards.
    pub mtu_upper_bound: u16,
    /// Whether many packets are handed to the operating system in one call (GSO), where it can do that. Default:
    /// `true`. Some network cards and virtual machines lose such packets.
    pub gso: bool,
    /// Whether streams of one priority take turns packet by packet. Default: `true`. Without, a stream that always has
    /// something to send lets no other send anything: no new stream, and nothing that was lost.
    pub fair_streams: bool,
    /// Who decides how much may be in flight. Default: [`Congestion::Cubic`].
    pub congestion: Congestion,
}

impl Default for TransportConfig {
    fn default() -> Self {
        Self {
            max_streams: 0,
            stream_receive_window: 2 << 20,
            receive_window: 16 << 20,
            send_window: 8 << 20,
            idle_timeout: Duration::from_secs(30),
            keep_alive: None,
            initial_rtt: Duration::from_millis(100),
            max_ack_delay: Some(Duration::from_millis(5)),
            mtu_upper_bound: 1452,
            gso: true,
            fair_streams: true,
            congestion: Congestion::default(),
        }
    }
}

/// The most that may be on its way in one stream: 7000 packets of 1200 bytes, a tenth of them lost, leave 700 gaps. From
/// 1024 on, quinn's assembler gives up: "too many gaps in stream buffer", and the connection is gone.
const MOST_OF_A_STREAM: u32 = 8 << 20;

/// The longest duration that QUIC can state, in milliseconds: 2^62 - 1. Far less is already nonsense.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl TransportConfig {
    /// The defaults of a server.
    #[must_use]
    pub fn server() -> Self {
        Self {
            max_streams: 128,
            ..Self::default()
        }
    }

    /// Whether every number can be used.
    ///
    /// # Errors
    ///
    /// Every wrong one.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut problems = Problems::default();
        self.problems(&mut problems);
        problems.into_result()
    }

    pub(crate) fn problems(&self, problems: &mut Problems) {
        problems.expect(
            self.max_streams <= 65_536,
            "transport.max_streams",
            &self.max_streams,
            "must be at most 65536",
        );
        problems.expect(
            self.stream_receive_window >= 65_536,
            "transport.stream_receive_window",
            &self.stream_receive_window,
            "must be at least 65536",
        );
        problems.expect(
            self.stream_receive_window <= MOST_OF_A_STREAM,
            "transport.stream_receive_window",
            &self.stream_receive_window,
            "must be at most 8388608, or losses could end the connection",
        );
        problems.expect(
            self.receive_window >= self.stream_receive_window,
            "transport.receive_window",
            &self.receive_window,
            "must be at least transport.stream_receive_window",
        );
        problems.expect(
            self.send_window >= 65_536,
            "transport.send_window",
            &self.send_window,
            "must be at least 65536",
        );
        problems.expect(
            (Duration::from_millis(100)..=DAY).contains(&self.idle_timeout),
            "transport.idle_timeout",
            &self.idle_timeout,
            "must be between 100 ms and a day",
        );
        problems.expect(
            self.keep_alive
                .is_none_or(|every| !every.is_zero() && every < self.idle_timeout),
            "transport.keep_alive",
            &self.keep_alive,
            "must be more than zero and less than transport.idle_timeout",
        );
        problems.expect(
            (Duration::from_millis(1)..=Duration::from_secs(10)).contains(&self.initial_rtt),
            "transport.initial_rtt",
            &self.initial_rtt,
            "must be between 1 ms and 10 s",
        );
        problems.expect(
            self.max_ack_delay.is_none_or(|delay| {
                (Duration::from_millis(1)..=Duration::from_secs(1)).contains(&delay)
            }),
            "transport.max_ack_delay",
            &self.max_ack_delay,
            "must be between 1 ms and 1 s",
        );
        problems.expect(
            (1200..=65_527).contains(&self.mtu_upper_bound),
            "transport.mtu_upper_bound",
            &self.mtu_upper_bound,
            "must be between 1200 and 65527",
        );
    }

    /// quinn's form of these numbers. With a `sight`, the connection publishes what its congestion controller
    /// sees; a sight belongs to one connection.
    #[must_use]
    pub fn to_quinn(&self, sight: Option<Arc<PathMonitor>>) -> quinn::TransportConfig {
        let mut transport = quinn::TransportConfig::default();
        let mut mtu = MtuDiscoveryConfig::default();
        mtu.upper_bound(self.mtu_upper_bound);
        let ack_frequency = self.max_ack_delay.map(|delay| {
            let mut ask = AckFrequencyConfig::default();
            ask.max_ack_delay(Some(delay));
            ask
        });
        let idle = IdleTimeout::try_from(self.idle_timeout.min(DAY)).expect("a day fits");
        transport
            .max_concurrent_bidi_streams(VarInt::from_u32(self.max_streams))
            .max_concurrent_uni_streams(VarInt::from_u32(0))
            .stream_receive_window(VarInt::from_u32(self.stream_receive_window))
            .receive_window(VarInt::from_u32(self.receive_window))
            .send_window(self.send_window.into())
            .send_fairness(self.fair_streams)
            .max_idle_timeout(Some(idle))
            .keep_alive_interval(self.keep_alive)
            .initial_rtt(self.initial_rtt)
            .ack_frequency_config(ack_frequency)
            .mtu_discovery_config(Some(mtu))
            .enable_segmentation_offload(self.gso)
            .datagram_receive_buffer_size(None)
            .congestion_controller_factory(match sight {
                Some(sight) => Arc::new(WatchedFactory::new(&self.congestion, sight)),
                None => self.congestion.factory(),
            });
        transport
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_reach_quinn() {
        let transport = format!("{:?}", TransportConfig::server().to_quinn(None));
        for number in [
            "max_concurrent_bidi_streams: 128",
            "max_concurrent_uni_streams: 0",
            "max_idle_timeout: Some(30000)",
            "stream_receive_window: 2097152",
            "receive_window: 16777216",
            "send_window: 8388608",
            "send_fairness: true",
            "initial_rtt: 100ms",
            "upper_bound: 1452",
            "max_ack_delay: Some(5ms)",
            "keep_alive_interval: None",
            "datagram_receive_buffer_size: None",
            "enable_segmentation_offload: true",
        ] {
            assert!(transport.contains(number), "{number} in {transport}");
        }
    }

    #[test]
    fn no_stream_may_have_more_on_its_way_than_its_losses_leave_gaps_for() {
        let with = |window| TransportConfig {
            stream_receive_window: window,
            receive_window: 64 << 20,
            ..TransportConfig::default()
        };
        assert!(with(8 << 20).check().is_ok());
        let error = with((8 << 20) + 1).check().unwrap_err();
        assert!(error.to_string().contains("at most 8388608"), "{error}");
    }
}
