//! A broker in one call, for the unit tests of applications.
//!
//! ```
//! # async fn f() -> Result<(), Box<dyn std::error::Error>> {
//! let broker = anabranch::testing::broker().await;
//! let producer = broker.producer("orders").connect().await?;
//!
//! producer.send("one").await?;
//!
//! let stored = broker.messages("orders").await;
//! assert_eq!(stored[0].payload(), "one");
//! # Ok(()) }
//! # tokio::runtime::Runtime::new().unwrap().block_on(f()).unwrap();
//! ```
//!
//! The broker listens at a free port of 127.0.0.1, keeps its topics in memory, and creates a topic when a message for it
//! comes. It has a certificate of its own, which no other client trusts.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use crate::{
    Broker, Consumer, Message, Offset, Producer, TopicName,
    conn::{ClientTls, TestCertificate},
    consumer, producer,
    store::{MemoryStore, Store},
    wire::{Batch, Start},
};

/// Waits for the end of a broker's connections when it is shut down.
const SHUTDOWN: Duration = Duration::from_secs(10);

/// Bytes that are read from the store at once.
const READ: usize = 1 << 20;

/// Starts a broker on a free loopback port. It stops when the [`TestBroker`] is dropped. Must be called in a tokio runtime.
///
/// # Panics
/// If no socket can be bound to 127.0.0.1.
///
/// # Cancel safety
/// Dropped before it is ready, it leaves nothing behind.
pub async fn broker() -> TestBroker {
    let certificate = TestCertificate::new();
    let store = Arc::new(MemoryStore::default());
    let broker = Broker::builder()
        .listen(SocketAddr::from(([127, 0, 0, 1], 0)))
        .tls(certificate.server_tls())
        .store(Arc::clone(&store) as Arc<dyn Store>)
        .bind()
        .await
        .expect("a socket on loopback can be bound");
    TestBroker {
        broker,
        store,
        certificate,
    }
}

/// A broker for tests. Made by [`broker()`].
#[derive(Debug)]
pub struct TestBroker {
    broker: Broker,
    store: Arc<MemoryStore>,
    certificate: TestCertificate,
}

impl TestBroker {
    /// Returns the address at which it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.broker.local_addr()
    }

    /// Returns the TLS of a client that trusts this broker and no other.
    #[must_use]
    pub fn client_tls(&self) -> ClientTls {
        self.certificate.client_tls()
    }

    /// Returns the builder of a producer that sends to this broker.
    pub fn producer(&self, topic: impl Into<String>) -> producer::Builder {
        Producer::builder()
            .server(self.address().to_string())
            .tls(self.client_tls())
            .topic(topic)
    }

    /// Returns the builder of a consumer that reads from the first message of this broker's topic on.
    pub fn consumer(&self, topic: impl Into<String>) -> consumer::Builder {
        Consumer::builder()
            .server(self.address().to_string())
            .tls(self.client_tls())
            .topic(topic)
            .from(Start::Earliest)
    }

    /// Returns all messages that are stored in the topic, in their order; none if there is no such topic.
    ///
    /// # Panics
    /// If `topic` is not the name of a topic.
    pub async fn messages(&self, topic: &str) -> Vec<Message> {
        let topic = TopicName::new(topic).expect("the name of a topic");
        let mut messages = Vec::new();
        let mut next = Offset(0);
        while let Ok(batches) = self.store.read(&topic, next, READ).await {
            let Some(last) = batches.last() else { break };
            next = last.end();
            for stored in batches {
                let batch = Batch::decode(stored.batch).expect("the broker has checked it");
                let records = batch.records();
                messages.extend(records.map(|r| Message::from_record(r, topic.clone())));
            }
        }
        messages
    }

    /// Returns the broker itself.
    #[must_use]
    pub const fn broker(&self) -> &Broker {
        &self.broker
    }

    /// Stops the broker, for a test of what happens without one, and waits until it has stopped. The messages are gone.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, the broker stops all the same.
    pub async fn shutdown(self) {
        // What did not end in time is cut off.
        drop(self.broker.shutdown(SHUTDOWN).await);
    }
}
