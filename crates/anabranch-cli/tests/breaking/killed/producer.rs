//! The process that produces: by `send`, and by `send_async` with and without keys.

use std::{io::Read, num::NonZeroUsize, time::Duration};

use anabranch::{
    Message, Producer,
    producer::{self, Ack, Fate, SendError, Strategy},
};
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};

use super::{
    PATIENCE, TOPIC, connection,
    notes::{self, Notes},
    process::{Part, Role},
};

/// More messages than any process sends.
const IDS_PER_LIFE: u64 = 100_000_000;
const KEYS: u64 = 16;
/// Limit of calls without an outcome.
const PENDING: usize = 2000;

/// Produces until standard input ends, or the process is killed.
pub fn run(role: &Role) {
    let Role {
        folder, port, life, ..
    } = role;
    let mut notes = Notes::new(&notes::file(folder, Part::Producer, *life));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut config = producer::Config::default();
        config.connection = connection(*port, &folder.join("data"));
        let strategy = match life % 3 {
            0 => Strategy::Fixed(NonZeroUsize::new(4).unwrap()),
            _ => Strategy::Adaptive,
        };
        let producer = Producer::builder()
            .config(config)
            .strategy(strategy)
            .name("killed")
            .topic(TOPIC)
            .build()
            .unwrap();
        produce(&producer, *life, &mut notes).await;
        producer.close(PATIENCE).await.unwrap();
    });
    runtime.shutdown_background();
}

type Pending<'a> = BoxFuture<'a, (u64, Result<Ack, SendError>)>;

/// Sends until standard input ends.
async fn produce(producer: &Producer, life: u64, notes: &mut Notes) {
    let mut stdin_end =
        tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0]).unwrap_or(0));
    let mut pending: FuturesUnordered<Pending<'_>> = FuturesUnordered::new();
    let mut pace = tokio::time::interval(Duration::from_millis(5));
    let mut id = life * IDS_PER_LIFE;
    loop {
        tokio::select! {
            _ = &mut stdin_end => break,
            Some((id, outcome)) = pending.next() => note(notes, id, &outcome),
            _ = pace.tick(), if pending.len() < PENDING => {
                for _ in 0..4 {
                    id += 1;
                    pending.push(call(producer, id, notes).await);
                }
            }
        }
    }
    while let Some((id, outcome)) = pending.next().await {
        note(notes, id, &outcome);
    }
}

/// Writes the call down, and then makes it.
async fn call<'a>(producer: &'a Producer, id: u64, notes: &mut Notes) -> Pending<'a> {
    let message = Message::new(id.to_string());
    let order = match id % 4 {
        0 => 0,
        1 => 1,
        _ => 2 + id / 4 % KEYS,
    };
    notes.line(&format!("call {id} {order}"));
    if order == 0 {
        return producer
            .send(message)
            .map(move |outcome| (id, outcome))
            .boxed();
    }
    let message = match order {
        1 => message,
        key => message.with_key(key.to_string()),
    };
    match producer.send_async(message).await {
        Ok(receipt) => receipt.map(move |outcome| (id, outcome)).boxed(),
        Err(error) => std::future::ready((id, Err(error))).boxed(),
    }
}

fn note(notes: &mut Notes, id: u64, outcome: &Result<Ack, SendError>) {
    notes.line(&match outcome {
        Ok(ack) => format!("stored {id} {}", ack.offset().unwrap().0),
        Err(error) => match error.fate() {
            Fate::NotStored => format!("not-stored {id}"),
            // There is no spool.
            Fate::Unknown | Fate::Spooled => format!("unknown {id}"),
        },
    });
}
