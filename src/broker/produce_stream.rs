//! A stream that produces.
//!
//! ```text
//! frames ─▶ check ─▶ committer ─▶ store
//!             └─ refusals ─┐        │
//! answers ◀─ one write ◀─ channel ◀─┘
//! ```
//!
//! The reader gives a batch to the committer and reads on, so many batches of one stream can be on their way to the
//! disk. Before that, each batch reserves a slot in the channel of answers and its bytes in the budgets of the stream
//! and of the connection. So what is read and not answered is bounded, and a client that does not read its answers is
//! not read either.
//!
//! After the first refused batch no other batch of the stream is looked at: each gets the answer
//! [`FailureCode::AfterRejected`], and the client sends it again on another stream. So no batch is stored whose
//! producer may have wanted the refused one to be stored before it.

use std::{fmt, sync::Arc};

use quinn::WriteError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{
    commit::{self, CommitterStopped, FirstRejected, PendingBatch},
    failure::{self, failure},
    packets::{self, RequestReader, StreamEnd, WRITE_BYTES},
    shared::Peer,
    topic::Topic,
};
use crate::{
    ProducerId, TopicName, time,
    wire::{Batch, Failure, FailureCode, Packet, PacketWriter, Produce, Refused},
};

/// Serves a produce stream whose first batch is `first`, until the client finishes its half and everything is
/// answered.
pub(super) async fn run(
    peer: &Peer,
    requests: &mut RequestReader,
    answers: &mut PacketWriter,
    first: Produce,
) -> StreamEnd {
    let Some(producer) = peer.producer else {
        let rule = "the session has no producer to produce for";
        return Ok(Err(failure::protocol(rule)));
    };
    let limits = &peer.shared.config.limits;
    let (answer, answered) = mpsc::channel(limits.stream_batches);
    let mut stream = ProduceStream {
        peer,
        producer,
        answers: answer,
        buffered: Arc::new(Semaphore::new(
            limits.stream_buffer.min(Semaphore::MAX_PERMITS),
        )),
        topic: None,
        next_index: 0,
        rejected: Arc::new(FirstRejected::new()),
    };
    let reading = async move { Ok::<_, WriteError>(stream.read(requests, first).await) };
    let writing = write(answers, answered);
    // After the last read, the writer goes on until the last batch is answered. After a failed write, reading stops.
    let (end, ()) = tokio::try_join!(reading, writing)?;
    Ok(end)
}

/// The reader's state.
struct ProduceStream<'a> {
    peer: &'a Peer,
    producer: ProducerId,
    answers: mpsc::Sender<Packet>,
    /// Limits the bytes of batches of this stream that are read and not yet answered.
    buffered: Arc<Semaphore>,
    /// The topic of the last batch.
    topic: Option<Arc<Topic>>,
    /// The index of the next batch of this stream, counted from 0.
    next_index: u64,
    rejected: Arc<FirstRejected>,
}

impl ProduceStream<'_> {
    async fn read(&mut self, requests: &mut RequestReader, first: Produce) -> Result<(), Failure> {
        let mut packet = Packet::Produce(first);
        loop {
            match packet {
                Packet::Produce(produce) => self.on_produce(produce).await?,
                Packet::Probe { nonce } => {
                    self.reserve_answer().await?.send(Packet::Probed { nonce });
                }
                _ => {
                    let rule = "only Produce and Probe are allowed on a produce stream";
                    return Err(failure::protocol(rule));
                }
            }
            match requests.next().await? {
                Some(next) => packet = next,
                None => return Ok(()),
            }
        }
    }

    /// Gives a batch to the committer, or refuses it.
    async fn on_produce(&mut self, produce: Produce) -> Result<(), Failure> {
        let received = time::now();
        let index = self.next_index;
        self.next_index += 1;
        let answer = self.reserve_answer().await?;
        if self.rejected.is_before(index) {
            answer.send(commit::after_rejected(produce.request));
            return Ok(());
        }
        let buffered = [
            reserve(&self.buffered, produce.batch.len()).await?,
            reserve(&self.peer.buffered, produce.batch.len()).await?,
        ];
        if let Some(delay) = self.peer.shared.config.stream_delay {
            time::sleep(delay).await;
        }
        match self.check(&produce).await {
            Ok((topic, count)) => {
                let batch = PendingBatch {
                    producer: self.producer,
                    produce,
                    topic,
                    count,
                    received,
                    answer,
                    index,
                    rejected: Arc::clone(&self.rejected),
                    buffered,
                };
                let submitted = self.peer.shared.committer.submit(batch).await;
                submitted.map_err(|CommitterStopped| failure::closing())
            }
            Err(failure) => {
                tracing::debug!(code = ?failure.code, reason = %failure.detail, "batch refused");
                answer.send(Packet::Refused(Refused {
                    request: produce.request,
                    failure,
                }));
                self.rejected.record(index);
                Ok(())
            }
        }
    }

    /// Checks a batch against everything but the store. Returns its topic and its number of messages.
    async fn check(&mut self, produce: &Produce) -> Result<(Arc<Topic>, u32), Failure> {
        if !self.peer.permissions.may_produce(&produce.topic) {
            let detail = format!("may not produce to {}", produce.topic);
            return Err(failure(FailureCode::Forbidden, detail));
        }
        let limits = &self.peer.shared.config.limits;
        let too_large = |what, value: &dyn fmt::Display, limit: &dyn fmt::Display| {
            let detail = format!("{what}: {value}, the limit is {limit}");
            Err(failure(FailureCode::TooLarge, detail))
        };
        // Before any work that grows with it.
        let count = Batch::stated_count(&produce.batch);
        if count > limits.max_batch_messages {
            return too_large("messages of a batch", &count, &limits.max_batch_messages);
        }
        let batch = Batch::check(&produce.batch)
            .map_err(|error| failure::undecodable(&error, FailureCode::Corrupt))?;
        if batch.largest_message > limits.max_message {
            return too_large(
                "bytes of a message",
                &batch.largest_message,
                &limits.max_message,
            );
        }
        Ok((self.topic(&produce.topic).await?, batch.count))
    }

    async fn topic(&mut self, name: &TopicName) -> Result<Arc<Topic>, Failure> {
        if let Some(topic) = self
            .topic
            .as_ref()
            .filter(|topic| topic.name() == name && !topic.is_deleted())
        {
            return Ok(Arc::clone(topic));
        }
        let topic = self.peer.shared.topics.open(name).await;
        let topic = topic.map_err(|error| failure::topic(&error))?;
        self.topic = Some(Arc::clone(&topic));
        Ok(topic)
    }

    /// Waits for a slot for one answer.
    async fn reserve_answer(&self) -> Result<mpsc::OwnedPermit<Packet>, Failure> {
        let slot = self.answers.clone().reserve_owned().await;
        slot.map_err(|_| failure::closing())
    }
}

/// Waits until `len` bytes of a budget are free.
async fn reserve(budget: &Arc<Semaphore>, len: usize) -> Result<OwnedSemaphorePermit, Failure> {
    let len = u32::try_from(len).unwrap_or(u32::MAX);
    let permit = Arc::clone(budget).acquire_many_owned(len).await;
    permit.map_err(|_| failure::closing())
}

/// Writes answers as they come. Those that are ready together go out in one write.
async fn write(
    answers: &mut PacketWriter,
    mut answered: mpsc::Receiver<Packet>,
) -> Result<(), WriteError> {
    while let Some(first) = answered.recv().await {
        packets::put(answers, &first);
        while answers.buffered() < WRITE_BYTES
            && let Ok(next) = answered.try_recv()
        {
            packets::put(answers, &next);
        }
        answers.flush().await?;
    }
    Ok(())
}
