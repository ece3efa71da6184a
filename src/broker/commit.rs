//! The group committer: the one place that appends.
//!
//! ```text
//! stream ─┐
//! stream ─┼─▶ queue (bounded) ─▶ committer ─▶ Store::append(group) ─▶ answers to each stream
//! stream ─┘        the next group gathers here meanwhile              ends of topics to their readers
//! ```
//!
//! While the store makes one group durable, the next one gathers by itself: under load groups grow, without
//! load nobody waits. The queue is first in, first out, so what one stream submits is appended in that order.
//! It is bounded in bytes and batches: a slow store makes [`Committer::submit`] wait, with it the stream's
//! reader, and through QUIC's flow control the producer.
//!
//! Where nobody commits and nothing waits, the stream that submits commits its batch itself, and a store that answers
//! at once is waited for by nobody: the committer's task is one that a single message need not pass. What the
//! store does not answer at once, the task takes over.

use std::{
    fmt,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Instant,
};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::{
    config::Limits,
    group::{Answered, Group, Job, Waiting},
    store::{Append, Appended, Store, StoreError, StoreState},
};
use crate::{Timestamp, metrics::broker as metrics, tasks::Tasks, time};

/// The way to the committer, for every stream.
#[derive(Debug, Clone)]
pub(super) struct Committer {
    queue: mpsc::Sender<Item>,
    bytes: Arc<Semaphore>,
    desk: Arc<Desk>,
}

/// What goes through the queue.
#[derive(Debug)]
enum Item {
    Batch(Job, OwnedSemaphorePermit),
    /// A group was begun that is to be seen through.
    Begun,
}

/// The committer has ended.
#[derive(Debug)]
pub(super) struct Ended;

impl Committer {
    /// Starts the committer. It ends when every clone of the answer is dropped and the queue is empty, or, when
    /// `tasks` is told to stop, behind the group it is at.
    pub(super) fn start(store: Arc<dyn Store>, limits: &Limits, tasks: &Tasks) -> Self {
        let (queue, incoming) = mpsc::channel(limits.commit_queue_batches);
        let desk = Arc::new(Desk {
            queued: AtomicUsize::new(0),
            books: Mutex::new(Books {
                store,
                last: Timestamp(0),
                begun: None,
            }),
        });
        let committing = Committing {
            desk: Arc::clone(&desk),
            incoming,
            group_bytes: limits.commit_group_bytes,
            group_batches: limits.commit_group_batches,
        };
        tasks.spawn(committing.run(tasks.stopped().clone()));
        Self {
            queue,
            bytes: Arc::new(Semaphore::new(limits.commit_queue_bytes)),
            desk,
        }
    }

    /// Hands a batch over, and waits while the queue is full. Where it is stored at once, the answer is returned
    /// instead of sent. Cancel safe: a batch was handed over or was not.
    pub(super) async fn submit(&self, job: Job) -> Result<Option<Answered>, Ended> {
        let len = u32::try_from(job.produce.batch.len()).unwrap_or(u32::MAX);
        let bytes = Arc::clone(&self.bytes).acquire_many_owned(len);
        let bytes = bytes.await.map_err(|_| Ended)?;
        let place = self.queue.reserve().await.map_err(|_| Ended)?;
        // Whoever looks at the queue has the books, or is not counted yet and waits for them.
        if let Ok(mut books) = self.desk.books.try_lock()
            && self.desk.queued.load(Ordering::SeqCst) == 0
        {
            let mut group = Group::at(books.tick());
            group.take(job, bytes);
            return Ok(match books.begin(group) {
                Ok(answers) => answers.into_iter().next(),
                Err(begun) => {
                    books.begun = Some(begun);
                    self.desk.queued.fetch_add(1, Ordering::SeqCst);
                    place.send(Item::Begun);
                    None
                }
            });
        }
        self.desk.queued.fetch_add(1, Ordering::SeqCst);
        place.send(Item::Batch(job, bytes));
        Ok(None)
    }
}

/// Where the task and the streams take turns.
#[derive(Debug)]
struct Desk {
    /// Items in the queue, and those that the task took from it and has not finished. While there are any, nobody
    /// but the task commits: what waits came first.
    queued: AtomicUsize,
    books: Mutex<Books>,
}

/// Who has these, commits.
struct Books {
    store: Arc<dyn Store>,
    /// The time of the last group: the next one is never earlier, whatever the wall clock does.
    last: Timestamp,
    /// A group that the store did not answer at once.
    begun: Option<Begun>,
}
/// A group on its way into the store.
struct Begun {
    appending: BoxFuture<'static, Vec<Result<Appended, StoreError>>>,
    waiting: Vec<Waiting>,
    began: Instant,
}

impl fmt::Debug for Books {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Books")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

impl Books {
    /// The time of the next group.
    fn tick(&mut self) -> Timestamp {
        let wall = u64::try_from(time::wall().as_millis()).unwrap_or(u64::MAX);
        self.last = self.last.max(Timestamp(wall));
        self.last
    }

    /// Gives a group to the store: the answers, where it has them at once.
    fn begin(&self, group: Group) -> Result<Vec<Answered>, Begun> {
        let (appends, waiting) = group.into_parts();
        let mut begun = Begun {
            appending: append(Arc::clone(&self.store), appends).boxed(),
            waiting,
            began: time::now(),
        };
        // Nobody is woken by this look: the task looks again.
        let mut unheard = Context::from_waker(Waker::noop());
        match begun.appending.as_mut().poll(&mut unheard) {
            Poll::Ready(results) => Ok(self.settle(results, begun.waiting, begun.began)),
            Poll::Pending => Err(begun),
        }
    }

    /// Sees a group through, if one was begun, and sends its answers.
    async fn finish(&mut self) {
        let Some(begun) = &mut self.begun else {
            return;
        };
        let results = begun.appending.as_mut().await;
        let Some(begun) = self.begun.take() else {
            return;
        };
        for answer in self.settle(results, begun.waiting, begun.began) {
            answer.send();
        }
    }

    fn settle(
        &self,
        results: Vec<Result<Appended, StoreError>>,
        waiting: Vec<Waiting>,
        began: Instant,
    ) -> Vec<Answered> {
        let now = time::now();
        let took = now.duration_since(began);
        metrics::committed(waiting.len(), took);
        metrics::store_refuses(self.store.state() != StoreState::Ready);
        tracing::trace!(batches = waiting.len(), ?took, "group stored");
        let mut results = results.into_iter();
        let answers = waiting
            .into_iter()
            .map(|job| job.answer(results.next().unwrap_or_else(unanswered), now));
        answers.collect()
    }
}

/// One call of the store. A store that panics has failed, and what it did is not known.
async fn append(store: Arc<dyn Store>, group: Vec<Append>) -> Vec<Result<Appended, StoreError>> {
    let append = AssertUnwindSafe(async { store.append(group).await });
    append.catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!("the store panicked");
        Vec::new()
    })
}

/// The store owed an answer for each batch and gave fewer.
fn unanswered() -> Result<Appended, StoreError> {
    Err(StoreError::Failed("the store gave no answer".to_owned()))
}

/// The task.
struct Committing {
    desk: Arc<Desk>,
    incoming: mpsc::Receiver<Item>,
    group_bytes: usize,
    group_batches: usize,
}

impl Committing {
    async fn run(mut self, stopped: CancellationToken) {
        let desk = Arc::clone(&self.desk);
        // A group that was begun is seen through: cutting off the store's write could leave anything.
        while let Some(Some(first)) = stopped.run_until_cancelled(self.incoming.recv()).await {
            let mut books = desk.books.lock().await;
            books.finish().await;
            let mut group = Group::at(books.tick());
            let items = self.gather(first, &mut group);
            if !group.is_empty() {
                match books.begin(group) {
                    Ok(answers) => answers.into_iter().for_each(Answered::send),
                    Err(begun) => {
                        books.begun = Some(begun);
                        books.finish().await;
                    }
                }
            }
            desk.queued.fetch_sub(items, Ordering::SeqCst);
        }
    }

    /// Takes what is there, up to the size of a group, and answers how many items it took from the queue.
    fn gather(&mut self, first: Item, group: &mut Group) -> usize {
        let mut items = 0;
        let mut next = Some(first);
        while let Some(item) = next {
            items += 1;
            if let Item::Batch(job, bytes) = item {
                group.take(job, bytes);
            }
            let full = group.bytes() >= self.group_bytes || group.len() >= self.group_batches;
            next = (!full).then(|| self.incoming.try_recv().ok()).flatten();
        }
        items
    }
}
