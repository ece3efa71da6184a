//! A stream that consumes.
//!
//! ```text
//! client ─ Credit ──────▶ granted ───┐
//!          Acknowledge ─▶ requested ─┼─▶ Store::set_position ─▶ stored ─┐
//!                                    ▼                                  ▼
//! topic's end ──────────▶ Store::read in chunks ─▶ deliveries ─▶ the one writer ─▶ client
//! ```
//!
//! Three futures in one task: one reads packets, one stores positions, one writes. They share only the newest credit
//! and the newest positions, so acknowledgements that come faster than the store takes them are merged.

use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc};

use quinn::WriteError;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    failure::{self, failure},
    packets::{self, RequestReader, StreamEnd},
    reader_registry::{Fenced, ReaderLease},
    shared::Peer,
    topic::Topic,
    topic_reader::TopicReader,
};
use crate::{
    Offset, TopicIdentity,
    metrics::broker as metrics,
    store::{Store, StoreError},
    wire::{
        Batch, Failure, FailureCode, Packet, PacketWriter, ResumePoint, Start, Subscribe,
        Subscribed, TopicInfo,
    },
};

/// Probes whose answer may wait to be written. Further packets are not read meanwhile.
const MAX_PROBES: usize = 8;

/// Serves a subscription until the client finishes its half.
pub(super) async fn run(
    peer: &Peer,
    requests: &mut RequestReader,
    answers: &mut PacketWriter,
    subscribe: Subscribe,
) -> StreamEnd {
    let Ok(_permit) = Arc::clone(&peer.shared.subscriptions).try_acquire_owned() else {
        let most = peer.shared.config.limits.subscriptions;
        let detail = format!("there are {most} subscriptions already");
        return Ok(Err(failure(FailureCode::Limit, detail)));
    };
    let subscription = match Subscription::open(peer, subscribe).await {
        Ok(subscription) => subscription,
        Err(failure) => return Ok(Err(failure)),
    };
    tracing::debug!(
        topic = %subscription.topic.name(), name = subscription.named.as_ref().map(|named| &*named.name), next = %subscription.next,
        "subscribed"
    );
    let _counted = metrics::subscription();
    serve(peer, requests, answers, subscription).await
}

/// A subscription that is accepted and not yet served.
struct Subscription {
    topic: Arc<Topic>,
    named: Option<Named>,
    credit: u64,
    /// The offset that it begins with.
    next: Offset,
    /// The topic's end.
    end: Offset,
    identity: TopicIdentity,
}

/// The name of a subscription, and the right to read under it.
struct Named {
    name: String,
    lease: ReaderLease,
}

impl Subscription {
    async fn open(peer: &Peer, subscribe: Subscribe) -> Result<Self, Failure> {
        if !peer.permissions.may_consume(&subscribe.topic) {
            let detail = format!("may not consume {}", subscribe.topic);
            return Err(failure(FailureCode::Forbidden, detail));
        }
        let store = &peer.shared.store;
        let failed = |error: StoreError| failure::store(&error);
        let opened = peer.shared.topics.find(&subscribe.topic).await;
        let topic = opened.map_err(|error| failure::topic(&error))?;
        let info = store.topic(topic.name()).await.map_err(failed)?;
        let Some(info) = info.filter(|_| !topic.is_deleted()) else {
            return Err(failure::store(&StoreError::UnknownTopic));
        };
        let (first, end) = (info.first, info.next);
        topic.advance(end);
        if let Start::Resume(point) = subscribe.from {
            check_resume(&**store, &topic, &info, point).await?;
        }
        let position = match &subscribe.name {
            Some(name) => store.position(topic.name(), name).await.map_err(failed)?,
            None => None,
        };
        let next = match (subscribe.from, position) {
            (Start::Resume(point), _) => point.offset,
            (_, Some(position)) if position > end => {
                // The topic has lost its last messages. What is stored at those offsets now is new to this reader.
                tracing::warn!(topic = %topic.name(), %position, %end, "a stored position is beyond the topic's end");
                end
            }
            (_, Some(position)) => position,
            (Start::Earliest, None) => first,
            (Start::Latest, None) => end,
            (Start::Offset(next), None) => next,
        };
        if next > end {
            return Err(out_of_range(next, end));
        }
        let next = next.max(first);
        let named = match subscribe.name {
            None => None,
            Some(name) => {
                let stored = match position {
                    Some(position) => position,
                    None => {
                        // Store a position now: this is where the name resumes, and retention keeps what follows.
                        let set = store.set_position(topic.name(), &name, next).await;
                        set.map_err(failed)?;
                        next
                    }
                };
                let address = peer.connection.remote_address();
                let readers = &peer.shared.readers;
                let place = (info.identity, name.clone());
                let lease = readers.acquire(place, subscribe.reader, address, stored);
                let lease = lease.map_err(|Fenced { by }| fenced(&name, by))?;
                Some(Named { name, lease })
            }
        };
        Ok(Self {
            topic,
            named,
            credit: subscribe.credit,
            next,
            end,
            identity: info.identity,
        })
    }
}

/// Checks that an offset at which a reader stopped is still an offset of the same messages.
async fn check_resume(
    store: &dyn Store,
    topic: &Topic,
    info: &TopicInfo,
    point: ResumePoint,
) -> Result<(), Failure> {
    let replaced = |why: &str| {
        let detail = format!("topic {} is not the one that was read: {why}", topic.name());
        Err(failure(FailureCode::TopicReplaced, detail))
    };
    if point.topic != info.identity {
        return replaced("it was deleted and made again, or the broker's log began anew");
    }
    if point.offset > info.next {
        return replaced("it ends before what was read; the log was restored from an earlier copy");
    }
    let (Some(checksum), Some(last)) = (point.checksum, point.offset.0.checked_sub(1)) else {
        return Ok(());
    };
    // What cannot be read is reported when it is to be delivered.
    let read = store.read(topic.name(), Offset(last), 1).await;
    let read = read.unwrap_or_default();
    let batch = read.first().filter(|batch| batch.base.0 <= last);
    match batch.map(|batch| Batch::stated_checksum(&batch.batch)) {
        Some(found) if found != checksum => {
            replaced("it holds other messages; the log was restored from an earlier copy")
        }
        _ => Ok(()),
    }
}

/// The failure of a reader whose name has a later reader.
fn fenced(name: &str, by: SocketAddr) -> Failure {
    let detail = format!("a later reader of the name {name:?} has taken over, from {by}");
    failure(FailureCode::Fenced, detail)
}

fn out_of_range(offset: Offset, end: Offset) -> Failure {
    let detail = format!("{offset} is beyond the topic's end at {end}");
    failure(FailureCode::OffsetOutOfRange, detail)
}

async fn serve(
    peer: &Peer,
    requests: &mut RequestReader,
    answers: &mut PacketWriter,
    subscription: Subscription,
) -> StreamEnd {
    let Subscription {
        topic,
        named,
        credit,
        next,
        end,
        identity,
    } = subscription;
    let subscribed = Packet::Subscribed(Subscribed {
        next,
        end,
        topic: identity,
        reader: named.as_ref().map_or(0, |named| named.lease.reader),
    });
    packets::put(answers, &subscribed);
    answers.flush().await?;

    let (granted, credit) = watch::channel(credit);
    let (requested, to_store) = watch::channel(Offset(0));
    let (stored, positions) = watch::channel(Offset(0));
    let (probed, probes) = mpsc::channel(MAX_PROBES);
    let (ended, end) = oneshot::channel();

    let store = Arc::clone(&peer.shared.store);
    let request_handler = RequestHandler {
        topic: Arc::clone(&topic),
        named: named.is_some(),
        granted,
        requested,
        probed,
    };
    let position_writer = PositionWriter {
        store: Arc::clone(&store),
        topic: Arc::clone(&topic),
        named: named.as_ref(),
    };
    let replaced = replaced(&topic, named.as_ref());
    let chunk = peer.shared.config.limits.read_chunk;
    let reader = TopicReader::new(store, Arc::clone(&topic), next, chunk, credit);
    let control = async move {
        let storing = position_writer.run(to_store, stored);
        let end = tokio::try_join!(request_handler.run(requests), storing).map(|_| ());
        // An error means that the writer has ended already.
        let _ = ended.send(end);
        std::future::pending::<Infallible>().await
    };
    tokio::select! { biased;
        end = write(answers, reader, positions, probes, end, replaced) => end,
        never = control => match never {},
    }
}

/// Waits until the topic is deleted or the name has another subscription. Returns what the client is told.
async fn replaced(topic: &Topic, named: Option<&Named>) -> Failure {
    let superseded = async {
        match named {
            Some(named) => (&named.name, named.lease.superseded().await),
            None => std::future::pending().await,
        }
    };
    tokio::select! { biased;
        () = topic.deleted() => failure(
            FailureCode::TopicReplaced,
            format!("topic {} was deleted", topic.name()),
        ),
        (name, by) = superseded => match by {
            Some(by) => fenced(name, by),
            None => failure(FailureCode::Closing, "the same reader has subscribed again"),
        },
    }
}

/// Handles the client's packets.
struct RequestHandler {
    topic: Arc<Topic>,
    named: bool,
    /// The sum of all credit granted.
    granted: watch::Sender<u64>,
    /// The newest position to be stored.
    requested: watch::Sender<Offset>,
    probed: mpsc::Sender<u64>,
}

impl RequestHandler {
    /// Runs until the client finishes its half. Dropping `requested` then lets the last position be stored.
    async fn run(self, requests: &mut RequestReader) -> Result<(), Failure> {
        while let Some(packet) = requests.next().await? {
            match packet {
                Packet::Credit { bytes } => {
                    self.granted
                        .send_modify(|all| *all = all.saturating_add(bytes));
                }
                Packet::Acknowledge { next } => self.on_acknowledge(next)?,
                Packet::Probe { nonce } => {
                    if self.probed.send(nonce).await.is_err() {
                        return Ok(());
                    }
                }
                _ => {
                    let rule = "only Credit, Acknowledge and Probe are allowed on a subscription";
                    return Err(failure::protocol(rule));
                }
            }
        }
        Ok(())
    }

    fn on_acknowledge(&self, next: Offset) -> Result<(), Failure> {
        if !self.named {
            let rule = "a subscription without a name has no position";
            return Err(failure::protocol(rule));
        }
        let end = *self.topic.end().borrow();
        if next > end {
            return Err(out_of_range(next, end));
        }
        self.requested.send_replace(next);
        Ok(())
    }
}

/// Stores the position of a named subscription.
struct PositionWriter<'a> {
    store: Arc<dyn Store>,
    topic: Arc<Topic>,
    named: Option<&'a Named>,
}

impl PositionWriter<'_> {
    /// Stores the newest requested position, again and again, until no more can come.
    async fn run(
        self,
        mut requested: watch::Receiver<Offset>,
        stored: watch::Sender<Offset>,
    ) -> Result<(), Failure> {
        let Some(Named { name, lease }) = self.named else {
            return Ok(());
        };
        while requested.changed().await.is_ok() {
            let next = *requested.borrow_and_update();
            let mut position = lease.position.lock().await;
            // Once the name has another reader, this one does not move its position.
            if self.topic.is_deleted() || !lease.is_current() {
                return Ok(());
            }
            // A position never goes back: everything before it has been acknowledged.
            if next > *position {
                let set = self.store.set_position(self.topic.name(), name, next).await;
                set.map_err(|error| failure::store(&error))?;
                *position = next;
            }
            drop(position);
            stored.send_replace(next);
        }
        Ok(())
    }
}

/// Writes everything that goes out, one frame at a time: answers before deliveries.
async fn write(
    answers: &mut PacketWriter,
    mut reader: TopicReader,
    mut positions: watch::Receiver<Offset>,
    mut probes: mpsc::Receiver<u64>,
    mut ended: oneshot::Receiver<Result<(), Failure>>,
    replaced: impl Future<Output = Failure>,
) -> StreamEnd {
    let mut replaced = pin!(replaced);
    loop {
        let ready = tokio::select! {
            biased;
            Some(nonce) = probes.recv() => {
                answer(answers, &Packet::Probed { nonce }).await?;
                continue;
            }
            Ok(()) = positions.changed() => {
                let next = *positions.borrow_and_update();
                answer(answers, &Packet::Acknowledged { next }).await?;
                continue;
            }
            failure = &mut replaced => return Ok(Err(failure)),
            end = &mut ended => return Ok(end.unwrap_or(Ok(()))),
            ready = reader.ready() => ready,
        };
        match ready {
            Ok(()) => answers.write_parts(&mut reader.take_frames()).await?,
            Err(failure) => return Ok(Err(failure)),
        }
    }
}

async fn answer(answers: &mut PacketWriter, packet: &Packet) -> Result<(), WriteError> {
    packets::put(answers, packet);
    answers.flush().await
}
