//! A peer that does as it is told, and what every test of the pool needs.
#![allow(clippy::disallowed_methods)]

mod cancellation;
mod closing;
mod guard;
mod line;
mod rules;
mod threads;
mod timers;

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

/// How one open or one probe goes.
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
    Proved(u32),
    Discarded(u32, EvictReason),
}

/// The other end, and the record of what happened to it.
#[derive(Debug, Clone, Default)]
struct Peer(Arc<Mutex<Record>>);

#[derive(Debug)]
struct Record {
    open: Step,
    probe: Step,
    /// Streams whose probes go another way than the others'.
    probe_of: BTreeMap<u32, Step>,
    broken: BTreeSet<u32>,
    /// How many streams it permits, and whether it says so (else an open hangs).
    permits: usize,
    refuses: bool,
    next: u32,
    live: BTreeSet<u32>,
    most_live: usize,
    /// Streams that were dropped instead of being discarded.
    lost: usize,
    log: Vec<Event>,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            open: Step::Ok,
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

/// A stream knows its number, and tells when it is dropped without having been discarded.
#[derive(Debug)]
struct Wire {
    n: u32,
    discarded: bool,
    peer: Peer,
}

impl Drop for Wire {
    fn drop(&mut self) {
        if !self.discarded {
            self.peer.look().lost += 1;
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
            Self::Panic => panic!("told to"),
        }
    }
}

impl Peer {
    fn look(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap()
    }

    fn probes_of(&self, n: u32) -> usize {
        let log = &self.look().log;
        log.iter().filter(|e| **e == Event::Proved(n)).count()
    }

    fn fate_of(&self, n: u32) -> Option<EvictReason> {
        self.look().log.iter().find_map(|event| match event {
            Event::Discarded(stream, why) if *stream == n => Some(*why),
            _ => None,
        })
    }

    fn break_stream(&self, n: u32) {
        self.look().broken.insert(n);
    }
}

impl ManageStream for Peer {
    type Stream = Wire;
    type Error = PeerError;

    async fn open(&self) -> Result<Wire, PeerError> {
        let step = self.look().open;
        step.take().await?;
        let full = {
            let record = self.look();
            (record.live.len() >= record.permits).then_some(record.refuses)
        };
        match full {
            Some(true) => return Err(PeerError::Refused),
            Some(false) => std::future::pending().await,
            None => {}
        }
        let mut record = self.look();
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
            let record = self.look();
            *record.probe_of.get(&stream.n).unwrap_or(&record.probe)
        };
        step.take().await?;
        self.look().log.push(Event::Proved(stream.n));
        Ok(())
    }

    fn is_broken(&self, stream: &Wire) -> bool {
        self.look().broken.contains(&stream.n)
    }

    fn discard(&self, mut stream: Wire, why: EvictReason) {
        stream.discarded = true;
        let mut record = self.look();
        assert!(record.live.remove(&stream.n), "discarded twice");
        record.log.push(Event::Discarded(stream.n, why));
    }

    fn at_limit(&self, error: &PeerError) -> bool {
        *error == PeerError::Refused
    }
}

/// The many and the single: promises that hold for both are tested with both. Nothing happens on its own but
/// what a test asks for.
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

/// Lets the tasks run, without letting time pass, until the pool is as it should be.
async fn until(pool: &Pool, what: impl Fn(&Status) -> bool) -> Status {
    for _ in 0..1000 {
        let status = pool.status();
        if what(&status) {
            return status;
        }
        tokio::task::yield_now().await;
    }
    panic!("never came to be: {:?}", pool.status());
}

/// Lets virtual time pass, and whatever falls due in it.
async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

/// One stream, given back and idle again.
async fn one_idle(pool: &Pool) {
    drop(pool.get().await.unwrap());
    until(pool, |s| s.idle == 1 && s.returning == 0).await;
}

/// A `get` in a task of its own, in line when this returns.
async fn queue(pool: &Pool) -> tokio::task::JoinHandle<GetResult> {
    let waiting = pool.status().waiting;
    let getter = pool.clone();
    let task = tokio::spawn(async move { getter.get().await });
    until(pool, |s| s.waiting == waiting + 1).await;
    task
}

type GetResult = Result<PooledStream<Peer>, PoolError<PeerError>>;

/// Polls once; the future keeps its place.
async fn poll_once<F: Future>(future: &mut std::pin::Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Nothing under way, nothing lost, and the peer has as many streams as the books say.
#[track_caller]
fn assert_whole(pool: &Pool, peer: &Peer) {
    let status = pool.status();
    let record = peer.look();
    assert_eq!(
        (
            status.waiting,
            status.opening,
            status.returning,
            status.testing
        ),
        (0, 0, 0, 0),
        "{status:?}"
    );
    assert_eq!(status.streams(), record.live.len(), "{status:?} {record:?}");
    let retired = status.counts.retired_total();
    let here = u64::try_from(status.streams()).unwrap();
    assert_eq!(status.counts.opened, here + retired, "{status:?}");
    assert_eq!(status.counts.opened, u64::from(record.next), "{status:?}");
    assert!(record.most_live <= status.max, "{record:?}");
    assert_eq!(record.lost, 0, "{record:?}");
}
