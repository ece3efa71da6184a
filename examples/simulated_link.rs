//! Raw quinn over a simulated path of 50 ms, 100 Mbit/s and 1 % loss, in virtual time.
//!
//! ```sh
//! cargo run --release --example simulated_link --features sim
//! ```
//!
//! prints, apart from the last line, the same each time:
//!
//! ```text
//! ```
#![allow(clippy::disallowed_methods)]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anabranch::sim::{self, LinkConfig, Loss, Network};
use anyhow::{Context, Result};
use quinn::{ClientConfig, Endpoint, EndpointConfig, ServerConfig, rustls::RootCertStore};

const TIME: Duration = Duration::from_secs(20);

fn main() -> Result<()> {
    let started = std::time::Instant::now();
    for loss in [0.0, 0.01] {
        sim::run(7, async |net| upload(&net, loss).await)?;
    }
    let ratio = 2.0 * TIME.as_secs_f64() / started.elapsed().as_secs_f64();
    println!("simulated seconds in a real one: {ratio:.0}");
    Ok(())
}

/// Sends as much as the path carries in [`TIME`].
async fn upload(net: &Network, loss: f64) -> Result<()> {
    let (client, server): (SocketAddr, SocketAddr) =
        ("10.0.0.1:0".parse()?, "10.0.0.2:4433".parse()?);
    let path = LinkConfig::broadband().loss(Loss::Random(loss));
    let (there, back) = net.connect(client.ip(), server.ip(), path)?;
    let (server_config, client_config) = tls()?;

    let listener = endpoint(net, server, Some(server_config))?;
    tokio::spawn(async move {
        let connection = listener.accept().await.context("closed")?.await?;
        let mut stream = connection.accept_uni().await?;
        while stream.read_chunk(usize::MAX, true).await?.is_some() {}
        anyhow::Ok(())
    });

    let dialer = endpoint(net, client, None)?;
    let connection = dialer
        .connect_with(client_config, server, "localhost")?
        .await?;
    let mut stream = connection.open_uni().await?;
    let forever = async { while stream.write_all(&[7; 64 * 1024]).await.is_ok() {} };
    let _ = tokio::time::timeout(TIME, forever).await;

    let (there, back) = (there.counters(), back.counters());
    let mbit = there.delivered.bytes as f64 * 8.0 / 1e6 / net.elapsed().as_secs_f64();
    println!(
        "{:.0} % loss: {mbit:.1} Mbit/s, round trip {:?}",
        loss * 100.0,
        connection.rtt()
    );
    println!(
        "  {} packets, {} lost, {} did not fit into the queue ({} bytes at most), {} back",
        there.sent.packets,
        there.dropped.lost,
        there.dropped.queue_full,
        there.max_queue_bytes,
        back.sent.packets
    );
    Ok(())
}

fn endpoint(net: &Network, address: SocketAddr, server: Option<ServerConfig>) -> Result<Endpoint> {
    let mut config = EndpointConfig::default();
    config.rng_seed(Some([7; 32]));
    Ok(Endpoint::new_with_abstract_socket(
        config,
        server,
        net.socket(address)?,
        net.runtime(),
    )?)
}

/// A certificate for this run, and a client that trusts it and nothing else.
fn tls() -> Result<(ServerConfig, ClientConfig)> {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)?;
    let mut params = rcgen::CertificateParams::new(["localhost".to_owned()])?;
    params.serial_number = Some(7_u64.into());
    let certificate = params.self_signed(&key)?.der().clone();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone())?;
    let server = ServerConfig::with_single_cert(vec![certificate], key.into())?;
    Ok((
        server,
        ClientConfig::with_root_certificates(Arc::new(roots))?,
    ))
}
