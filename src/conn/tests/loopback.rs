//! Tests over loopback, with real sockets and real TLS: what each end reports of each way in which a handshake can fail, a
//! broker that is killed and restarted, and the path statistics compared with quinn's own.
#![allow(clippy::disallowed_methods, reason = "a test may start tasks")]

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use quinn::Connection;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use rustls::pki_types::CertificateDer;
use tokio::sync::mpsc;

use super::test_broker::{Answer, TestBroker, certs, client, soon};
use crate::{
    conn::{
        ActiveCounts, Admission, ClientTls, CloseCode, CloseReason, Config, ConnectError,
        ConnectErrorKind as Kind, ConnectionState, NetworkProvider, Resolving, ServerTls, Side,
        StatelessResetKey, Supervisor, TransportConfig, Trust, Udp, handshake,
        internals::{PathMonitor, client_config, client_config_for, client_endpoint},
        server_config, server_endpoint,
        tls::{CertifiedKey, ClientCertificates, Fingerprint, Pem},
    },
    tasks::Tasks,
};

const LOCALHOST: &str = "127.0.0.1:0";
const YEAR: i32 = 2000;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        Self::called(&format!("authority {}", COUNT.fetch_add(1, Relaxed)))
    }

    fn called(name: &str) -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> Pem {
        Pem::Text(self.0.pem().into_bytes())
    }

    fn trust(&self) -> Trust {
        Trust::CaPem(self.0.pem().into_bytes())
    }

    /// Signs a certificate for `name`, altered by `alter`. Returns it with its fingerprint.
    fn sign(
        &self,
        name: &str,
        alter: impl FnOnce(&mut CertificateParams),
    ) -> (CertifiedKey, Fingerprint) {
        let mut params = CertificateParams::new(vec![name.into()]).unwrap();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        alter(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let pair = CertifiedKey {
            chain: Pem::Text(certificate.pem().into_bytes()),
            key: Pem::Text(key.serialize_pem().into_bytes()),
        };
        (pair, Fingerprint::of(certificate.der()))
    }

    fn server(&self, name: &str) -> ServerTls {
        ServerTls::presenting(self.sign(name, |_| ()).0)
    }
}

fn valid(from: i32, to: i32) -> impl FnOnce(&mut CertificateParams) {
    move |params| {
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(to, 1, 1);
    }
}

fn supervise(config: Config) -> Supervisor {
    Supervisor::start(config, None, &Tasks::new()).unwrap()
}

/// Connects a client to a server, and returns each end's result and the server's address.
async fn handshake_of(
    server: Arc<rustls::ServerConfig>,
    client_tls: ClientTls,
) -> (
    Result<(), Arc<ConnectError>>,
    Result<Connection, CloseReason>,
    SocketAddr,
) {
    let transport = TransportConfig::server();
    let config = server_config(server, &transport, &Admission::default()).unwrap();
    let listen = LOCALHOST.parse().unwrap();
    let endpoint = server_endpoint(listen, config, &transport, &Udp::default(), None).unwrap();
    let address = endpoint.local_addr().unwrap();
    let mut config = client(address.to_string());
    config.tls = client_tls;
    let supervisor = supervise(config);
    let (results, mut server_results) = mpsc::channel(16);
    // In a loop: on a machine that stalls, the packet of a close can arrive too late, and the client reconnects.
    let serving = tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            let outcome = match incoming.await {
                Err(error) => Err(CloseReason::of(&error)),
                Ok(connection) => tokio::select! {
                    error = connection.closed() => Err(CloseReason::of(&error)),
                    // The client accepts the server, so the handshake is complete.
                    Ok(_) = connection.accept_bi() => {
                        connection.close(CloseCode::Unauthorised.into(), b"the test is over");
                        Ok(connection)
                    }
                },
            };
            results.try_send(outcome).unwrap();
        }
    });
    let client_saw = soon(supervisor.connected()).await;
    let server_saw = soon(server_results.recv()).await.unwrap();
    serving.abort();
    let client_saw = match client_saw.unwrap_err() {
        error if error.to_string().ends_with("the test is over") => Ok(()),
        error => Err(error),
    };
    (client_saw, server_saw, address)
}

/// Returns the client's error without the part that names the server.
fn reason_in(error: &ConnectError, address: SocketAddr) -> String {
    let text = error.to_string();
    let rest = text.strip_prefix(&format!("cannot connect to {address}: "));
    rest.unwrap_or_else(|| panic!("{text}")).to_owned()
}

fn tls_alert_by(side: Side, alert: u8) -> impl Fn(&CloseReason) -> bool {
    move |reason| matches!(reason, CloseReason::Tls { by, alert: a, .. } if *by == side && *a == alert)
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_not_trusted() {
    // Alert unknown_ca; decrypt_error if the authority has the name of a trusted one.
    for (trusted, alert) in [("ours", 48), ("theirs", 51)] {
        let server = Authority::called("theirs").server("127.0.0.1");
        let trust = ClientTls::trusting(Authority::called(trusted).trust());
        let (client, server, address) = handshake_of(server.to_rustls().unwrap(), trust).await;
        let error = client.unwrap_err();
        assert_eq!(error.kind(), Kind::Untrusted);
        assert_eq!(
            reason_in(&error, address),
            "its certificate is not signed by an authority that is trusted here; the program was given another CA: \
             give the broker's (`Trust::CaFile`, `Trust::CaPem`)"
        );
        assert!(
            tls_alert_by(Side::Peer, alert)(&server.unwrap_err()),
            "{alert}"
        );
    }
}

#[tokio::test]
async fn a_certificate_that_is_expired_or_not_valid_yet_is_told_with_its_dates() {
    let authority = Authority::new();
    for (from, to, words) in [
        (YEAR, YEAR + 1, "certificate expired: verification time"),
        (
            YEAR + 1000,
            YEAR + 1001,
            "certificate not valid yet: verification time",
        ),
    ] {
        let (pair, _) = authority.sign("127.0.0.1", valid(from, to));
        let server = ServerTls::presenting(pair).to_rustls().unwrap();
        let (client, server, address) =
            handshake_of(server, ClientTls::trusting(authority.trust())).await;
        let error = client.unwrap_err();
        assert_eq!(error.kind(), Kind::Expired);
        let text = reason_in(&error, address);
        let start = format!("its certificate is expired or not valid yet: {words}");
        assert!(text.starts_with(&start), "{text}");
        assert!(
            tls_alert_by(Side::Peer, 45)(&server.unwrap_err()),
            "certificate_expired"
        );
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_is_told_with_its_names() {
    let authority = Authority::new();
    let server = authority.server("broker.example").to_rustls().unwrap();
    let (client, server, address) =
        handshake_of(server, ClientTls::trusting(authority.trust())).await;
    let error = client.unwrap_err();
    assert_eq!(error.kind(), Kind::WrongName);
    // rustls formats the names, in a way that depends on its features.
    let told = reason_in(&error, address);
    assert!(
        told.starts_with("its certificate is for another name: "),
        "{told}"
    );
    assert!(
        told.contains("127.0.0.1") && told.contains("broker.example"),
        "{told}"
    );
    assert!(
        tls_alert_by(Side::Peer, 42)(&server.unwrap_err()),
        "bad_certificate"
    );
}

#[tokio::test]
async fn a_pinned_certificate_is_known_by_its_fingerprint_alone() {
    // Signed by an unknown authority, for another name, and expired.
    let (pair, pinned) = Authority::new().sign("x.example", valid(YEAR, YEAR + 1));
    let server = ServerTls::presenting(pair).to_rustls().unwrap();
    let trust = ClientTls::trusting(Trust::Pinned(pinned));
    let (client, _, _) = handshake_of(Arc::clone(&server), trust).await;
    client.unwrap();

    let (_, other) = Authority::new().sign("127.0.0.1", |_| ());
    let (client, server, address) =
        handshake_of(server, ClientTls::trusting(Trust::Pinned(other))).await;
    let error = client.unwrap_err();
    assert_eq!(error.kind(), Kind::Untrusted);
    let text = reason_in(&error, address);
    assert_eq!(text, "its certificate is not the one that is pinned");
    assert!(
        tls_alert_by(Side::Peer, 49)(&server.unwrap_err()),
        "access_denied"
    );
}

#[tokio::test]
async fn who_accepts_any_certificate_gets_any() {
    let server = Authority::new().server("x.example").to_rustls().unwrap();
    let trust = ClientTls::trusting(Trust::DangerouslyAcceptAny);
    handshake_of(server, trust).await.0.unwrap();
}

#[tokio::test]
async fn another_version_of_the_protocol_is_told() {
    let authority = Authority::new();
    let speaking = |protocols: &[&[u8]]| {
        let mut server = (*authority.server("127.0.0.1").to_rustls().unwrap()).clone();
        server.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
        Arc::new(server)
    };
    let trust = || ClientTls::trusting(authority.trust());

    // The second server does not use ALPN.
    for protocols in [&[&b"anabranch/9"[..]][..], &[]] {
        let (client, server, address) = handshake_of(speaking(protocols), trust()).await;
        let error = client.unwrap_err();
        assert_eq!(error.kind(), Kind::Version);
        assert_eq!(reason_in(&error, address), "it does not speak anabranch/2");
        assert_eq!(
            server.unwrap_err(),
            CloseReason::Version { by: Side::Local }
        );
    }

    // A server that supports this version and a later one.
    let both = speaking(&[b"anabranch/9", b"anabranch/2"]);
    handshake_of(both, trust()).await.0.unwrap();
}

fn asking(authority: &Authority, clients: ClientCertificates) -> Arc<rustls::ServerConfig> {
    let (certificate, _) = authority.sign("127.0.0.1", |_| ());
    let tls = ServerTls::Parts {
        certificate,
        clients,
    };
    tls.to_rustls().unwrap()
}

fn with_certificate(authority: &Authority, certificate: Option<CertifiedKey>) -> ClientTls {
    ClientTls::Parts {
        trust: authority.trust(),
        certificate,
    }
}

#[tokio::test]
async fn a_client_certificate_that_is_missing_is_asked_for() {
    let authority = Authority::new();
    let ca = authority.pem();
    let server = asking(&authority, ClientCertificates::Required { ca });
    let (client, server, address) = handshake_of(server, with_certificate(&authority, None)).await;
    let error = client.unwrap_err();
    assert_eq!(error.kind(), Kind::ClientCertificateRequired);
    assert_eq!(
        reason_in(&error, address),
        "it asks for a client certificate, and none is configured"
    );
    let reason = server.unwrap_err();
    assert!(
        tls_alert_by(Side::Local, 116)(&reason),
        "certificate_required: {reason:?}"
    );
}

#[tokio::test]
async fn a_client_certificate_of_an_unknown_authority_is_refused_even_where_it_is_optional() {
    let authority = Authority::new();
    let stranger = Authority::new().sign("client", |_| ()).0;
    for clients in [
        ClientCertificates::Required {
            ca: authority.pem(),
        },
        ClientCertificates::Optional {
            ca: authority.pem(),
        },
    ] {
        let server = asking(&authority, clients);
        let certificate = Some(stranger.clone());
        let (client, server, address) =
            handshake_of(server, with_certificate(&authority, certificate)).await;
        let error = client.unwrap_err();
        assert_eq!(error.kind(), Kind::ClientCertificateRefused);
        let text = reason_in(&error, address);
        let start = "it does not accept our client certificate (TLS alert 48)";
        assert!(text.starts_with(start), "{text}");
        assert!(
            tls_alert_by(Side::Local, 48)(&server.unwrap_err()),
            "unknown_ca"
        );
    }
}

#[tokio::test]
async fn a_client_certificate_that_is_expired_is_refused() {
    let authority = Authority::new();
    let server = asking(
        &authority,
        ClientCertificates::Required {
            ca: authority.pem(),
        },
    );
    let (expired, _) = authority.sign("client", valid(YEAR, YEAR + 1));
    let (client, server, _) =
        handshake_of(server, with_certificate(&authority, Some(expired))).await;
    assert_eq!(client.unwrap_err().kind(), Kind::ClientCertificateRefused);
    assert!(
        tls_alert_by(Side::Local, 45)(&server.unwrap_err()),
        "certificate_expired"
    );
}

/// Returns the fingerprint of the certificate that the peer presented, if any.
fn peer_fingerprint(connection: &Connection) -> Option<Fingerprint> {
    let identity = connection.peer_identity()?;
    let chain = identity.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    chain.first().map(Fingerprint::of)
}

#[tokio::test]
async fn a_client_certificate_that_is_accepted_is_known_to_the_server() {
    let authority = Authority::new();
    for clients in [
        ClientCertificates::Required {
            ca: authority.pem(),
        },
        ClientCertificates::Optional {
            ca: authority.pem(),
        },
    ] {
        let server = asking(&authority, clients);
        let (certificate, fingerprint) = authority.sign("client", |_| ());
        let (client, server, _) =
            handshake_of(server, with_certificate(&authority, Some(certificate))).await;
        client.unwrap();
        assert_eq!(peer_fingerprint(&server.unwrap()), Some(fingerprint));
    }
    let server = asking(
        &authority,
        ClientCertificates::Optional {
            ca: authority.pem(),
        },
    );
    let (client, server, _) = handshake_of(server, with_certificate(&authority, None)).await;
    client.unwrap();
    assert_eq!(peer_fingerprint(&server.unwrap()), None);
}

#[tokio::test]
async fn a_server_that_refuses_connections_is_busy() {
    let tls = certs().server_tls().to_rustls().unwrap();
    let transport = TransportConfig::server();
    let config = server_config(tls, &transport, &Admission::default()).unwrap();
    let listen = LOCALHOST.parse().unwrap();
    let endpoint = server_endpoint(listen, config, &transport, &Udp::default(), None).unwrap();
    let address = endpoint.local_addr().unwrap();
    let supervisor = supervise(client(address.to_string()));
    let full = Admission {
        max_connections: 0,
        ..Admission::default()
    };
    let incoming = soon(endpoint.accept()).await.unwrap();
    assert!(full.admit(incoming, ActiveCounts::default()).is_none());
    let mut state = supervisor.watch_state();
    let busy = state.wait_for(|state| {
        matches!(state, ConnectionState::Connecting { last_error: Some(error), .. }
            if error.kind() == Kind::Busy)
    });
    drop(soon(busy).await.unwrap());
}

#[tokio::test]
async fn a_client_of_an_address_that_is_not_validated_is_asked_to_try_again_and_gets_in() {
    let tls = certs().server_tls().to_rustls().unwrap();
    let transport = TransportConfig::server();
    let strict = Admission {
        retry_above: 0,
        ..Admission::default()
    };
    let config = server_config(tls, &transport, &strict).unwrap();
    let listen = LOCALHOST.parse().unwrap();
    let endpoint = server_endpoint(listen, config, &transport, &Udp::default(), None).unwrap();
    let address = endpoint.local_addr().unwrap();
    let _supervisor = supervise(client(address.to_string()));
    let first = soon(endpoint.accept()).await.unwrap();
    assert!(!first.remote_address_validated());
    assert!(strict.admit(first, ActiveCounts::default()).is_none());
    let second = soon(endpoint.accept()).await.unwrap();
    assert!(second.remote_address_validated());
    let connecting = strict.admit(second, ActiveCounts::default()).unwrap();
    soon(handshake(connecting, strict.handshake_timeout))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_client_that_begins_a_handshake_and_goes_silent_is_dropped_in_time() {
    let tls = certs().server_tls().to_rustls().unwrap();
    let transport = TransportConfig::server();
    let config = server_config(tls, &transport, &Admission::default()).unwrap();
    let listen = LOCALHOST.parse().unwrap();
    let endpoint = server_endpoint(listen, config, &transport, &Udp::default(), None).unwrap();
    let address = endpoint.local_addr().unwrap();
    // A relay that forwards the client's first packet, and nothing in the other direction.
    let relay = tokio::net::UdpSocket::bind(LOCALHOST).await.unwrap();
    let _supervisor = supervise(client(relay.local_addr().unwrap().to_string()));
    let mut packet = [0; 2000];
    let (length, _) = soon(relay.recv_from(&mut packet)).await.unwrap();
    relay.send_to(&packet[..length], address).await.unwrap();
    let incoming = soon(endpoint.accept()).await.unwrap();
    let limit = Duration::from_millis(50);
    let outcome = soon(handshake(incoming.accept().unwrap(), limit)).await;
    assert_eq!(
        outcome.unwrap_err().to_string(),
        "the handshake took longer than 50ms"
    );
}

/// A broker in a runtime of its own. Dropping it sends nothing to its clients, as if its process were killed.
struct Killable {
    runtime: Option<tokio::runtime::Runtime>,
    address: SocketAddr,
}

impl Killable {
    fn start(listen: &str, reset_key: Option<StatelessResetKey>) -> Option<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let entered = runtime.enter();
        let transport = TransportConfig::server();
        let tls = certs().server_tls().to_rustls().unwrap();
        let config = server_config(tls, &transport, &Admission::default()).unwrap();
        let listen = listen.parse().unwrap();
        let endpoint = server_endpoint(
            listen,
            config,
            &transport,
            &Udp::default(),
            reset_key.as_ref(),
        )
        .ok();
        let address = endpoint.as_ref().map(|e| e.local_addr().unwrap());
        if let Some(endpoint) = endpoint {
            runtime.spawn(TestBroker::serve_all(endpoint, Answer::Welcome));
        }
        drop(entered);
        let Some(address) = address else {
            runtime.shutdown_background();
            return None;
        };
        Some(Self {
            runtime: Some(runtime),
            address,
        })
    }
}

impl Drop for Killable {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

/// Starts a broker at the address of a killed one, whose socket is closed in the background.
async fn restart(address: SocketAddr, reset_key: Option<StatelessResetKey>) -> Killable {
    soon(async {
        loop {
            match Killable::start(&address.to_string(), reset_key.clone()) {
                Some(again) => break again,
                None => tokio::task::yield_now().await,
            }
        }
    })
    .await
}

async fn loss_error(supervisor: &Supervisor) -> Arc<ConnectError> {
    let mut state = supervisor.watch_state();
    let down = state.wait_for(|state| matches!(state, ConnectionState::Reconnecting { .. }));
    match &*soon(down).await.unwrap() {
        ConnectionState::Reconnecting { last_error, .. } => Arc::clone(last_error),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_broker_that_is_killed_and_started_again_is_found_again() {
    let broker = Killable::start(LOCALHOST, None).unwrap();
    let address = broker.address;
    let mut config = client(address.to_string());
    config.ping_interval = Duration::from_millis(100);
    config.ping_timeout = Duration::from_millis(500);
    config.reconnect_backoff.min = Duration::from_millis(10);
    config.reconnect_backoff.max = Duration::from_millis(50);
    let supervisor = supervise(config);
    let first = soon(supervisor.wait_connected()).await.unwrap();
    assert_eq!(first.number(), 1);

    drop(broker);
    assert_eq!(loss_error(&supervisor).await.kind(), Kind::Silent);
    let _again = restart(address, None).await;
    let second = soon(supervisor.wait_connected()).await.unwrap();
    assert_eq!(second.number(), 2);
    assert_eq!(second.remote_address(), address);
}

#[tokio::test]
async fn a_broker_that_kept_its_reset_key_tells_its_clients_of_the_restart_at_once() {
    let key = Some(StatelessResetKey::from_bytes([7; 32]));
    let broker = Killable::start(LOCALHOST, key.clone()).unwrap();
    let address = broker.address;
    let mut config = client(address.to_string());
    // So long that the test would time out if the loss were detected by a timeout.
    config.transport.idle_timeout = Duration::from_secs(1000);
    config.ping_interval = Duration::from_secs(400);
    config.ping_timeout = Duration::from_secs(400);
    let supervisor = supervise(config);
    let session = soon(supervisor.wait_connected()).await.unwrap();
    assert!(soon(session.ping()).await.is_some());

    drop(broker);
    let _again = restart(address, key).await;
    // Any packet provokes the stateless reset.
    assert_eq!(soon(session.ping()).await, None);
    assert_eq!(loss_error(&supervisor).await.kind(), Kind::Restarted);
    assert_eq!(soon(supervisor.wait_connected()).await.unwrap().number(), 2);
}

#[tokio::test]
async fn a_port_at_which_nothing_listens_is_told_at_once_where_the_system_tells() {
    let address = {
        let socket = std::net::UdpSocket::bind(LOCALHOST).unwrap();
        socket.local_addr().unwrap()
    };
    let mut config = client(address.to_string());
    // So long that the test would time out if the port were found closed by a timeout.
    config.handshake_timeout = Duration::from_secs(1000);
    let supervisor = supervise(config.clone());
    let told =
        |kind| move |state: &ConnectionState| state.error().is_some_and(|e| e.kind() == kind);
    let mut state = supervisor.watch_state();
    let said = soon(state.wait_for(told(Kind::PortClosed))).await;
    let said = said.unwrap().error().unwrap().to_string();
    let sentence = "nothing listens at this port: it is not running, or listens at another port";
    assert_eq!(said, format!("cannot connect to {address}: {sentence}"));
    // The broker that starts later is found.
    let _broker = TestBroker::start(&address.to_string(), Answer::Welcome, &Udp::default());
    soon(supervisor.wait_connected()).await.unwrap();

    // Switched off, a closed port is silent.
    let udp = Udp {
        detect_closed_ports: false,
        ..Udp::default()
    };
    config.network = Arc::new(udp);
    config.servers = vec!["127.0.0.1:1".into()];
    let supervisor = supervise(config);
    let mut state = supervisor.watch_state();
    soon(state.wait_for(told(Kind::NoAnswer))).await.unwrap();
}

#[tokio::test]
async fn a_client_moves_to_another_port_and_keeps_its_connection() {
    let mut broker = TestBroker::start(LOCALHOST, Answer::Welcome, &Udp::default());
    let supervisor = supervise(client(broker.address.to_string()));
    let session = soon(supervisor.wait_connected()).await.unwrap();
    let connection = soon(broker.session()).await;
    let before = connection.remote_address();
    supervisor.rebind().unwrap();
    soon(async {
        // On a machine that stalls, the validation of the new path may fail. The next packet starts another one.
        while connection.remote_address() == before {
            assert!(session.ping().await.is_some());
        }
    })
    .await;
    assert_eq!(soon(supervisor.wait_connected()).await.unwrap().number(), 1);
}

/// Resolves `localhost` to both of its addresses, as not every machine does.
#[derive(Debug)]
struct TwoLocalhosts(Udp);

impl NetworkProvider for TwoLocalhosts {
    fn bind(&self, local: SocketAddr) -> std::io::Result<Arc<dyn quinn::AsyncUdpSocket>> {
        self.0.bind(local)
    }

    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> Resolving<'a> {
        assert_eq!(host, "localhost");
        let both = [
            (Ipv6Addr::LOCALHOST, port).into(),
            (Ipv4Addr::LOCALHOST, port).into(),
        ];
        Box::pin(std::future::ready(Ok(both.to_vec())))
    }
}

async fn localhost_is_reached_at(listen: &str) {
    let broker = TestBroker::start(listen, Answer::Welcome, &Udp::default());
    let mut config = client(format!("localhost:{}", broker.address.port()));
    config.network = Arc::new(TwoLocalhosts(Udp::default()));
    let session = soon(supervise(config).wait_connected()).await.unwrap();
    assert_eq!(session.remote_address(), broker.address);
}

#[tokio::test]
#[ignore = "needs IPv6"]
async fn localhost_is_reached_at_its_first_address() {
    localhost_is_reached_at("[::1]:0").await;
}

#[tokio::test]
#[ignore = "needs IPv6"]
async fn localhost_is_reached_at_its_second_address() {
    localhost_is_reached_at("127.0.0.1:0").await;
}

#[tokio::test]
async fn the_path_stats_of_a_connection_agree_with_quinn_s_own_figures() {
    let transport = TransportConfig::server();
    let tls = certs().server_tls().to_rustls().unwrap();
    let config = server_config(tls, &transport, &Admission::default()).unwrap();
    let listen: SocketAddr = LOCALHOST.parse().unwrap();
    let server = server_endpoint(listen, config, &transport, &Udp::default(), None).unwrap();
    let address = server.local_addr().unwrap();
    let reading = tokio::spawn(async move {
        let connection = server.accept().await.unwrap().await.unwrap();
        let (mut send, mut recv) = connection.accept_bi().await.unwrap();
        let read = recv.read_to_end(1 << 22).await.unwrap().len();
        send.write_all(b"thanks").await.unwrap();
        send.finish().unwrap();
        connection.closed().await;
        read
    });

    let trust = ClientTls::trusting(certs().trust()).to_rustls().unwrap();
    let transport = TransportConfig::default();
    let endpoint = client_endpoint(listen, &transport, &Udp::default()).unwrap();
    let monitor = Arc::new(PathMonitor::new(crate::time::now()));
    let base = client_config(trust).unwrap();
    let config = client_config_for(&base, &transport, Arc::clone(&monitor));
    let connecting = endpoint.connect_with(config, address, "localhost").unwrap();
    let connection = soon(connecting).await.unwrap();
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    soon(send.write_all(&[7; 1 << 22])).await.unwrap();
    send.finish().unwrap();
    assert_eq!(soon(recv.read_to_end(10)).await.unwrap(), b"thanks");
    soon(send.stopped()).await.unwrap();

    // This copies the controller, which must not change the statistics.
    let _ = connection.congestion_state();
    let path = monitor.snapshot();
    let stats = connection.stats();
    assert_eq!(path.cwnd, stats.path.cwnd);
    assert_eq!(path.mtu, u64::from(stats.path.current_mtu));
    assert_eq!(path.congestion_events, stats.path.congestion_events);
    assert!(
        path.lost_bytes <= stats.path.lost_bytes,
        "{path:?} {stats:?}"
    );
    assert!(path.acked_bytes >= 1 << 22, "{path:?}");
    assert!(path.sent_bytes >= 1 << 22, "{path:?}");
    assert!(path.sent_bytes <= stats.udp_tx.bytes, "{path:?} {stats:?}");
    assert!(
        path.in_flight < 10_000,
        "only packets with acknowledgements: {path:?}"
    );
    assert!(path.min_rtt.unwrap() < Duration::from_secs(1), "{path:?}");
    assert_eq!(path.paths, 1);
    connection.close(CloseCode::Done.into(), b"");
    assert_eq!(soon(reading).await.unwrap(), 1 << 22);
}
