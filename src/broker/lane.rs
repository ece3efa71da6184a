//! A stream that produces.
//!
//! ```text
//! frames ─▶ check ─▶ committer ─▶ store
//!             └─ refusals ─┐        │
//! answers ◀─ one write ◀─ channel ◀─┘
//! ```
//!
//! The reader hands a batch to the committer and reads on: many batches of one stream are on their way to the
//! disk at a time. Each takes a place in the answers' channel and its bytes from the stream's and the connection's
//! budget before it goes, so what is read and unanswered is bounded, and a client that does not read its answers
//! is not read either.
//!
//! The first batch that is refused is the last that is looked at: what follows it on the stream is told that it lies
//! behind. Its client takes another stream for that, once it knows; so no batch is stored behind a refused one that
//! its producer could still have wanted to come first.

use std::sync::Arc;

use quinn::WriteError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{
    commit::{self, FirstRefused, Job},
    failure,
    outgoing::{GATHER, Outgoing},
    shared::Peer,
    stream::{End, Incoming, misplaced},
    topics::{OpenError, Topic},
};
use crate::{
    ProducerId, TopicName, time,
    wire::{Batch, DecodeError, Failure, FailureCode, Packet, Produce, Refused},
};

/// Serves a lane whose first batch is `first`, until the client ends its half and everything is answered.
pub(super) async fn run(
    peer: &Peer,
    incoming: &mut Incoming,
    outgoing: &mut Outgoing,
    first: Produce,
) -> End {
    let Some(producer) = peer.producer else {
        return Ok(Err(misplaced("the session has no producer to produce for")));
    };
    let limits = &peer.shared.config.limits;
    let (answers, answered) = mpsc::channel(limits.stream_batches);
    let mut lane = Lane {
        peer,
        producer,
        answers,
        buffered: Arc::new(Semaphore::new(
            limits.stream_buffer.min(Semaphore::MAX_PERMITS),
        )),
        topic: None,
        place: 0,
        refused: Arc::new(FirstRefused::new()),
    };
    let reading = async move { Ok::<_, WriteError>(lane.read(incoming, first).await) };
    let writing = write(outgoing, answered);
    // Reading over, the writer goes on until the last batch is answered. Writing failed, nothing more is read.
    let (end, ()) = tokio::try_join!(reading, writing)?;
    Ok(end)
}

struct Lane<'a> {
    peer: &'a Peer,
    producer: ProducerId,
    answers: mpsc::Sender<Packet>,
    buffered: Arc<Semaphore>,
    /// The topic of the last batch.
    topic: Option<Arc<Topic>>,
    /// How many batches came before the next.
    place: u64,
    refused: Arc<FirstRefused>,
}

impl Lane<'_> {
    async fn read(&mut self, incoming: &mut Incoming, first: Produce) -> Result<(), Failure> {
        let mut packet = Packet::Produce(first);
        loop {
            match packet {
                Packet::Produce(produce) => self.take(produce).await?,
                Packet::Probe { nonce } => {
                    self.answer_place().await?.send(Packet::Probed { nonce });
                }
                _ => return Err(misplaced("only Produce and Probe go on a lane")),
            }
            match incoming.next().await? {
                Some(next) => packet = next,
                None => return Ok(()),
            }
        }
    }

    /// Sends a batch on its way, or refuses it.
    async fn take(&mut self, produce: Produce) -> Result<(), Failure> {
        let received = time::now();
        let place = self.place;
        self.place += 1;
        let answer = self.answer_place().await?;
        if self.refused.is_before(place) {
            answer.send(commit::behind(produce.request));
            return Ok(());
        }
        let buffered = [
            bytes(&self.buffered, produce.batch.len()).await?,
            bytes(&self.peer.buffered, produce.batch.len()).await?,
        ];
        if let Some(delay) = self.peer.shared.config.stream_delay {
            time::sleep(delay).await;
        }
        match self.admit(&produce).await {
            Ok((topic, count)) => {
                let job = Job {
                    producer: self.producer,
                    produce,
                    topic,
                    count,
                    received,
                    answer,
                    place,
                    refused: Arc::clone(&self.refused),
                    buffered,
                };
                let submitted = self.peer.shared.committer.submit(job).await;
                submitted.map_err(|commit::Ended| closing())
            }
            Err(failure) => {
                tracing::debug!(code = ?failure.code, reason = %failure.detail, "batch refused");
                answer.send(Packet::Refused(Refused {
                    request: produce.request,
                    failure,
                }));
                self.refused.note(place);
                Ok(())
            }
        }
    }

    /// Checks a batch against everything but the store.
    async fn admit(&mut self, produce: &Produce) -> Result<(Arc<Topic>, u32), Failure> {
        if !self.peer.permissions.may_produce(&produce.topic) {
            let detail = format!("may not produce to {}", produce.topic);
            return Err(failure(FailureCode::Forbidden, detail));
        }
        let limits = &self.peer.shared.config.limits;
        let batch = Batch::check(&produce.batch).map_err(|error| unreadable(&error))?;
        let over = |what, value: &dyn std::fmt::Display, limit: &dyn std::fmt::Display| {
            let detail = format!("{what}: {value}, the limit is {limit}");
            Err(failure(FailureCode::TooLarge, detail))
        };
        if batch.largest_message > limits.max_message {
            return over(
                "bytes of a message",
                &batch.largest_message,
                &limits.max_message,
            );
        }
        if batch.count > limits.max_batch_messages {
            return over(
                "messages of a batch",
                &batch.count,
                &limits.max_batch_messages,
            );
        }
        Ok((self.topic(&produce.topic).await?, batch.count))
    }

    async fn topic(&mut self, name: &TopicName) -> Result<Arc<Topic>, Failure> {
        if let Some(topic) = self.topic.as_ref().filter(|topic| topic.name() == name) {
            return Ok(Arc::clone(topic));
        }
        let topic = self.peer.shared.topics.open(name).await;
        let topic = topic.map_err(|error| unopened(&error))?;
        self.topic = Some(Arc::clone(&topic));
        Ok(topic)
    }

    /// A place for one answer.
    async fn answer_place(&self) -> Result<mpsc::OwnedPermit<Packet>, Failure> {
        let place = self.answers.clone().reserve_owned().await;
        place.map_err(|_| closing())
    }
}

async fn bytes(budget: &Arc<Semaphore>, len: usize) -> Result<OwnedSemaphorePermit, Failure> {
    let len = u32::try_from(len).unwrap_or(u32::MAX);
    let permit = Arc::clone(budget).acquire_many_owned(len).await;
    permit.map_err(|_| closing())
}

fn closing() -> Failure {
    failure(FailureCode::Closing, "the broker is closing")
}

fn unreadable(error: &DecodeError) -> Failure {
    let code = match error {
        DecodeError::TooLong { .. } => FailureCode::TooLarge,
        _ => FailureCode::Corrupt,
    };
    failure(code, error)
}

/// What a client is told where a topic cannot be used.
pub(super) fn unopened(error: &OpenError) -> Failure {
    match error {
        OpenError::Unknown => failure(FailureCode::UnknownTopic, error),
        OpenError::Limit(_) => failure(FailureCode::Limit, error),
        OpenError::Store(error) => commit::failure(error),
    }
}

/// Writes answers as they come, those that are there in one write.
async fn write(
    outgoing: &mut Outgoing,
    mut answered: mpsc::Receiver<Packet>,
) -> Result<(), WriteError> {
    while let Some(first) = answered.recv().await {
        outgoing.put(&first);
        while outgoing.len() < GATHER
            && let Ok(next) = answered.try_recv()
        {
            outgoing.put(&next);
        }
        outgoing.flush().await?;
    }
    Ok(())
}
