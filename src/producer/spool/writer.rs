//! The writer: takes messages from staging, a group at a time, and syncs them to disk before their receipts are completed.
//!
//! A group that is not on disk goes back to staging. A group that may be on disk is written again until the store knows
//! that it is there; the store keeps it once.

use std::{sync::Arc, time::Duration, time::Instant};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::{
    Receipts, Spool,
    log::{Group, LogError},
    pending_receipts::Slot,
    staging::{Staged, Taken, give_up_batch, topic_of},
};
use crate::{
    ProducerId, TopicName,
    metrics::spool as metrics,
    producer::{
        Fate, SendError, SendErrorKind,
        accumulator::{Accumulator, Cost},
        sender::Request,
    },
    store::Appended,
    time,
    wire::BatchBuilder,
};

/// How long to wait after a write that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// The task that writes staged messages to disk.
pub(super) struct Writer {
    memory: Arc<Accumulator>,
    spool: Arc<Spool>,
    /// The identity under which this process writes to the log; `None` before the first write.
    producer: Option<ProducerId>,
    /// The number of the next entry that this process writes.
    next: u64,
}

/// What is still needed of the messages of an entry that is on disk.
struct WrittenEntry {
    topic: TopicName,
    receipts: Vec<Slot>,
    /// The number of its messages in even and in odd flush epochs.
    epochs: [u64; 2],
    /// The time of the earliest call among them.
    called: Instant,
}

impl Writer {
    pub(super) const fn new(memory: Arc<Accumulator>, spool: Arc<Spool>) -> Self {
        Self {
            memory,
            spool,
            producer: None,
            next: 0,
        }
    }

    /// Writes until the producer ends. A group that it has taken is still written then.
    pub(super) async fn run(mut self, stopped: CancellationToken) {
        while !stopped.is_cancelled() {
            if let Some(taken) = self.spool.take_group() {
                match self.write(taken, &stopped).await {
                    Ok(()) => self.spool.set_error(None),
                    Err(error) => {
                        self.spool.set_error(Some(&error.to_string()));
                        self.wait(PAUSE, &stopped).await;
                    }
                }
                continue;
            }
            self.spool.written.notify_waiters();
            let deadline = self.expire();
            tokio::select! { biased;
                () = self.spool.write_notify.notified() => {}
                () = until(deadline) => {}
                () = stopped.cancelled() => {}
            }
        }
    }

    /// Waits for a pause or the producer's end, and completes what expires meanwhile.
    async fn wait(&self, pause: Duration, stopped: &CancellationToken) {
        tokio::select! { biased;
            () = stopped.cancelled() => {}
            () = time::sleep(pause) => {}
        }
        self.expire();
    }

    /// Completes the messages whose delivery deadline is over, and returns the next deadline.
    fn expire(&self) -> Option<Instant> {
        let timeout = self.memory.config().delivery_timeout;
        if let Some(call) = time::now().checked_sub(timeout) {
            let error = SendError::new(SendErrorKind::Expired, Fate::NotStored);
            let last_error = self.spool.state.borrow().last_error.clone();
            let detail = last_error.unwrap_or_else(|| "there was no room in the spool".to_owned());
            self.spool
                .expire_staged(&self.memory, call, &error.clone().detail(detail));
            let error = error.with_fate(Fate::Spooled);
            self.spool
                .fail_receipts(&self.memory, |called| called <= call, &error);
        }
        let staged = self.spool.oldest_staged(&self.memory);
        let pending = self.spool.pending_receipts().oldest();
        [staged, pending]
            .into_iter()
            .flatten()
            .min()
            .map(|call| self.memory.deadline(call))
    }

    /// Writes a group.
    ///
    /// # Errors
    /// If none of it is on disk. Its messages are in staging again then.
    async fn write(
        &mut self,
        messages: Taken,
        stopped: &CancellationToken,
    ) -> Result<(), LogError> {
        let log = Arc::clone(&self.spool.log);
        let producer = match self.producer {
            Some(producer) => producer,
            None => match log.writer().await {
                Ok(producer) => *self.producer.insert(producer),
                Err(error) => {
                    self.spool.put_back(messages);
                    return Err(error);
                }
            },
        };
        let group = self.group(producer, &messages);
        match log.write(&group).await {
            Ok(positions) => self.on_written(messages, &positions),
            Err(error @ LogError::InDoubt(_)) => {
                self.write_in_doubt(messages, &group, error, stopped).await;
            }
            Err(error) => {
                self.spool.put_back(messages);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Encodes what was taken as entries: one for each batch, and one for each topic of single messages.
    fn group(&mut self, producer: ProducerId, taken: &Taken) -> Group {
        let entries = match taken {
            Taken::Batches(batches) => {
                let entry = |request: &Request| {
                    let count = u32::try_from(request.messages).unwrap_or(u32::MAX);
                    (request.topic.clone(), request.batch.clone(), count)
                };
                batches.iter().map(entry).collect()
            }
            Taken::Messages(messages) => self.encode(messages),
        };
        let first = self.next;
        let appends = entries.into_iter().map(|(topic, batch, count)| {
            let number = self.next;
            self.next += 1;
            let log = &self.spool.log;
            log.entry(producer, (number, first), &topic, (&batch, count))
        });
        Group(appends.collect())
    }

    /// Encodes messages as batches, one for each topic. Returns each with the number of its messages.
    fn encode(&self, messages: &[Staged]) -> Vec<(TopicName, Bytes, u32)> {
        let mut entries: Vec<(TopicName, BatchBuilder)> = Vec::new();
        for staged in messages {
            let topic = topic_of(&self.memory, staged);
            let index = entries.iter().position(|(t, _)| t == topic);
            let index = index.unwrap_or_else(|| {
                entries.push((topic.clone(), BatchBuilder::new(0)));
                entries.len() - 1
            });
            let batch = &mut entries[index].1;
            staged.message.encode(batch, time::timestamp);
        }
        let finish = |(topic, mut batch): (TopicName, BatchBuilder)| {
            let count = batch.count();
            (topic, batch.finish(), count)
        };
        entries.into_iter().map(finish).collect()
    }

    /// Writes a group that may be on disk again, until it is known to be there or the producer ends.
    async fn write_in_doubt(
        &self,
        messages: Taken,
        group: &Group,
        mut error: LogError,
        stopped: &CancellationToken,
    ) {
        let mut waiting = Some(messages);
        loop {
            self.spool.set_error(Some(&error.to_string()));
            self.wait(PAUSE, stopped).await;
            if let Ok(positions) = self.spool.log.write(group).await {
                let messages = waiting.unwrap_or(Taken::Messages(Vec::new()));
                return self.on_written(messages, &positions);
            }
            let ended = stopped.is_cancelled();
            let oldest = waiting.as_ref().and_then(|taken| match taken {
                Taken::Batches(batches) => batches.first().map(|batch| batch.at),
                Taken::Messages(messages) => messages.first().map(|m| m.called(&self.memory)),
            });
            let is_late = oldest.is_some_and(|call| self.memory.deadline(call) <= time::now());
            if (ended || is_late)
                && let Some(taken) = waiting.take()
            {
                self.give_up_in_doubt(taken, ended, &error);
            }
            if ended {
                return;
            }
            error = LogError::Waiting;
        }
    }

    /// Completes messages that may be on disk with an error that says so.
    fn give_up_in_doubt(&self, taken: Taken, ended: bool, why: &LogError) {
        let error = match ended {
            true => self.memory.end_error().with_fate(Fate::Unknown),
            false => {
                let late = SendError::new(SendErrorKind::Expired, Fate::Unknown);
                late.detail(why.to_string())
            }
        };
        match taken {
            Taken::Batches(batches) => {
                for batch in batches {
                    drop(give_up_batch(&self.memory, batch, &error));
                }
                self.spool.staging().writing = 0;
            }
            Taken::Messages(messages) => {
                for staged in messages {
                    self.spool.give_up(&self.memory, staged, error.clone());
                }
            }
        }
    }

    /// Returns written messages by entry, in the order of [`Writer::group`], and adds what they took of staging to `cost`.
    fn written_entries(&self, messages: Vec<Staged>, cost: &mut Cost) -> Vec<WrittenEntry> {
        let mut entries: Vec<WrittenEntry> = Vec::new();
        for staged in messages {
            let topic = topic_of(&self.memory, &staged);
            let called = staged.called(&self.memory);
            let index = entries.iter().position(|e| e.topic == *topic);
            let index = index.unwrap_or_else(|| {
                entries.push(WrittenEntry {
                    topic: topic.clone(),
                    receipts: Vec::new(),
                    epochs: [0; 2],
                    called,
                });
                entries.len() - 1
            });
            let entry = &mut entries[index];
            entry.epochs[usize::from(staged.epoch & 1 == 1)] += 1;
            entry.called = entry.called.min(called);
            cost.add(staged.size.cost);
            entry.receipts.push(Slot {
                promise: staged.promise,
                index: 0,
            });
        }
        entries
    }

    /// Returns written batches by entry, and adds what they took of memory to `cost`.
    fn written_batches(batches: Vec<Request>, cost: &mut Cost) -> Vec<WrittenEntry> {
        let entry = |request: Request| {
            cost.add(request.cost);
            let slots = request.parts.iter().flat_map(|part| {
                let slot = |index| Slot {
                    promise: Arc::clone(&part.promise),
                    index,
                };
                (0..u32::try_from(part.messages).unwrap_or(u32::MAX)).map(slot)
            });
            WrittenEntry {
                receipts: slots.collect(),
                topic: request.topic.clone(),
                epochs: request.epochs,
                called: request.at,
            }
        };
        batches.into_iter().map(entry).collect()
    }

    /// Frees the room of a group that is on disk, and completes its receipts or keeps them for the replay.
    fn on_written(&self, taken: Taken, positions: &[Appended]) {
        let held = self.spool.log.held();
        self.spool.mode_mut().on_written(held);
        let (mut staged, mut in_memory) = (Cost::default(), Cost::default());
        let entries = match taken {
            Taken::Batches(batches) => Self::written_batches(batches, &mut in_memory),
            Taken::Messages(messages) => self.written_entries(messages, &mut staged),
        };
        metrics::written(u64::from(staged.messages) + u64::from(in_memory.messages));
        for (entry, position) in entries.into_iter().zip(positions) {
            let kept = match self.spool.config.receipts {
                Receipts::WhenSpooled => Err(entry.receipts),
                Receipts::WhenStored => {
                    let mut pending = self.spool.pending_receipts();
                    pending.push(position.base.0, entry.receipts, entry.epochs, entry.called)
                }
            };
            let Err(receipts) = kept else { continue };
            let when_spooled = self.spool.config.receipts == Receipts::WhenSpooled;
            let ended = (!when_spooled && self.memory.has_ended()).then(|| self.memory.end_error());
            for Slot { promise, index } in receipts {
                match &ended {
                    // The messages of a promise share its outcome.
                    _ if index > 0 => {}
                    Some(error) => promise.failed(error.clone().with_fate(Fate::Spooled), vec![]),
                    None => promise.spooled(entry.topic.clone()),
                }
            }
            self.memory.epochs().resolved_each(entry.epochs);
        }
        if in_memory.messages > 0 {
            self.spool.staging().writing = 0;
            self.memory.release(in_memory, [0; 2]);
        }
        self.spool.free(&self.memory, staged);
        self.spool.replay_notify.notify_one();
        self.spool.publish(|_| {});
    }
}

/// Waits until a deadline, for ever without one.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
