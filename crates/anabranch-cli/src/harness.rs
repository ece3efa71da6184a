//! What `bench`, `demo` and the laboratory's `soak` share: a temporary folder and a broker on loopback.

use std::{future::Future, net::SocketAddr, path::Path};

use anabranch::{
    broker::{self, Broker},
    conn::{self, ClientTls, DevCerts},
};
use anyhow::{Context, bail};
use tokio_util::sync::CancellationToken;

use crate::signals;

/// Runs `work` with an empty temporary folder, and removes the folder afterwards.
///
/// Ctrl-C, SIGTERM and SIGHUP cancel the token that `work` receives. A second Ctrl-C removes the folder and ends the
/// process.
///
/// # Errors
/// Those of `work`, and a folder that cannot be made or removed.
pub async fn with_temporary_folder<T>(
    command: &str,
    work: impl AsyncFnOnce(&Path, CancellationToken) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let folder = tempfile::Builder::new()
        .prefix(&format!("anabranch-{command}-"))
        .tempdir()
        .context("cannot make a temporary folder")?;
    let stop = signals::watch({
        let folder = folder.path().to_owned();
        // The process exits without running destructors.
        move || drop(std::fs::remove_dir_all(folder))
    })?;
    let result = Box::pin(work(folder.path(), CancellationToken::clone(&stop))).await?;
    folder
        .close()
        .context("cannot remove the temporary folder")?;
    Ok(result)
}

/// Runs `work` to its end, or fails when `stop` is cancelled first.
pub(crate) async fn unless_stopped<T>(
    stop: &CancellationToken,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    tokio::select! {
        result = work => result,
        () = stop.cancelled() => bail!("stopped before the end"),
    }
}

/// Returns a builder for a broker on loopback, at any free port, with the development certificate `certs`.
pub fn loopback_broker(certs: &DevCerts) -> broker::Builder {
    Broker::builder()
        .listen(([127, 0, 0, 1], 0).into())
        .tls(certs.server_tls())
}

/// Returns the connection options of a client of the broker at `address` that shows `certs`.
#[must_use]
pub fn loopback_client(address: SocketAddr, certs: &DevCerts) -> conn::Config {
    let mut config = conn::Config::to(address.to_string());
    config.tls = ClientTls::trusting(certs.trust());
    config
}
