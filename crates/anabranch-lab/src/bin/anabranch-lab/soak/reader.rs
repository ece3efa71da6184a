//! Durable consumers of the same name, one after another.

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

use super::{broker::TOPIC, ledger::Ledger, load, lock};

/// Messages between acknowledgements.
const ACK_EVERY: u64 = 100;
/// Time limit to close a consumer.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause before another attempt to subscribe.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

pub(super) struct Reader {
    replace: Arc<Notify>,
    end: watch::Sender<Option<u64>>,
    task: JoinHandle<Result<(), ConsumeError>>,
}

impl Reader {
    pub(super) fn start(connection: conn::Config, ledger: Arc<Mutex<Ledger>>) -> Self {
        let (end, ends) = watch::channel(None);
        let replace = Arc::new(Notify::new());
        let task = tokio::spawn(read(connection, ledger, Arc::clone(&replace), ends));
        Self { replace, end, task }
    }

    /// Replaces the current consumer with another one.
    pub(super) fn replace_consumer(&self) {
        self.replace.notify_one();
    }

    /// Returns whether reading has ended, which is an error before [`Reader::end`].
    pub(super) fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits until everything before offset `end` was read.
    pub(super) async fn end(self, end: u64, deadline: Duration) -> anyhow::Result<()> {
        self.end.send_replace(Some(end));
        let read = tokio::time::timeout(deadline, self.task).await;
        read.context("cannot read the topic to its end")???;
        Ok(())
    }
}

async fn read(
    connection: conn::Config,
    ledger: Arc<Mutex<Ledger>>,
    replace: Arc<Notify>,
    mut end: watch::Receiver<Option<u64>>,
) -> Result<(), ConsumeError> {
    loop {
        let subscribed = Consumer::builder()
            .connection(connection.clone())
            .topic(TOPIC)
            .wait_for_topic(true)
            .name("soak")
            .from(Start::Earliest)
            .subscribe()
            .await;
        let mut consumer = match subscribed {
            Ok(consumer) => consumer,
            Err(error) if error.is_retryable() => {
                tokio::time::sleep(RETRY_PAUSE).await;
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
                    Ok(received) => record(&consumer, &received, &ledger),
                    Err(error) if error.is_retryable() => break false,
                    Err(error) => return Err(error),
                },
                () = replace.notified() => break false,
                changed = end.changed() => if changed.is_err() { break true },
            }
        };
        // Unconfirmed messages are delivered again.
        let _ = consumer.close(CLOSE_TIMEOUT).await;
        if done {
            return Ok(());
        }
    }
}

fn record(consumer: &Consumer, received: &Received, ledger: &Mutex<Ledger>) {
    let offset = received.offset.0;
    let number = received.record.payload.first_chunk().copied();
    let number = u64::from_be_bytes(number.unwrap_or([0xff; 8]));
    lock(ledger).on_read(offset, number, load::order_of(number));
    if offset.is_multiple_of(ACK_EVERY) {
        // A consumer that has ended reports so at its next `recv`.
        let _ = consumer.ack_nowait(received.offset);
    }
}
