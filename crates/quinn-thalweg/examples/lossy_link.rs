//! Compares CUBIC and Thalweg on a simulated link of 100 Mbit/s and 50 ms that loses 1 % of its packets at random.
//!
//! ```text
//! $ cargo run -p quinn-thalweg --example lossy_link
//! CUBIC     2.8 Mbit/s
//! Thalweg  86.5 Mbit/s
//! ```
//!
//! The link runs in virtual time, so the result does not depend on the speed of the machine.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, Result};
use quinn::{
    ClientConfig, Endpoint, EndpointConfig, ServerConfig, TransportConfig, VarInt,
    congestion::{ControllerFactory, CubicConfig},
    rustls::{RootCertStore, pki_types::PrivatePkcs8KeyDer},
};
use quinn_simnet::{self as simnet, LinkConfig, Loss, Network};
use quinn_thalweg::ThalwegConfig;

const BYTES: u32 = 50_000_000;

fn main() -> Result<()> {
    let controllers: [(_, Arc<dyn ControllerFactory + Send + Sync>); 2] = [
        ("CUBIC", Arc::new(CubicConfig::default())),
        ("Thalweg", Arc::new(ThalwegConfig::default())),
    ];
    for (name, controller) in controllers {
        let rate = simnet::run(1, async |net| upload(&net, controller).await)?;
        println!("{name:<7} {rate:>5.1} Mbit/s");
    }
    Ok(())
}

/// Sends [`BYTES`] from a client to a server. Returns the rate in Mbit/s, the handshake included.
async fn upload(
    net: &Network,
    controller: Arc<dyn ControllerFactory + Send + Sync>,
) -> Result<f64> {
    let (client_address, server_address) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    let link = LinkConfig::broadband().loss(Loss::Random(0.01));
    net.connect(client_address.into(), server_address.into(), link)?;

    let mut transport = TransportConfig::default();
    transport.congestion_controller_factory(controller);
    // Neither flow control nor the send buffer may be the limit.
    transport.stream_receive_window(VarInt::from_u32(BYTES));
    transport.send_window(BYTES.into());
    let transport = Arc::new(transport);
    let (mut server_config, mut client_config) = tls()?;
    server_config.transport_config(transport.clone());
    client_config.transport_config(transport);

    let server = endpoint(net, (server_address, 4433).into(), Some(server_config))?;
    let client = endpoint(net, (client_address, 0).into(), None)?;
    let receive = async {
        let connection = server
            .accept()
            .await
            .context("the endpoint is open")?
            .await?;
        let mut stream = connection.accept_uni().await?;
        let received = stream.read_to_end(BYTES as usize).await?.len();
        // The connection must outlive `send`.
        anyhow::Ok((connection, received))
    };
    let send = async {
        let server = (server_address, 4433).into();
        let connection = client
            .connect_with(client_config, server, "server")?
            .await?;
        let mut stream = connection.open_uni().await?;
        stream.write_all(&vec![0; BYTES as usize]).await?;
        stream.finish()?;
        stream.stopped().await?;
        anyhow::Ok(())
    };
    let ((_connection, received), ()) = tokio::try_join!(receive, send)?;
    anyhow::ensure!(received == BYTES as usize);
    Ok(f64::from(BYTES) * 8e-6 / net.elapsed().as_secs_f64())
}

fn endpoint(net: &Network, address: SocketAddr, server: Option<ServerConfig>) -> Result<Endpoint> {
    let mut config = EndpointConfig::default();
    config.rng_seed(Some([0; 32]));
    let socket = net.socket(address)?;
    let runtime = net.runtime();
    Ok(Endpoint::new_with_abstract_socket(
        config, server, socket, runtime,
    )?)
}

/// Returns both ends' configurations, with a new certificate.
fn tls() -> Result<(ServerConfig, ClientConfig)> {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)?;
    let certificate = rcgen::CertificateParams::new(["server".to_owned()])?.self_signed(&key)?;
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone())?;
    Ok((
        ServerConfig::with_single_cert(vec![certificate.der().clone()], key.into())?,
        ClientConfig::with_root_certificates(Arc::new(roots))?,
    ))
}
