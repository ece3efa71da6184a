//! The readers of one name: one consumer after another.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use anabranch::{
    Consumer, conn,
    consumer::{ConsumeError, Received, Start},
};
use anyhow::Context;
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
};

use super::{ledger::Ledger, load, lock, stage::TOPIC};

/// Messages between acknowledgements.
const ACK_EVERY: u64 = 100;
/// How long a consumer may take to end.
const END: Duration = Duration::from_secs(5);
/// Before another attempt to subscribe.
const PAUSE: Duration = Duration::from_millis(200);

pub(super) struct Reader {
    change: Arc<Notify>,
    end: watch::Sender<Option<u64>>,
    task: JoinHandle<Result<(), ConsumeError>>,
}

impl Reader {
    pub(super) fn start(connection: conn::Config, ledger: Arc<Mutex<Ledger>>) -> Self {
        let (end, ends) = watch::channel(None);
        let change = Arc::new(Notify::new());
        let task = tokio::spawn(read(connection, ledger, Arc::clone(&change), ends));
        Self { change, end, task }
    }

    /// Another consumer takes the place of the present one.
    pub(super) fn change(&self) {
        self.change.notify_one();
    }

    /// Whether it has ended before it should.
    pub(super) fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// Reads on until everything before `end` was read.
    pub(super) async fn end(self, end: u64, deadline: Duration) -> anyhow::Result<()> {
        self.end.send_replace(Some(end));
        let read = tokio::time::timeout(deadline, self.task).await;
        read.context("the topic cannot be read to its end")???;
        Ok(())
    }
}

async fn read(
    connection: conn::Config,
    ledger: Arc<Mutex<Ledger>>,
    change: Arc<Notify>,
    mut end: watch::Receiver<Option<u64>>,
) -> Result<(), ConsumeError> {
    loop {
        let subscribed = Consumer::builder()
            .connection(connection.clone())
            .topic(TOPIC)
            .name("soak")
            .from(Start::Earliest)
            .subscribe()
            .await;
        let mut consumer = match subscribed {
            Ok(consumer) => consumer,
            Err(error) if error.is_retryable() => {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        let done = loop {
            let all = *end.borrow_and_update();
            if all.is_some_and(|all| lock(&ledger).read_to() >= all) {
                break true;
            }
            tokio::select! { biased;
                received = consumer.recv() => match received {
                    Ok(received) => take(&consumer, &received, &ledger),
                    Err(error) if error.is_retryable() => break false,
                    Err(error) => return Err(error),
                },
                () = change.notified() => break false,
                changed = end.changed() => if changed.is_err() { break true },
            }
        };
        // What is not confirmed is delivered again.
        let _ = consumer.close(END).await;
        if done {
            return Ok(());
        }
    }
}

fn take(consumer: &Consumer, received: &Received, ledger: &Mutex<Ledger>) {
    let offset = received.offset.0;
    let number = received.record.payload.first_chunk().copied();
    let number = u64::from_be_bytes(number.unwrap_or([0xff; 8]));
    lock(ledger).on_read(offset, number, load::order_of(number));
    if offset.is_multiple_of(ACK_EVERY) {
        // A consumer that has ended says so at the next message.
        let _ = consumer.ack_nowait(received.offset);
    }
}
