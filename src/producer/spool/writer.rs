//! The writer: takes what is staged, a group at a time, and has the disk take it before anybody is told.
//!
//! A group that is not on disk goes back to where it came from. One that may be there stays in hand until the store knows:
//! the same group is written again, and the store keeps it once.

use std::{sync::Arc, time::Duration, time::Instant};

use tokio_util::sync::CancellationToken;

use super::{
    Receipts, Spool,
    log::{Group, LogError},
    staging::{Staged, topic_of},
};
use crate::{
    ProducerId, TopicName,
    metrics::spool as metrics,
    producer::{
        Fate, SendError, SendErrorKind,
        accumulator::{Accumulator, Cost},
        receipt::Promise,
    },
    store::Appended,
    time,
    wire::BatchBuilder,
};

/// How long to wait after the disk took no write.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Writer {
    memory: Arc<Accumulator>,
    spool: Arc<Spool>,
    /// The right to write; empty before the first write.
    producer: Option<ProducerId>,
    /// The number of the next entry, counted by this writer.
    next: u64,
}

/// What the messages of one entry leave in memory.
struct Left {
    topic: TopicName,
    receipts: Vec<Arc<Promise>>,
    epochs: [u64; 2],
    /// The earliest call among them.
    at: Instant,
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

    /// Writes until the producer ends. What it has in hand then is still written.
    pub(super) async fn run(mut self, stopped: CancellationToken) {
        while !stopped.is_cancelled() {
            let messages = self.spool.take_group();
            if !messages.is_empty() {
                match self.write(messages, &stopped).await {
                    Ok(()) => self.spool.set_error(None),
                    Err(error) => {
                        self.spool.set_error(Some(&error.to_string()));
                        self.wait(PAUSE, &stopped).await;
                    }
                }
                continue;
            }
            self.spool.written.notify_waiters();
            let due = self.expire();
            tokio::select! { biased;
                () = self.spool.write_notify.notified() => {}
                () = until(due) => {}
                () = stopped.cancelled() => {}
            }
        }
    }

    async fn wait(&self, pause: Duration, stopped: &CancellationToken) {
        tokio::select! { biased;
            () = stopped.cancelled() => {}
            () = time::sleep(pause) => {}
        }
        self.expire();
    }

    /// Tells those whose time is up, and answers when the next one's is.
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
                .fail_receipts(&self.memory, |at| at <= call, &error);
        }
        let staged = self.spool.oldest_staged(&self.memory);
        let waiting = self.spool.pending_receipts().oldest();
        [staged, waiting]
            .into_iter()
            .flatten()
            .min()
            .map(|at| self.memory.deadline(at))
    }

    /// Writes a group. On an error, none of it is on disk.
    async fn write(
        &mut self,
        messages: Vec<Staged>,
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
            Ok(places) => self.written(messages, &places),
            Err(LogError::InDoubt(error)) => {
                let error = LogError::InDoubt(error);
                self.ask_again(messages, &group, error, stopped).await;
            }
            Err(error) => {
                self.spool.put_back(messages);
                return Err(error);
            }
        }
        Ok(())
    }

    /// The same messages as entries, one a topic.
    fn group(&mut self, producer: ProducerId, messages: &[Staged]) -> Group {
        let mut entries: Vec<(TopicName, BatchBuilder)> = Vec::new();
        for staged in messages {
            let topic = topic_of(&self.memory, staged);
            let place = entries.iter().position(|(t, _)| t == topic);
            let place = place.unwrap_or_else(|| {
                entries.push((topic.clone(), BatchBuilder::new(0)));
                entries.len() - 1
            });
            let batch = &mut entries[place].1;
            staged.message.encode(batch, time::timestamp);
        }
        let first = self.next;
        let appends = entries.into_iter().map(|(topic, mut batch)| {
            let number = self.next;
            self.next += 1;
            let count = batch.count();
            let batch = batch.finish();
            let log = &self.spool.log;
            log.entry(producer, (number, first), &topic, (&batch, count))
        });
        Group(appends.collect())
    }

    /// Writes a group that may be on disk, until it is known to be there; or, if the producer ends, until then.
    async fn ask_again(
        &self,
        messages: Vec<Staged>,
        group: &Group,
        mut error: LogError,
        stopped: &CancellationToken,
    ) {
        let mut messages = messages;
        loop {
            self.spool.set_error(Some(&error.to_string()));
            self.wait(PAUSE, stopped).await;
            if let Ok(places) = self.spool.log.write(group).await {
                return self.written(messages, &places);
            }
            let ended = stopped.is_cancelled();
            let is_late = messages
                .first()
                .is_some_and(|m| self.memory.deadline(m.called(&self.memory)) <= time::now());
            if ended || is_late {
                let told = std::mem::take(&mut messages);
                self.in_doubt(told, ended, &error);
            }
            if ended {
                return;
            }
            error = LogError::Waiting;
        }
    }

    /// Nobody knows whether these are on disk.
    fn in_doubt(&self, messages: Vec<Staged>, ended: bool, why: &LogError) {
        let error = match ended {
            true => self.memory.end_error().with_fate(Fate::Unknown),
            false => {
                let late = SendError::new(SendErrorKind::Expired, Fate::Unknown);
                late.detail(why.to_string())
            }
        };
        for staged in messages {
            self.spool.give_up(&self.memory, staged, error.clone());
        }
    }

    /// Messages by their topics, in the order of [`Writer::group`].
    fn left(&self, messages: Vec<Staged>, cost: &mut Cost) -> Vec<Left> {
        let mut entries: Vec<Left> = Vec::new();
        for staged in messages {
            let topic = topic_of(&self.memory, &staged);
            let at = staged.called(&self.memory);
            let place = entries.iter().position(|e| e.topic == *topic);
            let place = place.unwrap_or_else(|| {
                entries.push(Left {
                    topic: topic.clone(),
                    receipts: Vec::new(),
                    epochs: [0; 2],
                    at,
                });
                entries.len() - 1
            });
            let entry = &mut entries[place];
            entry.epochs[usize::from(staged.epoch & 1 == 1)] += 1;
            entry.at = entry.at.min(at);
            cost.add(staged.size.cost);
            entry.receipts.push(staged.promise);
        }
        entries
    }

    /// A group is on disk.
    fn written(&self, messages: Vec<Staged>, places: &[Appended]) {
        let held = self.spool.log.held();
        self.spool.mode_mut().on_written(held);
        let mut cost = Cost::default();
        metrics::written(messages.len() as u64);
        for (entry, place) in self.left(messages, &mut cost).into_iter().zip(places) {
            let left = match self.spool.config.receipts {
                Receipts::WhenSpooled => Err(entry.receipts),
                Receipts::WhenStored => {
                    let mut waiting = self.spool.pending_receipts();
                    waiting.push(place.base.0, entry.receipts, entry.epochs, entry.at)
                }
            };
            let Err(receipts) = left else { continue };
            let asked = self.spool.config.receipts == Receipts::WhenSpooled;
            let ended = (!asked && self.memory.has_ended()).then(|| self.memory.end_error());
            for promise in receipts {
                match &ended {
                    Some(error) => promise.failed(error.clone().with_fate(Fate::Spooled), vec![]),
                    None => promise.spooled(entry.topic.clone()),
                }
            }
            self.memory.epochs().resolved_each(entry.epochs);
        }
        self.spool.free(&self.memory, cost);
        self.spool.replay_notify.notify_one();
        self.spool.publish(|_| {});
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
