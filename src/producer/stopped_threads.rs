//! A thread that is stopped in the middle of a call stops no other thread.
#![allow(clippy::disallowed_methods, reason = "a test starts threads")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{sync::mpsc::sync_channel, thread, time::Duration};

use futures_util::poll;
use tokio::runtime::{Builder, Handle};

use super::{
    Ack, Message, Producer, SendError, Strategy,
    accumulator::{Point, stop_this_thread},
};

const OTHERS: usize = 63;
const MESSAGES: usize = 20;
const LONG: Duration = Duration::from_secs(60);

/// A kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Plain,
    Keyed,
    Send,
}

impl Call {
    /// Sends a message, and waits for its outcome. All keys are the same, so all share an order.
    fn make(self, producer: &Producer, runtime: &Handle, text: String) -> Result<Ack, SendError> {
        let message = Message::new(text);
        runtime.block_on(async {
            match self {
                Self::Plain => producer.send_async(message).await?.await,
                Self::Keyed => producer.send_async(message.with_key("k")).await?.await,
                Self::Send => producer.send(message).await,
            }
        })
    }
}

/// Stops a thread in a call at `point`. Everything that 63 others then send is delivered while it is stopped, and a flush
/// waits for it if its message counts as accepted at this point.
fn others_go_on(call: Call, point: Point, is_accepted: bool) {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let (broker, producer) = runtime.block_on(async {
        let broker = crate::testing::broker().await;
        let lanes = Strategy::Fixed(2.try_into().unwrap());
        let producer = broker.producer("t").strategy(lanes).connect().await;
        (broker, producer.unwrap())
    });
    let (tell, stopped) = sync_channel(1);
    let (go_on, told) = sync_channel(1);
    let stopped_thread = {
        let (producer, runtime) = (producer.clone(), runtime.handle().clone());
        thread::spawn(move || {
            // A message before it, so that there may be a chunk to take out.
            Call::Plain
                .make(&producer, &runtime, "before".to_owned())
                .unwrap();
            stop_this_thread(point, tell, told);
            call.make(&producer, &runtime, "stopped".to_owned())
        })
    };
    stopped.recv().unwrap();
    let others: Vec<_> = (0..OTHERS)
        .map(|thread| {
            let (producer, runtime) = (producer.clone(), runtime.handle().clone());
            thread::spawn(move || {
                for n in 0..MESSAGES {
                    let call = [Call::Plain, Call::Keyed, Call::Send][(thread + n) % 3];
                    let text = format!("{thread} {n}");
                    call.make(&producer, &runtime, text).unwrap();
                }
            })
        })
        .collect();
    for other in others {
        other.join().unwrap();
    }
    runtime.block_on(async {
        let mut flush = Box::pin(producer.flush(LONG));
        if is_accepted {
            assert!(poll!(&mut flush).is_pending(), "a flush waits for it");
        } else {
            flush.as_mut().await.unwrap();
        }
        go_on.send(()).unwrap();
        if is_accepted {
            flush.await.unwrap();
        }
    });
    stopped_thread.join().unwrap().unwrap();
    runtime.block_on(async {
        producer.close(LONG).await.unwrap();
        let stored = broker.messages("t").await;
        assert_eq!(stored.len(), OTHERS * MESSAGES + 2);
    });
}

#[test]
fn a_thread_that_is_stopped_with_a_chunk_in_hand_stops_nobody_and_a_flush_waits_for_it() {
    others_go_on(Call::Plain, Point::ChunkOut, true);
}

#[test]
fn a_thread_that_is_stopped_before_its_message_has_its_place_stops_nobody_and_a_flush_waits_for_it()
{
    others_go_on(Call::Keyed, Point::NotQueued, true);
    others_go_on(Call::Send, Point::NotQueued, true);
}

#[test]
fn a_thread_that_is_stopped_before_it_wakes_a_lane_stops_nobody() {
    for call in [Call::Plain, Call::Keyed, Call::Send] {
        others_go_on(call, Point::NobodyWoken, false);
    }
}

#[test]
fn a_message_counts_as_accepted_when_it_is_counted() {
    for call in [Call::Plain, Call::Keyed, Call::Send] {
        others_go_on(call, Point::NotCounted, false);
    }
}
