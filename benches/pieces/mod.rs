//! The pieces that are timed by `pieces.rs` and counted by `instructions.rs`: each does one thing N times.
#![allow(
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "a bench may panic, has no public names, and uses some of these"
)]

use std::{sync::Arc, time::Duration};

use anabranch::{
    Broker, Offset, Producer, RequestId, Timestamp, TopicName,
    broker::Retention,
    conn::{ClientTls, DevCerts},
    consumer::Record,
    store::{
        Append, Appended, DedupCheck, DedupWindow, Fsync, LogConfig, LogStore, MemoryConfig,
        MemoryStore, ProducerIdentity, RequestContent, Store, StoredRequest, Trim,
    },
    wire::internals::{Batch, BatchBuilder},
};
use bytes::Bytes;
use tokio::runtime::{Builder, Runtime};

/// Messages of one batch of 64 KiB.
pub const BATCH: usize = 600;
/// Batches of one group commit.
pub const GROUP: usize = 16;

pub fn payload() -> Bytes {
    vec![7; 100].into()
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// A batch of messages of 100 bytes.
pub fn batch() -> Bytes {
    let record = Record {
        payload: payload(),
        ..Record::default()
    };
    let mut builder = BatchBuilder::new(BATCH * 128);
    for _ in 0..BATCH {
        builder.push(&record);
    }
    builder.finish()
}

/// A producer that finds no broker, and whose tasks do not run: what is left is the call.
pub struct Enqueue {
    runtime: Runtime,
    producer: Producer,
    payload: Bytes,
}

impl Enqueue {
    pub fn new() -> Self {
        let runtime = runtime();
        let producer = {
            let _entered = runtime.enter();
            Producer::builder()
                .server("127.0.0.1:1")
                .topic("bench")
                .buffer_messages(16_000_000)
                .buffer_bytes(1 << 38)
                .build()
                .unwrap()
        };
        Self {
            runtime,
            producer,
            payload: payload(),
        }
    }

    /// Calls, and drops the receipts.
    pub fn run(&self, messages: usize) {
        let _entered = self.runtime.enter();
        for _ in 0..messages {
            let receipt = self.producer.try_send_async(self.payload.clone());
            drop(receipt.unwrap());
        }
    }
}

/// Checks what a broker checks of a batch.
pub fn check(batch: &[u8]) -> u32 {
    Batch::check(batch).unwrap().count
}

/// Takes every message out of a batch, as a consumer does.
pub fn read(batch: &Bytes) -> usize {
    let batch = Batch::decode(batch.clone()).unwrap();
    batch.records().map(|record| record.payload.len()).sum()
}

/// Looks up, enters and forgets requests, with 64 of them open.
pub fn dedupe(requests: u64) -> usize {
    let mut window = DedupWindow::new(RequestId(1));
    let mut forgotten = 0;
    for n in 1..=requests {
        let appended = Appended {
            base: Offset(n),
            time: Timestamp(n),
            repeat: false,
        };
        let content = RequestContent {
            topic: 0,
            checksum: 7,
        };
        let check = window.check(RequestId(n), Some(content));
        assert!(matches!(check, DedupCheck::New));
        window.insert(RequestId(n), StoredRequest { appended, content });
        forgotten += window.advance(RequestId(n.saturating_sub(64))).len();
    }
    forgotten
}

/// A store that gets groups of batches.
pub struct Appending {
    runtime: Runtime,
    store: Arc<dyn Store>,
    producer: anabranch::ProducerId,
    topic: TopicName,
    batch: Bytes,
    next: u64,
    /// What is kept of what was there before.
    kept: u64,
    _folder: Option<tempfile::TempDir>,
}

impl Appending {
    pub fn memory() -> Self {
        let mut config = MemoryConfig::default();
        config.max_bytes = 1 << 40;
        Self::to(runtime(), Arc::new(MemoryStore::new(config)), None)
    }

    pub fn log(fsync: Fsync) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = runtime();
        let mut config = LogConfig::default();
        config.fsync = fsync;
        let store = LogStore::open(folder.path().join("log"), config);
        let store = runtime.block_on(store).unwrap();
        Self::to(runtime, Arc::new(store), Some(folder))
    }

    fn to(runtime: Runtime, store: Arc<dyn Store>, folder: Option<tempfile::TempDir>) -> Self {
        let identity = ProducerIdentity {
            name: "bench".to_owned(),
            instance: 1,
            id: None,
        };
        let producer = runtime
            .block_on(store.register_producer(&identity))
            .unwrap()
            .id;
        Self {
            runtime,
            store,
            producer,
            topic: TopicName::new("bench").unwrap(),
            batch: batch(),
            next: 1,
            kept: 4 << 20,
            _folder: folder,
        }
    }

    /// Nothing goes.
    pub fn keeping_everything(self) -> Self {
        Self {
            kept: u64::MAX,
            ..self
        }
    }

    /// Appends groups, and keeps little of what was there before.
    pub fn run(&mut self, groups: usize) {
        for _ in 0..groups {
            let group = (0..GROUP).map(|_| {
                let request = RequestId(self.next);
                self.next += 1;
                Append {
                    producer: self.producer,
                    request,
                    answered_below: RequestId(request.0.saturating_sub(64).max(1)),
                    topic: self.topic.clone(),
                    count: u32::try_from(BATCH).unwrap(),
                    batch: self.batch.clone(),
                    time: Timestamp(self.next),
                }
            });
            let group = group.collect();
            let stored = self.runtime.block_on(self.store.append(group));
            assert!(stored.iter().all(Result::is_ok));
        }
        let trim = Trim {
            max_bytes: Some(self.kept),
            ..Trim::default()
        };
        let trimmed = self.store.trim(&self.topic, trim);
        self.runtime.block_on(trimmed).unwrap();
    }
}

/// A broker and a producer on one thread.
pub struct EndToEnd {
    runtime: Runtime,
    producer: Producer,
    payload: Bytes,
    _broker: Broker,
    _folder: tempfile::TempDir,
}

impl EndToEnd {
    pub fn new() -> Self {
        let runtime = runtime();
        let folder = tempfile::tempdir().unwrap();
        let (broker, producer) = runtime.block_on(async {
            let certs = DevCerts::ensure(folder.path(), &[]).unwrap();
            let mut retention = Retention::default();
            retention.max_bytes = Some(16 << 20);
            retention.every = Duration::from_millis(50);
            let mut config = MemoryConfig::default();
            config.max_bytes = 1 << 40;
            let broker = Broker::builder()
                .listen(([127, 0, 0, 1], 0).into())
                .tls(certs.server_tls())
                .store(Arc::new(MemoryStore::new(config)))
                .retention(retention);
            let broker = broker.bind().await.unwrap();
            let producer = Producer::builder()
                .server(broker.local_addr().to_string())
                .tls(ClientTls::trusting(certs.trust()))
                .topic("bench")
                .fixed_lanes(std::num::NonZeroUsize::MIN);
            (broker, producer.connect().await.unwrap())
        });
        Self {
            runtime,
            producer,
            payload: payload(),
            _broker: broker,
            _folder: folder,
        }
    }

    /// Sends messages and awaits every receipt.
    pub fn run(&self, messages: usize) {
        self.runtime.block_on(async {
            let mut receipts = Vec::with_capacity(messages);
            for _ in 0..messages {
                let receipt = self.producer.send_async(self.payload.clone());
                receipts.push(receipt.await.unwrap());
            }
            for receipt in receipts {
                receipt.await.unwrap();
            }
        });
    }
}
