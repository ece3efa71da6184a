//! Compares the documented default of every option with the real one.

use std::time::Duration;

use crate::conn::{Admission, ClientTls, Config, Congestion, TransportConfig, Trust, Udp};

/// Every documented default is the real one.
#[test]
fn the_documented_defaults_are_the_real_ones() {
    let config = Config::default();
    let admission = Admission::default();
    let (client, server) = (TransportConfig::default(), TransportConfig::server());
    let secs = |s| Duration::from_secs(s);
    let real = |condition: bool, file: &str, field: &str, text: &str| {
        assert!(condition, "{field}: {text}");
        let doc = file
            .split(&format!("    pub {field}: "))
            .next()
            .and_then(|before| before.rsplit("    pub ").next())
            .unwrap();
        let doc = doc.replace("\n    /// ", " ");
        assert!(doc.contains(&format!("Default: {text}")), "{field}: {doc}");
    };
    let here = include_str!("../client/config.rs");
    real(config.servers.is_empty(), here, "servers", "none");
    real(config.server_name.is_none(), here, "server_name", "`None`");
    let trust_system = matches!(
        config.tls,
        ClientTls::Parts {
            trust: Trust::SystemRoots,
            certificate: None
        }
    );
    real(
        trust_system,
        here,
        "tls",
        "the operating system's authorities",
    );
    real(
        config.token.read().unwrap().is_empty(),
        here,
        "token",
        "nothing",
    );
    real(
        config.local_address.is_none(),
        here,
        "local_address",
        "`None`",
    );
    real(
        config.connect_timeout == secs(10),
        here,
        "connect_timeout",
        "10 s",
    );
    real(
        config.handshake_timeout == secs(5),
        here,
        "handshake_timeout",
        "5 s",
    );
    real(
        config.ping_interval == secs(5),
        here,
        "ping_interval",
        "5 s",
    );
    real(config.ping_timeout == secs(5), here, "ping_timeout", "5 s");

    let backoff = include_str!("../client/backoff.rs");
    let waits = config.reconnect_backoff;
    real(
        waits.min == Duration::from_millis(100),
        backoff,
        "min",
        "100 ms",
    );
    real(waits.max == secs(10), backoff, "max", "10 s");
    real(waits.seed.is_none(), backoff, "seed", "`None`");
    real(true, here, "reconnect_backoff", "100 ms to 10 s");

    let quic = include_str!("../quic/transport.rs");
    let streams = (client.max_streams, server.max_streams) == (0, 128);
    real(
        streams,
        quic,
        "max_streams",
        "0 for a client, 128 for a server",
    );
    let window = client.stream_receive_window == 2 << 20;
    real(window, quic, "stream_receive_window", "2 MiB");
    real(
        client.receive_window == 16 << 20,
        quic,
        "receive_window",
        "16 MiB",
    );
    real(client.send_window == 8 << 20, quic, "send_window", "8 MiB");
    real(
        client.idle_timeout == secs(30),
        quic,
        "idle_timeout",
        "30 s",
    );
    real(client.keep_alive.is_none(), quic, "keep_alive", "`None`");
    let ms = Duration::from_millis;
    real(client.initial_rtt == ms(100), quic, "initial_rtt", "100 ms");
    real(
        client.max_ack_delay == Some(ms(5)),
        quic,
        "max_ack_delay",
        "5 ms",
    );
    real(
        client.mtu_upper_bound == 1452,
        quic,
        "mtu_upper_bound",
        "1452",
    );
    real(client.gso, quic, "gso", "`true`");
    real(client.fair_streams, quic, "fair_streams", "`true`");
    let cubic = matches!(client.congestion, Congestion::Cubic);
    real(cubic, quic, "congestion", "[`Congestion::Cubic`]");

    let admission_rs = include_str!("../server/admission.rs");
    real(
        admission.max_incoming == 1024,
        admission_rs,
        "max_incoming",
        "1024",
    );
    real(
        admission.retry_above == 64,
        admission_rs,
        "retry_above",
        "64",
    );
    real(
        admission.max_handshakes == 512,
        admission_rs,
        "max_handshakes",
        "512",
    );
    let most = admission.max_connections == 10_000;
    real(most, admission_rs, "max_connections", "10,000");
    real(
        admission.handshake_timeout == secs(10),
        admission_rs,
        "handshake_timeout",
        "10 s",
    );
    let buffer = Udp::default().buffer_bytes == 4 << 20;
    real(
        buffer,
        include_str!("../quic/network.rs"),
        "buffer_bytes",
        "4 MiB",
    );
}
