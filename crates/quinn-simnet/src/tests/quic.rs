#![allow(clippy::disallowed_methods, reason = "tests may start tasks")]

use std::{sync::Mutex, time::Duration};

use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, ServerConfig,
    rustls::{RootCertStore, pki_types::PrivatePkcs8KeyDer},
};

use super::*;

const MS: Duration = Duration::from_millis(1);

/// Seeds quinn's random numbers. Without a seed, packet numbers and padding differ from run to run.
fn endpoint_config() -> EndpointConfig {
    let mut config = EndpointConfig::default();
    config.rng_seed(Some([7; 32]));
    config
}

/// Returns both ends' configurations. Ed25519 signatures and this serial number always have the same length.
fn tls() -> (ServerConfig, ClientConfig) {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let mut params = rcgen::CertificateParams::new(["sim".to_owned()]).unwrap();
    params.serial_number = Some(7_u64.into());
    let certificate = params.self_signed(&key).unwrap().der().clone();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    (
        ServerConfig::with_single_cert(vec![certificate], key.into()).unwrap(),
        ClientConfig::with_root_certificates(Arc::new(roots)).unwrap(),
    )
}

fn endpoint(net: &Network, socket: Arc<Socket>, server: Option<ServerConfig>) -> Endpoint {
    Endpoint::new_with_abstract_socket(endpoint_config(), server, socket, net.runtime()).unwrap()
}

/// The connections that a server has accepted.
type Accepted = Arc<Mutex<Vec<Connection>>>;

/// Starts a server that reads every stream to its end and answers with the number of bytes.
fn serve(net: &Network, config: ServerConfig) -> Accepted {
    let accepted = Accepted::default();
    let known = accepted.clone();
    let endpoint = endpoint(net, net.socket(at(SERVER, 4433)).unwrap(), Some(config));
    tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            let connection = incoming.await.unwrap();
            known.lock().unwrap().push(connection.clone());
            tokio::spawn(async move {
                while let Ok((mut reply, mut stream)) = connection.accept_bi().await {
                    let mut bytes = 0_u64;
                    while let Some(chunk) = stream.read_chunk(usize::MAX, true).await.unwrap() {
                        bytes += u64::try_from(chunk.bytes.len()).unwrap();
                    }
                    reply.write_all(&bytes.to_be_bytes()).await.unwrap();
                    reply.finish().unwrap();
                }
            });
        }
    });
    accepted
}

async fn connect(
    net: &Network,
    socket: Arc<Socket>,
    config: ClientConfig,
) -> (Endpoint, Connection) {
    let endpoint = endpoint(net, socket, None);
    let connecting = endpoint
        .connect_with(config, at(SERVER, 4433), "sim")
        .unwrap();
    (endpoint, connecting.await.unwrap())
}

/// Sends `bytes` bytes on a new stream, and waits until the server has received them.
async fn upload(connection: &Connection, bytes: usize) {
    let (mut stream, mut reply) = connection.open_bi().await.unwrap();
    stream.write_all(&vec![7; bytes]).await.unwrap();
    stream.finish().unwrap();
    let counted = reply.read_to_end(8).await.unwrap();
    assert_eq!(counted, u64::try_from(bytes).unwrap().to_be_bytes());
}

/// A client that is connected to a server, and both directions between them.
struct Link {
    socket: Arc<Socket>,
    endpoint: Endpoint,
    connection: Connection,
    accepted: Accepted,
    there: Direction,
    back: Direction,
}

async fn linked(net: &Network, config: LinkConfig) -> Link {
    let (there, back) = net.connect(CLIENT, SERVER, config).unwrap();
    let (server_config, client_config) = tls();
    let accepted = serve(net, server_config);
    let socket = net.socket(at(CLIENT, 0)).unwrap();
    let (endpoint, connection) = connect(net, socket.clone(), client_config).await;
    Link {
        socket,
        endpoint,
        connection,
        accepted,
        there,
        back,
    }
}

#[test]
fn the_same_seed_gives_the_same_run_of_a_transfer() {
    let once = |seed| {
        let faults = LinkConfig::broadband()
            .jitter(MS * 3)
            .loss(Loss::Bursty {
                share: 0.02,
                mean_burst: 2.0,
            })
            .reorder(0.01, MS * 5)
            .duplicate(0.01)
            .corrupt(0.01);
        run(seed, async |net| {
            let link = linked(&net, faults).await;
            upload(&link.connection, 1_000_000).await;
            let stats = link.connection.stats();
            (
                net.elapsed(),
                link.there.counters(),
                link.back.counters(),
                (stats.path.rtt, stats.path.cwnd, stats.path.lost_packets),
            )
        })
    };
    let first = once(11);
    for _ in 0..3 {
        assert_eq!(once(11), first);
    }
    assert_ne!(once(12), first);
}

#[test]
fn quinn_measures_the_round_trip_of_a_short_link_exactly() {
    run(5, async |net| {
        let link = linked(
            &net,
            LinkConfig::default().delay(Duration::from_micros(500)),
        )
        .await;
        for _ in 0..50 {
            upload(&link.connection, 100).await;
        }
        let rtt = link.connection.rtt();
        assert!(
            (MS..MS + Duration::from_micros(10)).contains(&rtt),
            "measured {rtt:?} over 1 ms"
        );
    });
}

#[test]
fn a_transfer_fills_the_link_and_no_more() {
    run(5, async |net| {
        let link = linked(&net, LinkConfig::lan()).await;
        let start = net.elapsed();
        upload(&link.connection, 5_000_000).await;
        let took = net.elapsed() - start;
        let wire = link.there.counters().sent.bytes;
        let least = Rate::gbit(1).time_for(5_000_000);
        assert!(
            took > least && took < least * 2,
            "took {took:?}, at least {least:?}, {wire} bytes"
        );
    });
}

#[test]
fn two_clients_share_a_bottleneck() {
    run(5, async |net| {
        let up = net
            .direction(LinkConfig::default().delay(MS * 10).rate(Rate::mbit(20)))
            .unwrap();
        let (server_config, client_config) = tls();
        serve(&net, server_config);
        let mut clients = Vec::new();
        for host in [CLIENT, OTHER] {
            let (_, back) = net
                .connect(host, SERVER, LinkConfig::default().delay(MS * 10))
                .unwrap();
            net.route(host, SERVER, &up);
            let socket = net.socket(at(host, 0)).unwrap();
            clients.push((connect(&net, socket, client_config.clone()).await, back));
        }
        let [((_a, a), _), ((_b, b), _)] = &clients[..] else {
            panic!("two clients");
        };
        let (bytes, rate) = (2_000_000, Rate::mbit(20));

        let start = net.elapsed();
        upload(a, bytes).await;
        let alone = net.elapsed() - start;
        let start = net.elapsed();
        tokio::join!(upload(a, bytes), upload(b, bytes));
        let together = net.elapsed() - start;

        assert!(together > rate.time_for(4_000_000), "{together:?}");
        assert!(
            together > alone * 3 / 2,
            "{alone:?} alone, {together:?} together"
        );
        assert!(up.counters().max_queue_bytes > 200_000);
    });
}

#[test]
fn a_connection_survives_a_nat_that_forgets() {
    run(5, async |net| {
        let link = linked(&net, LinkConfig::broadband()).await;
        upload(&link.connection, 100_000).await;
        let moved = link.socket.rebind(at(CLIENT, 0)).unwrap();
        upload(&link.connection, 100_000).await;
        let accepted = link.accepted.lock().unwrap();
        let seen: Vec<_> = accepted.iter().map(Connection::remote_address).collect();
        assert_eq!(seen, [moved]);
    });
}

#[test]
fn a_connection_survives_a_new_socket_on_another_host() {
    run(5, async |net| {
        let link = linked(&net, LinkConfig::broadband()).await;
        upload(&link.connection, 100_000).await;
        let (there, _) = net.connect(OTHER, SERVER, LinkConfig::lan()).unwrap();
        let socket = net.socket(at(OTHER, 0)).unwrap();
        link.endpoint.rebind_abstract(socket).unwrap();
        let before = link.there.counters().sent.packets;
        upload(&link.connection, 100_000).await;
        assert_eq!(link.there.counters().sent.packets, before);
        assert!(there.counters().delivered.bytes > 100_000);
        assert_eq!(
            link.accepted.lock().unwrap()[0].remote_address().ip(),
            OTHER
        );
    });
}

#[test]
fn a_connection_survives_a_cut_of_some_seconds() {
    run(5, async |net| {
        let link = linked(&net, LinkConfig::broadband()).await;
        for direction in [&link.there, &link.back] {
            direction
                .schedule([
                    (MS * 100, Change::Cut),
                    (Duration::from_secs(5), Change::Restore),
                ])
                .unwrap();
        }
        upload(&link.connection, 2_000_000).await;
        assert!(net.elapsed() > Duration::from_secs(5));
        assert!(link.there.counters().dropped.cut > 0);
    });
}

#[test]
fn marks_slow_a_sender_down_before_the_queue_does() {
    let deepest = |config: LinkConfig| {
        run(5, async |net| {
            let link = linked(&net, config).await;
            upload(&link.connection, 3_000_000).await;
            let counters = link.there.counters();
            (counters.max_queue_bytes, counters.marked)
        })
    };
    let (unmarked, none) = deepest(LinkConfig::broadband());
    let (marked, some) = deepest(LinkConfig::broadband().mark_above(50_000));
    assert!(none == 0 && some > 0);
    assert!(marked < unmarked, "{marked} with marks, {unmarked} without");
}
