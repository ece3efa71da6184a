//! A stream that consumes.
//!
//! ```text
//! client ─ Credit ──────▶ granted ─┐
//!          Acknowledge ─▶ wanted ──┼─▶ Store::set_position ─▶ stored ─┐
//!                                  ▼                                  ▼
//! topic's end ────────▶ Store::read in chunks ─▶ deliveries ─▶ the one writer ─▶ client
//! ```
//!
//! Three futures in one task: one reads what the client says, one stores its positions, one writes. They share
//! nothing but the newest credit and the newest positions, so acknowledgements that come faster than the store
//! takes them become one.

use std::{convert::Infallible, sync::Arc};

use quinn::WriteError;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    commit, failure,
    lane::unopened,
    outgoing::Outgoing,
    shared::Peer,
    source::Source,
    stream::{End, Incoming, misplaced},
    topics::Topic,
};
use crate::{
    Offset,
    metrics::broker as metrics,
    store::{Store, StoreError},
    wire::{Failure, FailureCode, Packet, Start, Subscribe},
};

/// Probes whose answer is not written yet; more wait unread.
const PROBES: usize = 8;

/// Serves a subscription until the client ends its half.
pub(super) async fn run(
    peer: &Peer,
    incoming: &mut Incoming,
    outgoing: &mut Outgoing,
    wanted: Subscribe,
) -> End {
    let Ok(_place) = Arc::clone(&peer.shared.subscriptions).try_acquire_owned() else {
        let most = peer.shared.config.limits.subscriptions;
        let detail = format!("there are {most} subscriptions already");
        return Ok(Err(failure(FailureCode::Limit, detail)));
    };
    let start = match Standing::find(peer, wanted).await {
        Ok(start) => start,
        Err(failure) => return Ok(Err(failure)),
    };
    tracing::debug!(topic = %start.topic.name(), name = start.name, next = %start.next, "subscribed");
    let _counted = metrics::subscription();
    serve(peer, incoming, outgoing, start).await
}

/// A subscription that may begin.
struct Standing {
    topic: Arc<Topic>,
    name: Option<String>,
    credit: u64,
    /// The offset it begins with.
    next: Offset,
    /// The topic's end.
    end: Offset,
    /// The named position, as the store has it.
    position: Offset,
}

impl Standing {
    async fn find(peer: &Peer, wanted: Subscribe) -> Result<Self, Failure> {
        if !peer.permissions.may_consume(&wanted.topic) {
            let detail = format!("may not consume {}", wanted.topic);
            return Err(failure(FailureCode::Forbidden, detail));
        }
        let store = &peer.shared.store;
        let stored = |error: StoreError| commit::failure(&error);
        let opened = peer.shared.topics.open(&wanted.topic).await;
        let topic = opened.map_err(|error| unopened(&error))?;
        let info = store.topic(topic.name()).await.map_err(stored)?;
        let (first, end) = info.map_or_else(Default::default, |info| (info.first, info.next));
        topic.advance(end);
        let position = match &wanted.name {
            Some(name) => store.position(topic.name(), name).await.map_err(stored)?,
            None => None,
        };
        let next = match (wanted.from, position) {
            (Start::Resume(next), _) => next,
            (_, Some(position)) if position > end => {
                // The topic has lost its last messages. What comes in their place is new to this reader.
                tracing::warn!(topic = %topic.name(), %position, %end, "a named position lies beyond the end");
                end
            }
            (_, Some(position)) => position,
            (Start::Earliest, None) => first,
            (Start::Latest, None) => end,
            (Start::Offset(next), None) => next,
        };
        if next > end {
            let detail = format!("{next} lies beyond the topic's end at {end}");
            return Err(failure(FailureCode::OffsetOutOfRange, detail));
        }
        let next = next.max(first);
        let position = match (&wanted.name, position) {
            (Some(name), None) => {
                // From now on this reader has a position: where it comes back to, and what retention keeps for it.
                let set = store.set_position(topic.name(), name, next).await;
                set.map_err(stored)?;
                next
            }
            (_, position) => position.unwrap_or_default(),
        };
        Ok(Self {
            topic,
            name: wanted.name,
            credit: wanted.credit,
            next,
            end,
            position,
        })
    }
}

async fn serve(
    peer: &Peer,
    incoming: &mut Incoming,
    outgoing: &mut Outgoing,
    start: Standing,
) -> End {
    outgoing.put(&Packet::Subscribed {
        next: start.next,
        end: start.end,
    });
    outgoing.flush().await?;

    let (granted, credit) = watch::channel(start.credit);
    let (wanted, to_store) = watch::channel(Offset(0));
    let (stored, positions) = watch::channel(Offset(0));
    let (probed, probes) = mpsc::channel(PROBES);
    let (ended, end) = oneshot::channel();

    let store = Arc::clone(&peer.shared.store);
    let listening = Listening {
        topic: Arc::clone(&start.topic),
        named: start.name.is_some(),
        granted,
        wanted,
        probed,
    };
    let positioning = Positioning {
        store: Arc::clone(&store),
        topic: Arc::clone(&start.topic),
        name: start.name,
        position: start.position,
    };
    let chunk = peer.shared.config.limits.read_chunk;
    let source = Source::new(store, start.topic, start.next, chunk, credit);
    let control = async move {
        let positioned = positioning.run(to_store, stored);
        let end = tokio::try_join!(listening.run(incoming), positioned).map(|_| ());
        // The writer hears of it and ends, or has ended already.
        let _ = ended.send(end);
        std::future::pending::<Infallible>().await
    };
    tokio::select! { biased;
        end = write(outgoing, source, positions, probes, end) => end,
        never = control => match never {},
    }
}

/// What the client says.
struct Listening {
    topic: Arc<Topic>,
    named: bool,
    granted: watch::Sender<u64>,
    wanted: watch::Sender<Offset>,
    probed: mpsc::Sender<u64>,
}

impl Listening {
    /// Ends with the client's half of the stream; dropping `wanted` lets the last position be stored.
    async fn run(self, incoming: &mut Incoming) -> Result<(), Failure> {
        while let Some(packet) = incoming.next().await? {
            match packet {
                Packet::Credit { bytes } => {
                    self.granted
                        .send_modify(|all| *all = all.saturating_add(bytes));
                }
                Packet::Acknowledge { next } => self.acknowledge(next)?,
                Packet::Probe { nonce } => {
                    if self.probed.send(nonce).await.is_err() {
                        return Ok(());
                    }
                }
                _ => {
                    let rule = "only Credit, Acknowledge and Probe go on a subscription";
                    return Err(misplaced(rule));
                }
            }
        }
        Ok(())
    }

    fn acknowledge(&self, next: Offset) -> Result<(), Failure> {
        if !self.named {
            return Err(misplaced("a subscription without a name has no position"));
        }
        let end = *self.topic.end().borrow();
        if next > end {
            let detail = format!("{next} lies beyond the topic's end at {end}");
            return Err(failure(FailureCode::OffsetOutOfRange, detail));
        }
        self.wanted.send_replace(next);
        Ok(())
    }
}

/// Keeps the named position.
struct Positioning {
    store: Arc<dyn Store>,
    topic: Arc<Topic>,
    name: Option<String>,
    position: Offset,
}

impl Positioning {
    /// Stores the newest position that is wanted, then the next newest; ends when no more can come.
    async fn run(
        mut self,
        mut wanted: watch::Receiver<Offset>,
        stored: watch::Sender<Offset>,
    ) -> Result<(), Failure> {
        let Some(name) = &self.name else {
            return Ok(());
        };
        while wanted.changed().await.is_ok() {
            let next = *wanted.borrow_and_update();
            // A position never goes back: what lies before it has been acknowledged once.
            if next > self.position {
                let set = self.store.set_position(self.topic.name(), name, next).await;
                set.map_err(|error| commit::failure(&error))?;
                self.position = next;
            }
            stored.send_replace(next);
        }
        Ok(())
    }
}

/// The one writer: answers before deliveries, a frame at a time.
async fn write(
    outgoing: &mut Outgoing,
    mut source: Source,
    mut positions: watch::Receiver<Offset>,
    mut probes: mpsc::Receiver<u64>,
    mut ended: oneshot::Receiver<Result<(), Failure>>,
) -> Result<Result<(), Failure>, WriteError> {
    loop {
        let ready = tokio::select! {
            biased;
            Some(nonce) = probes.recv() => {
                outgoing.put(&Packet::Probed { nonce });
                outgoing.flush().await?;
                continue;
            }
            Ok(()) = positions.changed() => {
                let next = *positions.borrow_and_update();
                outgoing.put(&Packet::Acknowledged { next });
                outgoing.flush().await?;
                continue;
            }
            end = &mut ended => return Ok(end.unwrap_or(Ok(()))),
            ready = source.ready() => ready,
        };
        match ready {
            Ok(()) => outgoing.write(&mut source.gather()).await?,
            Err(failure) => return Ok(Err(failure)),
        }
    }
}
