//! A scripted peer, and helpers that all tests of the pool use.
#![allow(
    clippy::disallowed_methods,
    reason = "tests spawn callers and sleep in virtual time"
)]

mod cancellation;
mod closing;
mod guard;
mod rules;
mod threads;
mod timers;
mod waiting;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard},
    task::Poll,
    time::Duration,
};

use super::{Config, EvictReason, ManageStream, PoolError, PooledStream, Status, StreamPool};

const MS: Duration = Duration::from_millis(1);
const SEC: Duration = Duration::from_secs(1);

type Pool = StreamPool<Peer>;

/// How one open or one probe ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Ok,
    Error,
    Slow(Duration),
    Never,
    Panic,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Opened(u32),
    /// The stream answered a probe.
    Probed(u32),
    Discarded(u32, EvictReason),
}

/// The peer: its script, and the record of what happened.
#[derive(Debug, Clone, Default)]
struct Peer(Arc<Mutex<Record>>);

#[derive(Debug)]
struct Record {
    open: Step,
    /// How often `open` was called.
    opens: u32,
    probe: Step,
    /// Streams whose probes end otherwise than `probe` says.
    probe_of: BTreeMap<u32, Step>,
    broken: BTreeSet<u32>,
    /// How many streams the peer permits. One more is refused if `refuses` is true; otherwise its open hangs.
    permits: usize,
    refuses: bool,
    next: u32,
    live: BTreeSet<u32>,
    most_live: usize,
    /// Streams that were dropped without a discard.
    lost: usize,
    log: Vec<Event>,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            open: Step::Ok,
            opens: 0,
            probe: Step::Ok,
            probe_of: BTreeMap::new(),
            broken: BTreeSet::new(),
            permits: usize::MAX,
            refuses: false,
            next: 0,
            live: BTreeSet::new(),
            most_live: 0,
            lost: 0,
            log: Vec::new(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PeerError {
    Scripted,
    Refused,
}

impl fmt::Display for PeerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for PeerError {}

/// A stream. Its drop without a discard is recorded.
#[derive(Debug)]
struct Wire {
    n: u32,
    discarded: bool,
    peer: Peer,
}

impl Drop for Wire {
    fn drop(&mut self) {
        if !self.discarded {
            self.peer.record().lost += 1;
        }
    }
}

impl Step {
    async fn take(self) -> Result<(), PeerError> {
        match self {
            Self::Ok => Ok(()),
            Self::Error => Err(PeerError::Scripted),
            Self::Slow(time) => {
                tokio::time::sleep(time).await;
                Ok(())
            }
            Self::Never => std::future::pending().await,
            Self::Panic => panic!("scripted"),
        }
    }
}

impl Peer {
    fn record(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap()
    }

    fn probes_of(&self, n: u32) -> usize {
        let log = &self.record().log;
        log.iter().filter(|e| **e == Event::Probed(n)).count()
    }

    fn fate_of(&self, n: u32) -> Option<EvictReason> {
        self.record().log.iter().find_map(|event| match event {
            Event::Discarded(stream, why) if *stream == n => Some(*why),
            _ => None,
        })
    }

    fn break_stream(&self, n: u32) {
        self.record().broken.insert(n);
    }
}

impl ManageStream for Peer {
    type Stream = Wire;
    type Error = PeerError;

    async fn open(&self) -> Result<Wire, PeerError> {
        let step = {
            let mut record = self.record();
            record.opens += 1;
            record.open
        };
        step.take().await?;
        let full = {
            let record = self.record();
            (record.live.len() >= record.permits).then_some(record.refuses)
        };
        match full {
            Some(true) => return Err(PeerError::Refused),
            Some(false) => std::future::pending().await,
            None => {}
        }
        let mut record = self.record();
        let n = record.next;
        record.next += 1;
        record.live.insert(n);
        record.most_live = record.most_live.max(record.live.len());
        record.log.push(Event::Opened(n));
        Ok(Wire {
            n,
            discarded: false,
            peer: self.clone(),
        })
    }

    async fn probe(&self, stream: &mut Wire) -> Result<(), PeerError> {
        let step = {
            let record = self.record();
            *record.probe_of.get(&stream.n).unwrap_or(&record.probe)
        };
        step.take().await?;
        self.record().log.push(Event::Probed(stream.n));
        Ok(())
    }

    fn is_broken(&self, stream: &Wire) -> bool {
        self.record().broken.contains(&stream.n)
    }

    fn discard(&self, mut stream: Wire, why: EvictReason) {
        stream.discarded = true;
        let mut record = self.record();
        assert!(record.live.remove(&stream.n), "discarded twice");
        record.log.push(Event::Discarded(stream.n, why));
    }

    fn at_limit(&self, error: &PeerError) -> bool {
        *error == PeerError::Refused
    }
}

/// The default and single mode, without background work. Promises that hold for both are tested with both.
fn modes() -> [Config; 2] {
    [Config::default(), Config::single()].map(|config| Config {
        min: 0,
        check_interval: None,
        idle_timeout: None,
        probe_validity: Duration::ZERO,
        ..config
    })
}

fn pool(config: Config) -> (Pool, Peer) {
    let peer = Peer::default();
    let pool = StreamPool::new(peer.clone(), config).unwrap();
    (pool, peer)
}

/// Lets tasks run, without letting time pass, until the status is as `what` demands.
async fn until(pool: &Pool, what: impl Fn(&Status) -> bool) -> Status {
    for _ in 0..1000 {
        let status = pool.status();
        if what(&status) {
            return status;
        }
        tokio::task::yield_now().await;
    }
    panic!("not reached: {:?}", pool.status());
}

/// Lets virtual time pass, and then lets tasks run.
async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

/// Uses one stream, and waits until it is idle again.
async fn one_idle(pool: &Pool) {
    drop(pool.get().await.unwrap());
    until(pool, |s| s.idle == 1 && s.returning == 0).await;
}

/// Spawns a `get`. It is in the queue when this returns.
async fn queue(pool: &Pool) -> tokio::task::JoinHandle<GetResult> {
    let waiting = pool.status().waiting;
    let getter = pool.clone();
    let task = tokio::spawn(async move { getter.get().await });
    until(pool, |s| s.waiting == waiting + 1).await;
    task
}

type GetResult = Result<PooledStream<Peer>, PoolError<PeerError>>;

/// Polls once without dropping the future.
async fn poll_once<F: Future>(future: &mut std::pin::Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Checks that nothing is under way, that no stream was lost, and that pool and peer count the same streams.
#[track_caller]
fn assert_whole(pool: &Pool, peer: &Peer) {
    let status = pool.status();
    let record = peer.record();
    assert_eq!(
        (
            status.waiting,
            status.opening,
            status.returning,
            status.checking
        ),
        (0, 0, 0, 0),
        "{status:?}"
    );
    assert_eq!(status.streams(), record.live.len(), "{status:?} {record:?}");
    let evicted = status.counts.evicted_total();
    let here = u64::try_from(status.streams()).unwrap();
    assert_eq!(status.counts.opened, here + evicted, "{status:?}");
    assert_eq!(status.counts.opened, u64::from(record.next), "{status:?}");
    assert!(record.most_live <= status.max, "{record:?}");
    assert_eq!(record.lost, 0, "{record:?}");
}
