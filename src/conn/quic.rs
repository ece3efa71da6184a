//! QUIC for both ends: the numbers of the transport, and the endpoints that use them.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use quinn::{
    AckFrequencyConfig, Endpoint, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, VarInt,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};

use super::{
    admission::Admission,
    congestion::{Congestion, WatchedFactory},
    network::NetworkProvider,
    reset::StatelessResetKey,
    sight::PathMonitor,
    tls::TlsError,
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
    /// By what a server that was restarted tells its clients so. Default: `None`, a new one with every endpoint:
    /// clients find out by their ping timeout. Without effect for a client.
    pub reset_key: Option<StatelessResetKey>,
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
            reset_key: None,
            congestion: Congestion::default(),
        }
    }
}

/// The most that may be on its way in one stream: 7000 packets of 1200 bytes, a tenth of them lost, leave 700 gaps. From
/// 1024 on, quinn's assembler gives up: "too many gaps in stream buffer", and the connection is gone.
const MOST_OF_A_STREAM: u32 = 8 << 20;

/// quinn's default: the largest payload that fits into an Ethernet frame over IPv4.
const ETHERNET_PAYLOAD: u16 = 1472;

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
            "settings.max_streams",
            &self.max_streams,
            "must be at most 65536",
        );
        problems.expect(
            self.stream_receive_window >= 65_536,
            "settings.stream_receive_window",
            &self.stream_receive_window,
            "must be at least 65536",
        );
        problems.expect(
            self.stream_receive_window <= MOST_OF_A_STREAM,
            "settings.stream_receive_window",
            &self.stream_receive_window,
            "must be at most 8388608, or losses could end the connection",
        );
        problems.expect(
            self.receive_window >= self.stream_receive_window,
            "settings.receive_window",
            &self.receive_window,
            "must be at least settings.stream_receive_window",
        );
        problems.expect(
            self.send_window >= 65_536,
            "settings.send_window",
            &self.send_window,
            "must be at least 65536",
        );
        problems.expect(
            (Duration::from_millis(100)..=DAY).contains(&self.idle_timeout),
            "settings.idle_timeout",
            &self.idle_timeout,
            "must be between 100 ms and a day",
        );
        problems.expect(
            self.keep_alive
                .is_none_or(|every| !every.is_zero() && every < self.idle_timeout),
            "settings.keep_alive",
            &self.keep_alive,
            "must be more than zero and less than settings.idle_timeout",
        );
        problems.expect(
            (Duration::from_millis(1)..=Duration::from_secs(10)).contains(&self.initial_rtt),
            "settings.initial_rtt",
            &self.initial_rtt,
            "must be between 1 ms and 10 s",
        );
        problems.expect(
            self.max_ack_delay.is_none_or(|delay| {
                (Duration::from_millis(1)..=Duration::from_secs(1)).contains(&delay)
            }),
            "settings.max_ack_delay",
            &self.max_ack_delay,
            "must be between 1 ms and 1 s",
        );
        problems.expect(
            (1200..=65_527).contains(&self.mtu_upper_bound),
            "settings.mtu_upper_bound",
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

/// An endpoint could not be opened at an address.
#[derive(Debug, thiserror::Error)]
#[error("cannot open a UDP socket at {address}")]
pub struct BindError {
    /// Which address.
    pub address: SocketAddr,
    /// Why not.
    pub source: io::Error,
}

/// A server's endpoint at `listen`, which is [`Endpoint::accept`]ed from. Port 0 takes any free port, and
/// `[::]` serves IPv4 too where the system allows that.
///
/// The caller decides what becomes of each attempt, by [`Admission::decide`].
///
/// # Errors
///
/// Where the address cannot be used.
pub fn server_endpoint(
    listen: SocketAddr,
    config: quinn::ServerConfig,
    settings: &TransportConfig,
    network: &dyn NetworkProvider,
) -> Result<Endpoint, BindError> {
    endpoint(listen, Some(config), settings, network)
}

/// What a server tells quinn: its TLS, its numbers, and how many attempts may wait.
///
/// To change certificates under way, make another one and hand it to [`Endpoint::set_server_config`].
///
/// # Errors
///
/// Where `tls` cannot do QUIC.
pub fn server_config(
    tls: Arc<rustls::ServerConfig>,
    settings: &TransportConfig,
    admission: &Admission,
) -> Result<quinn::ServerConfig, TlsError> {
    let crypto = QuicServerConfig::try_from(tls).map_err(|_| TlsError::ReadyWithoutInitialSuite)?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(Arc::new(settings.to_quinn(None)))
        .max_incoming(admission.max_incoming)
        .incoming_buffer_size(INCOMING_BYTES)
        .incoming_buffer_size_total(
            INCOMING_BYTES
                .saturating_mul(u64::try_from(admission.max_incoming).unwrap_or(u64::MAX)),
        );
    Ok(config)
}

/// What is kept of an attempt that nobody has accepted yet: a client sends a few packets before it has an answer.
const INCOMING_BYTES: u64 = 16 << 10;

/// A client's endpoint at `local`.
///
/// # Errors
///
/// Where the address cannot be used.
pub fn client_endpoint(
    local: SocketAddr,
    settings: &TransportConfig,
    network: &dyn NetworkProvider,
) -> Result<Endpoint, BindError> {
    endpoint(local, None, settings, network)
}

/// What a client tells quinn, with the numbers still open: see [`client_config_for`].
///
/// # Errors
///
/// Where `tls` cannot do QUIC.
pub fn client_config(tls: Arc<rustls::ClientConfig>) -> Result<quinn::ClientConfig, TlsError> {
    let crypto = QuicClientConfig::try_from(tls).map_err(|_| TlsError::ReadyWithoutInitialSuite)?;
    Ok(quinn::ClientConfig::new(Arc::new(crypto)))
}

/// `base` for one connection, which publishes into `sight`. Connections of one `base` share what they
/// remember of the server: session tickets and address tokens.
#[must_use]
pub fn client_config_for(
    base: &quinn::ClientConfig,
    settings: &TransportConfig,
    sight: Arc<PathMonitor>,
) -> quinn::ClientConfig {
    let mut config = base.clone();
    config.transport_config(Arc::new(settings.to_quinn(Some(sight))));
    config
}

fn endpoint(
    address: SocketAddr,
    server: Option<quinn::ServerConfig>,
    settings: &TransportConfig,
    network: &dyn NetworkProvider,
) -> Result<Endpoint, BindError> {
    let mut config = EndpointConfig::default();
    config
        .max_udp_payload_size(settings.mtu_upper_bound.max(ETHERNET_PAYLOAD))
        .expect("between 1472 and 65535, and larger payloads do not exist")
        .rng_seed(network.seed());
    if let (Some(key), Some(_)) = (&settings.reset_key, &server) {
        key.apply(&mut config);
    }
    network
        .bind(address)
        .and_then(|socket| {
            Endpoint::new_with_abstract_socket(config, server, socket, network.runtime())
        })
        .map_err(|source| BindError { address, source })
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

    #[test]
    fn an_address_in_use_is_named() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let _entered = runtime.enter();
        let settings = TransportConfig::default();
        let network = crate::conn::network::Udp::default();
        let bind = |address| client_endpoint(address, &settings, &network);
        let first = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let taken = first.local_addr().unwrap();
        let error = bind(taken).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(
            error.to_string(),
            format!("cannot open a UDP socket at {taken}")
        );
    }
}
