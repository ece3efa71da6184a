//! Two quinn endpoints of this process: a server that sends every byte back, and a connection to it.
#![allow(clippy::disallowed_methods, reason = "an example may start tasks")]

use std::sync::Arc;

use quinn::{ClientConfig, Connection, Endpoint, ServerConfig};

/// Starts the server and connects to it, with a certificate of this run.
pub(crate) async fn connect() -> anyhow::Result<Connection> {
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let (certificate, key) = (
        issued.cert.der().clone(),
        issued.signing_key.serialize_der(),
    );
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.clone())?;
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key).into();
    let server = ServerConfig::with_single_cert(vec![certificate], key)?;
    let server = Endpoint::server(server, "127.0.0.1:0".parse()?)?;
    let address = server.local_addr()?;
    tokio::spawn(async move {
        let connection = server.accept().await.expect("an open endpoint").await?;
        while let Ok((mut send, mut recv)) = connection.accept_bi().await {
            tokio::spawn(async move {
                while let Some(chunk) = recv.read_chunk(1024, true).await? {
                    send.write_chunk(chunk.bytes).await?;
                }
                anyhow::Ok(())
            });
        }
        anyhow::Ok(())
    });
    let mut client = Endpoint::client("127.0.0.1:0".parse()?)?;
    client.set_default_client_config(ClientConfig::with_root_certificates(Arc::new(roots))?);
    Ok(client.connect(address, "localhost")?.await?)
}
