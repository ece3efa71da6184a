//! Sends 1 MB between two quinn endpoints over simulated links that lose more and more packets.
//!
//! ```text
//! $ cargo run -p quinn-simnet --example lossy_link
//! loss  0.0 %:  0.93 s,    0 of  790 packets lost
//! loss  0.1 %:  1.47 s,    3 of  721 packets lost
//! loss  1.0 %:  1.74 s,    7 of  726 packets lost
//! loss  3.0 %:  6.39 s,   24 of  741 packets lost
//! ```
//!
//! The links run in virtual time: the result is the same on every machine and in every run.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use quinn::{
    ClientConfig, Endpoint, EndpointConfig, ServerConfig,
    rustls::{RootCertStore, pki_types::PrivatePkcs8KeyDer},
};
use quinn_simnet::{LinkConfig, Loss, Network, Rate};

const BYTES: usize = 1_000_000;
const CLIENT: [u8; 4] = [10, 0, 0, 1];
const SERVER: [u8; 4] = [10, 0, 0, 2];

fn main() -> Result<()> {
    for loss in [0.0, 0.001, 0.01, 0.03] {
        quinn_simnet::run(7, async |net| upload(&net, loss).await)?;
    }
    Ok(())
}

/// Sends [`BYTES`] from the client to the server, and prints how long it took.
async fn upload(net: &Network, loss: f64) -> Result<()> {
    let link = LinkConfig::default()
        .delay(Duration::from_millis(40))
        .rate(Rate::mbit(20))
        .loss(Loss::Random(loss));
    let (there, _back) = net.connect(CLIENT.into(), SERVER.into(), link)?;

    let (server_config, client_config) = tls()?;
    let server = endpoint(net, (SERVER, 4433).into(), Some(server_config))?;
    let client = endpoint(net, (CLIENT, 0).into(), None)?;
    let receive = async {
        let connection = server
            .accept()
            .await
            .context("the endpoint is open")?
            .await?;
        let mut stream = connection.accept_uni().await?;
        let received = stream.read_to_end(BYTES).await?.len();
        // The connection must outlive `send`.
        anyhow::Ok((connection, received))
    };
    let send = async {
        let connecting = client.connect_with(client_config, (SERVER, 4433).into(), "server")?;
        let mut stream = connecting.await?.open_uni().await?;
        stream.write_all(&[42; BYTES]).await?;
        stream.finish()?;
        stream.stopped().await?;
        anyhow::Ok(())
    };
    let ((_connection, received), ()) = tokio::try_join!(receive, send)?;
    anyhow::ensure!(received == BYTES);

    let counters = there.counters();
    println!(
        "loss {:>4.1} %: {:>5.2} s, {:>4} of {:>4} packets lost",
        loss * 100.0,
        net.elapsed().as_secs_f64(),
        counters.dropped.lost,
        counters.sent.packets,
    );
    Ok(())
}

fn endpoint(net: &Network, address: SocketAddr, server: Option<ServerConfig>) -> Result<Endpoint> {
    let mut config = EndpointConfig::default();
    // A seed for quinn's own random numbers, so that runs repeat exactly.
    config.rng_seed(Some([0; 32]));
    let socket = net.socket(address)?;
    let runtime = net.runtime();
    Ok(Endpoint::new_with_abstract_socket(
        config, server, socket, runtime,
    )?)
}

/// Returns both ends' configurations, with a new certificate. Its signatures and its serial number have a fixed length.
fn tls() -> Result<(ServerConfig, ClientConfig)> {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)?;
    let mut params = rcgen::CertificateParams::new(["server".to_owned()])?;
    params.serial_number = Some(7_u64.into());
    let certificate = params.self_signed(&key)?.der().clone();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone())?;
    Ok((
        ServerConfig::with_single_cert(vec![certificate], key.into())?,
        ClientConfig::with_root_certificates(Arc::new(roots))?,
    ))
}
