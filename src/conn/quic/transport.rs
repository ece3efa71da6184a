//! Sans-I/O: QUIC's windows, limits and timeouts, for both ends.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use quinn::{AckFrequencyConfig, IdleTimeout, MtuDiscoveryConfig, VarInt};

use super::{
    congestion::{Congestion, MonitoredFactory},
    path_stats::PathMonitor,
};
use crate::config::{ConfigError, Problems, rules};

/// QUIC's windows, limits and timeouts of one end.
///
/// [`TransportConfig::default`] returns a client's, [`TransportConfig::server`] a server's. Unidirectional streams and
/// datagrams are disabled, because the protocol does not use them.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TransportConfig {
    /// Number of streams that the peer may have open at once. Default: 0 for a client, 128 for a server. A server's must be
    /// enough for the control stream and for every lane, subscription and query of a client. Each stream that is allowed
    /// costs the server about 1 kB for the life of the connection, even if it is not used.
    pub max_streams: u32,
    /// Bytes that the peer may send on one stream before this end has read them. Default: 2 MiB, enough for one stream at
    /// 160 Mbit/s with a round trip of 100 ms. At most 8 MiB: quinn closes a connection if the received data of a stream has
    /// more than 1024 gaps, and with this limit a loss of a tenth of the packets does not cause that many.
    pub stream_receive_window: u32,
    /// Bytes that the peer may send on all streams of a connection before this end has read them. Default: 16 MiB. It bounds
    /// the memory of a connection. It must be at least `stream_receive_window`, and should be several times that, or a few
    /// streams that are not read block all others.
    pub receive_window: u32,
    /// Bytes written at this end that may be unacknowledged, over all streams of a connection. Default: 8 MiB. It bounds
    /// memory. A producer reduces it to what the path needs, so that its backlog stays in its own queue.
    pub send_window: u32,
    /// Time without a packet after which a connection is lost. Default: 30 s. The shorter one of both ends applies.
    pub idle_timeout: Duration,
    /// Interval of QUIC's own keep-alive packets on an idle connection. Default: `None`, none. Clients send pings of this
    /// protocol and set it themselves as a fallback.
    pub keep_alive: Option<Duration>,
    /// Round-trip time assumed before the first measurement. Default: 100 ms. A lost first packet is retransmitted after three
    /// times this value, which is a second with the 333 ms of RFC 9002.
    pub initial_rtt: Duration,
    /// Longest delay of an acknowledgement that the peer is asked for. Default: 5 ms, instead of QUIC's 25 ms. If the last
    /// packet of a burst is lost, this delay is added to the time until its retransmission. `None` leaves the delay to the
    /// peer.
    pub max_ack_delay: Option<Duration>,
    /// Largest UDP payload that path MTU discovery tries, in bytes. Default: 1452, which fits an Ethernet frame. Connections
    /// start with 1200.
    pub mtu_upper_bound: u16,
    /// Whether several packets are passed to the operating system in one call (GSO), if it supports that. Default: `true`. Some
    /// network cards and virtual machines drop such packets.
    pub gso: bool,
    /// Whether streams of equal priority are scheduled round-robin, packet by packet. Default: `true`. Otherwise a stream
    /// that always has data to send blocks all other streams, including retransmissions.
    pub fair_streams: bool,
    /// The congestion controller. Default: [`Congestion::Cubic`].
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

/// Upper limit of `stream_receive_window`: 7000 packets of 1200 bytes with a tenth of them lost have 700 gaps. At 1024,
/// quinn closes the connection with "too many gaps in stream buffer".
const MAX_STREAM_RECEIVE_WINDOW: u32 = 8 << 20;

/// Upper limit of `idle_timeout`. QUIC's own limit, 2^62 - 1 ms, is far longer.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl TransportConfig {
    /// Returns the defaults of a server.
    #[must_use]
    pub fn server() -> Self {
        Self {
            max_streams: 128,
            ..Self::default()
        }
    }

    /// Checks every field.
    ///
    /// # Errors
    ///
    /// Reports every invalid field.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut problems = Problems::default();
        self.problems(&mut problems);
        problems.into_result()
    }

    pub(crate) fn problems(&self, problems: &mut Problems) {
        let no_delay_or = |range: RangeInclusive<Duration>, delay: Option<Duration>| {
            delay.is_none_or(|delay| range.contains(&delay))
        };
        let (ms, s) = (Duration::from_millis, Duration::from_secs);
        let keep_alive_holds = self
            .keep_alive
            .is_none_or(|every| !every.is_zero() && every < self.idle_timeout);
        problems.nested("transport", |problems| {
            rules!(problems, self;
                max_streams in ..=65_536 => "must be at most 65536";
                stream_receive_window in 65_536.. => "must be at least 65536";
                stream_receive_window in ..=MAX_STREAM_RECEIVE_WINDOW =>
                    "must be at most 8388608, or losses could end the connection";
                receive_window in self.stream_receive_window.. =>
                    "must be at least transport.stream_receive_window";
                send_window in 65_536.. => "must be at least 65536";
                idle_timeout in ms(100)..=DAY => "must be between 100 ms and a day";
                keep_alive where keep_alive_holds => "must be more than zero and less than transport.idle_timeout";
                initial_rtt in ms(1)..=s(10) => "must be between 1 ms and 10 s";
                max_ack_delay where no_delay_or(ms(1)..=s(1), self.max_ack_delay) => "must be between 1 ms and 1 s";
                mtu_upper_bound in 1200..=65_527 => "must be between 1200 and 65527";
            );
        });
    }

    /// Converts to quinn's configuration. With a `monitor`, the connection publishes the statistics of its congestion
    /// controller to it. A monitor belongs to one connection.
    pub(crate) fn to_quinn(&self, monitor: Option<Arc<PathMonitor>>) -> quinn::TransportConfig {
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
            .congestion_controller_factory(match monitor {
                Some(monitor) => Arc::new(MonitoredFactory::new(&self.congestion, monitor)),
                None => self.congestion.factory(),
            });
        transport
    }
}

#[cfg(feature = "serde")]
crate::de::table_of_options! {
    TransportConfig = TransportConfig::default();
    max_streams, stream_receive_window, receive_window, send_window, idle_timeout, keep_alive, initial_rtt, max_ack_delay, mtu_upper_bound, gso, fair_streams, congestion
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
