//! A producer and a broker that does as the test says.
#![allow(clippy::disallowed_methods)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio_util::codec::{FramedRead, FramedWrite};

use super::{Config, Fate, Message, Producer, SendErrorKind, Strategy};
use crate::{
    Offset, RequestId, Timestamp,
    conn::{
        TransportConfig,
        tests::{Answer, At, Memory, TestBroker, certs, client},
    },
    pool::EvictReason,
    wire::{Batch, Packet, PacketCodec, Produce, Stored},
};

const BROKER: &str = "192.0.2.1:4433";

fn broker(memory: &Arc<Memory>) -> TestBroker {
    let network = At(Arc::clone(memory), "192.0.2.1");
    TestBroker::start(BROKER, Answer::Welcome, &network)
}

fn producer(memory: &Arc<Memory>) -> super::Builder {
    let mut config = Config {
        connection: client(BROKER),
        ..Config::default()
    };
    config.connection.network = Arc::new(At(Arc::clone(memory), "192.0.2.100"));
    Producer::builder()
        .config(config)
        .topic("t")
        .strategy(Strategy::Fixed(1.try_into().unwrap()))
}

type Batches = mpsc::Receiver<(usize, Produce, Answers)>;
type Answers = Arc<Mutex<FramedWrite<quinn::SendStream, PacketCodec>>>;

/// The broker's end of a lane.
struct Lane {
    answers: FramedWrite<quinn::SendStream, PacketCodec>,
    packets: FramedRead<quinn::RecvStream, PacketCodec>,
}

impl Lane {
    async fn accept(connection: &quinn::Connection) -> Self {
        let (send, recv) = connection.accept_bi().await.unwrap();
        Self {
            answers: FramedWrite::new(send, PacketCodec::new(1 << 20)),
            packets: FramedRead::new(recv, PacketCodec::new(1 << 20)),
        }
    }

    /// The next batch; probes are answered.
    async fn batch(&mut self) -> Produce {
        loop {
            match self.packets.next().await.unwrap().unwrap() {
                Packet::Probe { nonce } => {
                    let answer = Packet::Probed { nonce };
                    self.answers.send(answer).await.unwrap();
                }
                Packet::Produce(produce) => return produce,
                other => panic!("{other:?} on a lane"),
            }
        }
    }

    async fn store(&mut self, request: RequestId, base: u64) {
        let stored = Packet::Stored(Stored {
            request,
            base: Offset(base),
            time: Timestamp(1),
            processing_us: 1,
        });
        self.answers.send(stored).await.unwrap();
    }

    fn reset(mut self) {
        self.answers.get_mut().reset(0_u8.into()).unwrap();
        self.packets.get_mut().stop(0_u8.into()).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_stream_carried_that_was_reset_is_written_again_on_another() {
    let memory = Memory::new();
    let mut broker = broker(&memory);
    let producer = producer(&memory).connect().await.unwrap();
    let connection = broker.session().await;
    let first = producer.send_async("a").await.unwrap();
    let mut lane = Lane::accept(&connection).await;
    let a = lane.batch().await;
    let second = producer.send_async("b").await.unwrap();
    let b = lane.batch().await;
    lane.store(a.request, 0).await;
    assert_eq!(first.await.unwrap().offset(), Some(Offset(0)));
    lane.reset();

    let mut lane = Lane::accept(&connection).await;
    let again = lane.batch().await;
    assert_eq!((again.request, &again.batch), (b.request, &b.batch));
    assert_eq!(again.answered_below, b.request, "the first has its outcome");
    lane.store(b.request, 1).await;
    assert_eq!(second.await.unwrap().offset(), Some(Offset(1)));
    assert_eq!(producer.stats().retried, 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_written_and_got_no_answer_in_time_is_told_as_unknown_and_never_sent_again() {
    let memory = Memory::new();
    let mut broker = broker(&memory);
    let timeout = Duration::from_secs(3);
    let producer = producer(&memory).delivery_timeout(timeout);
    let producer = producer.connect().await.unwrap();
    let connection = broker.session().await;
    let first = producer.send_async("a").await.unwrap();
    let mut lane = Lane::accept(&connection).await;
    let a = lane.batch().await;
    let began = crate::time::now();
    let error = first.await.unwrap_err();
    assert_eq!(error.kind(), SendErrorKind::Expired);
    assert_eq!(error.fate(), Fate::Unknown);
    assert!(crate::time::now() - began <= timeout);

    let second = producer.send_async("b").await.unwrap();
    lane.reset();
    let mut lane = Lane::accept(&connection).await;
    let b = lane.batch().await;
    assert!(b.request > a.request && b.answered_below > a.request);
    lane.store(b.request, 0).await;
    second.await.unwrap();
}

/// Every batch with its stream's number and half for answers, and how many streams were probed. Streams are read to their end.
fn batches(connection: quinn::Connection) -> (Batches, Arc<Semaphore>) {
    connection.set_max_concurrent_bi_streams(16_u8.into());
    let (tell, told) = mpsc::channel(1000);
    let probed = Arc::new(Semaphore::new(0));
    let probes = Arc::clone(&probed);
    tokio::spawn(async move {
        for stream in 0.. {
            let Lane {
                answers,
                mut packets,
            } = Lane::accept(&connection).await;
            let (tell, answers) = (tell.clone(), Arc::new(Mutex::new(answers)));
            let probes = Arc::clone(&probes);
            tokio::spawn(async move {
                while let Some(Ok(packet)) = packets.next().await {
                    match packet {
                        Packet::Probe { nonce } => {
                            let answer = Packet::Probed { nonce };
                            answers.lock().await.send(answer).await.unwrap();
                            probes.add_permits(1);
                        }
                        Packet::Produce(produce) => {
                            let told = (stream, produce, Arc::clone(&answers));
                            tell.send(told).await.unwrap();
                        }
                        other => panic!("{other:?} on a lane"),
                    }
                }
            });
        }
    });
    (told, probed)
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_is_stopped_within_a_frame_discards_its_stream() {
    let memory = Memory::new();
    // Flow control keeps the end of a batch from being written until the broker reads its begin.
    let transport = TransportConfig {
        stream_receive_window: 8192,
        ..TransportConfig::server()
    };
    let network = At(Arc::clone(&memory), "192.0.2.1");
    let tls = certs().server_tls();
    let mut broker = TestBroker::with(BROKER, Answer::Welcome, &network, &tls, &transport);
    let producer = producer(&memory).connect().await.unwrap();
    let pool = producer.inner.context.transport.pool().clone();
    let _receipt = producer.send_async(vec![0; 60_000]).await.unwrap();
    let mut lane = Lane::accept(&broker.session().await).await;
    let Some(Ok(Packet::Probe { nonce })) = lane.packets.next().await else {
        panic!("a stream begins with a probe");
    };
    lane.answers.send(Packet::Probed { nonce }).await.unwrap();
    let begin = lane.packets.get_mut().read_chunk(1, true).await.unwrap();
    assert!(begin.is_some());

    let closed = producer.close(Duration::ZERO).await;
    assert_eq!(closed.unwrap_err().undelivered.len(), 1);
    assert_eq!(pool.status().counts.evicted(EvictReason::Dirty), 1);
}

#[tokio::test(start_paused = true)]
async fn a_key_stays_on_the_stream_of_what_expired_there_and_may_still_be_stored() {
    const KEYS: u8 = 16;
    let memory = Memory::new();
    let mut broker = broker(&memory);
    let producer = producer(&memory)
        .strategy(Strategy::Fixed(4.try_into().unwrap()))
        .delivery_timeout(Duration::from_secs(3));
    let producer = producer.connect().await.unwrap();
    let (mut batches, probed) = batches(broker.session().await);
    let _four = probed.acquire_many(4).await.unwrap();
    let mut streams: BTreeMap<Vec<u8>, BTreeSet<usize>> = BTreeMap::new();
    for round in 0..5_u8 {
        let mut receipts = Vec::new();
        for n in 0..KEYS {
            // Each time in another order, so that the lanes would come to other keys.
            let key = (n * 5 + round * 3) % KEYS;
            let message = Message::new(vec![round; 4000]).with_key(vec![key]);
            receipts.push(producer.send_async(message).await.unwrap());
        }
        let mut seen = 0;
        while seen < KEYS {
            let (stream, produce, _) = batches.recv().await.unwrap();
            let batch = Batch::decode(produce.batch).unwrap();
            for record in batch.records() {
                let key = record.key.unwrap().to_vec();
                streams.entry(key).or_default().insert(stream);
                seen += 1;
            }
        }
        for receipt in receipts {
            assert_eq!(receipt.await.unwrap_err().fate(), Fate::Unknown);
        }
    }
    assert!(streams.values().all(|s| s.len() == 1), "{streams:?}");
    let all: BTreeSet<_> = streams.values().flatten().collect();
    assert!(all.len() > 1, "the keys are on several streams");
}

#[tokio::test(start_paused = true)]
async fn a_lane_with_more_in_hand_than_the_others_goes_on_with_its_own_keys() {
    let memory = Memory::new();
    let mut broker = broker(&memory);
    let producer = producer(&memory).strategy(Strategy::Fixed(4.try_into().unwrap()));
    let producer = producer.connect().await.unwrap();
    let (mut batches, probed) = batches(broker.session().await);
    let _four = probed.acquire_many(4).await.unwrap();
    // Nothing is answered, and no other lane has anything.
    for _ in 0..20 {
        let message = Message::new(vec![0; 4000]).with_key("k");
        let _receipt = producer.send_async(message).await.unwrap();
        batches.recv().await.unwrap();
    }
}

/// A producer with a stream a message, and its broker.
async fn a_stream_a_message() -> (Producer, TestBroker, Batches) {
    let memory = Memory::new();
    let mut broker = broker(&memory);
    let producer = producer(&memory)
        .strategy(Strategy::PerMessage(8.try_into().unwrap()))
        .delivery_timeout(Duration::from_secs(3));
    let producer = producer.connect().await.unwrap();
    let (batches, _) = batches(broker.session().await);
    (producer, broker, batches)
}

fn keyed(text: &str) -> Message {
    Message::new(text.to_owned()).with_key("k")
}

#[tokio::test(start_paused = true)]
async fn with_a_stream_a_message_a_key_waits_for_the_stream_of_what_expired() {
    let (producer, _broker, mut batches) = a_stream_a_message().await;
    let first = producer.send_async(keyed("a")).await.unwrap();
    let (_, _a, answers) = batches.recv().await.unwrap();
    assert_eq!(first.await.unwrap_err().fate(), Fate::Unknown);
    // One that is late before its turn comes, and one whose turn comes in time.
    let second = producer.send_async(keyed("b")).await.unwrap();
    assert_eq!(second.await.unwrap_err().fate(), Fate::NotStored);
    let third = producer.send_async(keyed("c")).await.unwrap();
    answers.lock().await.get_mut().finish().unwrap();
    let (_, c, answers) = batches.recv().await.unwrap();
    let stored = Packet::Stored(Stored {
        request: c.request,
        base: Offset(1),
        time: Timestamp(1),
        processing_us: 1,
    });
    answers.lock().await.send(stored).await.unwrap();
    assert_eq!(third.await.unwrap().offset(), Some(Offset(1)));
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_the_stream_of_what_expired_is_handed_back_by_a_close() {
    let (producer, _broker, mut batches) = a_stream_a_message().await;
    let first = producer.send_async(keyed("a")).await.unwrap();
    let (_, _a, _answers) = batches.recv().await.unwrap();
    assert_eq!(first.await.unwrap_err().fate(), Fate::Unknown);
    let second = producer.send_async(keyed("b")).await.unwrap();
    let closed = producer.close(Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(closed.undelivered.len(), 1);
    assert_eq!(second.await.unwrap_err().fate(), Fate::NotStored);
}
