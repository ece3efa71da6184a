//! Consumers of one name, one after another, until the topic is read to its end.

use std::time::Duration;

use anabranch::{
    Consumer, Offset,
    consumer::{Received, Start},
};
use fastrand::Rng;
use tokio::sync::watch;

use super::{
    log::{Log, id_of},
    world::{Client, LONG, TOPIC, World},
};
use crate::{
    history::{ConsumerNumber, Event, ReaderName},
    tally::Part,
};

/// Reads under `name` until everything before `end` was delivered. `end` is `None` while producers run.
pub async fn read(
    world: &World,
    client: &Client,
    name: ReaderName,
    mut end: watch::Receiver<Option<u64>>,
    log: &Log,
    mut rng: Rng,
) {
    loop {
        let builder = Consumer::builder()
            .connection(client.connection())
            .topic(TOPIC)
            .wait_for_topic(true)
            .name(name.0.to_string())
            .from(Start::Earliest);
        let consumer = match builder.subscribe().await {
            Ok(consumer) => consumer,
            Err(error) => {
                assert!(error.is_retryable(), "{error}");
                world.network.sleep(Duration::from_millis(300)).await;
                continue;
            }
        };
        let number = log.next_consumer();
        log.count(Part::Operations, "subscribe with a name");
        log.push(Event::Began {
            consumer: number,
            name,
            next: consumer.start().0,
        });
        let mut reading = Reading {
            consumer,
            number,
            log,
        };
        // Short-lived consumers during faults, then one that reads to the end.
        let most = match *end.borrow() {
            Some(_) => u64::MAX,
            None => rng.u64(1..150),
        };
        let done = reading.read(most, &mut end, &mut rng).await;
        reading.leave(&mut rng).await;
        if done {
            return;
        }
        world
            .network
            .sleep(Duration::from_millis(rng.u64(0..500)))
            .await;
    }
}

struct Reading<'a> {
    consumer: Consumer,
    number: ConsumerNumber,
    log: &'a Log,
}

impl Reading<'_> {
    /// Reads at most `most` messages. Returns true at the end of the topic.
    async fn read(
        &mut self,
        most: u64,
        end: &mut watch::Receiver<Option<u64>>,
        rng: &mut Rng,
    ) -> bool {
        for _ in 0..most {
            let received = loop {
                let next = self.consumer.next_offset().0;
                if end.borrow().is_some_and(|end| next >= end) {
                    return true;
                }
                tokio::select! { biased;
                    received = self.consumer.recv() => break received,
                    changed = end.changed() => changed.unwrap(),
                }
            };
            let Ok(received) = received else {
                // This consumer has ended; the next one continues.
                return false;
            };
            self.take(&received);
            match rng.u8(0..20) {
                0 => self.ack(received.offset).await,
                1..4 => self.ack_nowait(received.offset),
                _ => {}
            }
        }
        false
    }

    fn take(&self, received: &Received) {
        self.log.count(Part::Outcomes, "delivered to a consumer");
        self.log.push(Event::Delivered {
            consumer: self.number,
            offset: received.offset.0,
            id: id_of(&received.record.payload),
        });
    }

    fn acknowledged(&self, offset: Offset) {
        self.log.count(Part::Operations, "acknowledge");
        self.log.push(Event::Acknowledged {
            consumer: self.number,
            next: offset.0 + 1,
        });
    }

    fn ack_nowait(&self, offset: Offset) {
        self.acknowledged(offset);
        // Fails if the consumer has ended. The acknowledgement may be stored all the same.
        let _ = self.consumer.ack_nowait(offset);
    }

    async fn ack(&self, offset: Offset) {
        self.acknowledged(offset);
        if let Ok(Ok(())) = tokio::time::timeout(LONG, self.consumer.ack(offset)).await {
            self.log.push(Event::Confirmed {
                consumer: self.number,
                next: offset.0 + 1,
            });
        }
    }

    async fn leave(self, rng: &mut Rng) {
        match rng.u8(0..3) {
            // As a killed process.
            0 => drop(self.consumer),
            _ => drop(self.consumer.close(Duration::from_secs(5)).await),
        }
    }
}
