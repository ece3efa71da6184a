//! A producer and a broker that does as the test says.

use std::{sync::Arc, time::Duration};

use futures_util::{SinkExt, StreamExt};
use tokio_util::codec::{FramedRead, FramedWrite};

use super::{Config, Fate, Producer, SendErrorKind, Strategy};
use crate::{
    Offset, RequestId, Timestamp,
    conn::testing::{Answer, At, Memory, TestBroker, client},
    wire::{Packet, PacketCodec, Produce, Stored},
};

const BROKER: &str = "192.0.2.1:4433";

fn broker(memory: &Arc<Memory>) -> TestBroker {
    let network = At(Arc::clone(memory), "192.0.2.1");
    TestBroker::start(BROKER, Answer::Welcome, &network)
}

fn producer(memory: &Arc<Memory>) -> super::Builder {
    let mut config = Config {
        conn: client(BROKER),
        ..Config::default()
    };
    config.conn.network = Arc::new(At(Arc::clone(memory), "192.0.2.100"));
    Producer::builder()
        .config(config)
        .topic("t")
        .strategy(Strategy::Fixed(1.try_into().unwrap()))
}

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
            held_us: 1,
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
    assert_eq!(first.await.unwrap().offset(), Offset(0));
    lane.reset();

    let mut lane = Lane::accept(&connection).await;
    let again = lane.batch().await;
    assert_eq!((again.request, &again.batch), (b.request, &b.batch));
    assert_eq!(again.answered_below, b.request, "the first has its outcome");
    lane.store(b.request, 1).await;
    assert_eq!(second.await.unwrap().offset(), Offset(1));
    assert_eq!(producer.load().retried, 1);
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
