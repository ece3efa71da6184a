//! The HTTP server of `--metrics`: a bounded number of connections, each for a bounded time.
//!
//! | path | answer |
//! |---|---|
//! | `/metrics` | the metrics, in the format of Prometheus |
//! | `/health/live` | 200 while the process runs |
//! | `/health/ready` | 200 if the store takes writes; 503 and the reason if not |
//! | others | 404 |

use std::{
    collections::VecDeque,
    convert::Infallible,
    fmt,
    net::SocketAddr,
    path::Path,
    sync::{Arc, OnceLock},
    time::Duration,
};

use anabranch::{
    conn::tls::Fingerprint,
    metrics,
    store::{Store, StoreState},
};
use anyhow::Context;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{AUTHORIZATION, CONTENT_TYPE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::{
    net::{TcpListener, TcpStream},
    task::AbortHandle,
    time::timeout,
};

/// The most connections at a time. The oldest gives way to a new one.
const CONNECTIONS: usize = 64;
/// Time for a request to be read.
const REQUEST_TIME: Duration = Duration::from_secs(5);
/// Time for a request and its answer.
const CONNECTION_TIME: Duration = Duration::from_secs(20);
/// The most bytes of a request that are read.
const REQUEST_BYTES: usize = 16 << 10;
/// How often the recorder tidies up.
const UPKEEP: Duration = Duration::from_secs(5);
/// The wait after a connection could not be accepted, for example for want of files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the server answers with.
pub(crate) struct MetricsServer {
    listener: std::net::TcpListener,
    site: Arc<Site>,
}

impl fmt::Debug for MetricsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsServer").finish_non_exhaustive()
    }
}

struct Site {
    metrics: PrometheusHandle,
    /// The SHA-256 of the token that a client must show.
    token: Option<Fingerprint>,
    /// The store of a broker. `None` for a process without one, which is always ready.
    store: OnceLock<Option<Arc<dyn Store>>>,
}

/// Serves the metrics of a process that is not a broker, for this machine only.
///
/// # Errors
/// If the address cannot be listened at, or other machines can reach it.
pub(crate) fn start(address: SocketAddr) -> anyhow::Result<()> {
    if !address.ip().is_loopback() {
        anyhow::bail!("other machines can reach --metrics {address}: only serve answers them");
    }
    let access = Access {
        token_file: None,
        public: false,
    };
    MetricsServer::bind(address, access)?.start(None)
}

/// The clients that may ask.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Access<'a> {
    /// File with the token that a client must show.
    pub(crate) token_file: Option<&'a Path>,
    /// Whether all clients that reach the address may ask without a token.
    pub(crate) public: bool,
}

impl MetricsServer {
    /// Listens at `address` and records metrics from here on.
    ///
    /// # Errors
    /// If the address cannot be listened at, or other machines can reach it and `access` does not say who may ask.
    pub(crate) fn bind(address: SocketAddr, access: Access<'_>) -> anyhow::Result<Self> {
        let token = access.token_file.map(read_token).transpose()?;
        if !address.ip().is_loopback() && token.is_none() && !access.public {
            anyhow::bail!(
                "other machines can reach --metrics {address}: add --metrics-token-file FILE, or --metrics-public to answer \
                 all of them"
            );
        }
        let failed = || format!("cannot serve metrics at {address}");
        let listener = std::net::TcpListener::bind(address).with_context(failed)?;
        listener.set_nonblocking(true).with_context(failed)?;
        let metrics = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), metrics::BUCKETS)
            .and_then(PrometheusBuilder::install_recorder)
            .with_context(failed)?;
        metrics::describe();
        let site = Site {
            metrics,
            token,
            store: OnceLock::new(),
        };
        Ok(Self {
            listener,
            site: Arc::new(site),
        })
    }

    /// Starts to answer. The store of a broker decides whether it is ready.
    ///
    /// # Errors
    /// If the socket cannot be used.
    pub(crate) fn start(self, store: Option<Arc<dyn Store>>) -> anyhow::Result<()> {
        // Set once: this is the only place.
        let _ = self.site.store.set(store);
        let listener = TcpListener::from_std(self.listener)?;
        let upkeep = self.site.metrics.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(UPKEEP).await;
                upkeep.run_upkeep();
            }
        });
        tokio::spawn(accept(listener, self.site));
        Ok(())
    }
}

async fn accept(listener: TcpListener, site: Arc<Site>) {
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "a connection for metrics was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        open.retain(|connection| !connection.is_finished());
        if open.len() >= CONNECTIONS
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        let serving = tokio::spawn(serve(stream, Arc::clone(&site)));
        open.push_back(serving.abort_handle());
    }
}

async fn serve(stream: TcpStream, site: Arc<Site>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = site.answer(&request);
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIME)
        .max_buf_size(REQUEST_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // Whatever a client does here is its own affair.
    let _ = timeout(CONNECTION_TIME, connection).await;
}

impl Site {
    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let known = ["/metrics", "/health/live", "/health/ready"];
        let path = request.uri().path();
        if !known.contains(&path) {
            return text(StatusCode::NOT_FOUND, "not found\n".to_owned());
        }
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned());
        }
        if !self.may_ask(request) {
            return text(StatusCode::UNAUTHORIZED, "a token is needed\n".to_owned());
        }
        match path {
            "/metrics" => text(StatusCode::OK, self.metrics.render()),
            "/health/live" => text(StatusCode::OK, "live\n".to_owned()),
            _ => match self.store.get().map(|store| match store {
                Some(store) => store.state(),
                None => StoreState::Ready,
            }) {
                Some(StoreState::Ready) => text(StatusCode::OK, "ready\n".to_owned()),
                Some(StoreState::Refusing(why)) => {
                    let why = format!("the store takes no writes: {why}\n");
                    text(StatusCode::SERVICE_UNAVAILABLE, why)
                }
                _ => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n".to_owned()),
            },
        }
    }

    fn may_ask<B>(&self, request: &Request<B>) -> bool {
        let Some(token) = self.token else {
            return true;
        };
        let shown = request.headers().get(AUTHORIZATION);
        let shown = shown.and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        // Digests are compared: how much of a token is right does not show.
        shown.is_some_and(|shown| Fingerprint::of(&shown.into()) == token)
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    let plain = hyper::header::HeaderValue::from_static("text/plain; version=0.0.4");
    answer.headers_mut().insert(CONTENT_TYPE, plain);
    answer
}

fn read_token(path: &Path) -> anyhow::Result<Fingerprint> {
    let text = crate::secret_file::read(path)?;
    let token = text.trim();
    if token.is_empty() {
        anyhow::bail!("the token file {} is empty", path.display());
    }
    Ok(Fingerprint::of(&token.as_bytes().into()))
}

#[cfg(test)]
mod tests {
    use anabranch::store::MemoryStore;

    use super::*;

    fn site(token: Option<&str>) -> Site {
        let store = OnceLock::new();
        let memory: Arc<dyn Store> = Arc::new(MemoryStore::default());
        assert!(store.set(Some(memory)).is_ok());
        Site {
            metrics: PrometheusBuilder::new().build_recorder().handle(),
            token: token.map(|token| Fingerprint::of(&token.as_bytes().into())),
            store,
        }
    }

    fn status(site: &Site, method: Method, path: &str, token: Option<&str>) -> u16 {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token);
        }
        site.answer(&request.body(()).unwrap()).status().as_u16()
    }

    #[tokio::test]
    async fn three_paths_answer_and_the_store_decides_whether_it_is_ready() {
        let site = site(None);
        for path in ["/metrics", "/health/live", "/health/ready"] {
            assert_eq!(status(&site, Method::GET, path, None), 200, "{path}");
            assert_eq!(status(&site, Method::POST, path, None), 405, "{path}");
        }
        for path in ["/", "/metrics/", "/health", "/x"] {
            assert_eq!(status(&site, Method::GET, path, None), 404, "{path}");
        }
        let store = site.store.get().unwrap().as_ref().unwrap();
        store.close().await.unwrap();
        assert_eq!(status(&site, Method::GET, "/health/ready", None), 503);
        assert_eq!(status(&site, Method::GET, "/health/live", None), 200);
    }

    #[test]
    fn with_a_token_nobody_is_answered_without_it() {
        let site = site(Some("sesame"));
        let ask = |token| status(&site, Method::GET, "/metrics", token);
        assert_eq!(ask(None), 401);
        assert_eq!(ask(Some("Bearer sesam")), 401);
        assert_eq!(ask(Some("sesame")), 401);
        assert_eq!(ask(Some("Bearer sesame")), 200);
    }

    #[test]
    fn an_address_that_others_reach_needs_a_token_or_a_word() {
        let access = Access {
            token_file: None,
            public: false,
        };
        let refused = MetricsServer::bind("0.0.0.0:0".parse().unwrap(), access).unwrap_err();
        assert!(
            refused.to_string().contains("--metrics-public"),
            "{refused}"
        );
    }
}
