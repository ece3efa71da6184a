//! Changes of topics that a client asks for, and what it is told of them.

use super::{
    failure::{self, failure},
    shared::Peer,
};
use crate::{
    TopicName,
    store::Trim,
    wire::{Failure, FailureCode, Packet, PositionInfo, TopicChange},
};

/// Carries out a change. Returns the number of messages that were dropped with it.
pub(super) async fn change(
    peer: &Peer,
    topic: &TopicName,
    change: TopicChange,
) -> Result<Packet, Failure> {
    may_administer(peer, topic)?;
    let shared = &peer.shared;
    let address = peer.connection.remote_address();
    let dropped = match change {
        TopicChange::Create(retention) => {
            let created = shared.topics.create(topic, retention).await;
            created.map_err(|error| failure::topic(&error))?;
            0
        }
        TopicChange::Retain(retention) => {
            let changed = shared.store.set_retention(topic, retention).await;
            changed.map_err(|error| failure::store(&error))?;
            0
        }
        TopicChange::Purge => purge(peer, topic).await?,
        TopicChange::Delete => {
            let deleted = shared.topics.delete(topic, &shared.committer).await;
            deleted.map_err(|error| failure::topic(&error))?
        }
    };
    tracing::info!(peer = %address, %topic, ?change, dropped, "topic changed");
    Ok(Packet::TopicChanged { dropped })
}

async fn purge(peer: &Peer, topic: &TopicName) -> Result<u64, Failure> {
    let store = &peer.shared.store;
    let first = async || match store.topic(topic).await {
        Ok(info) => Ok(info.map_or(0, |info| info.first.0)),
        Err(error) => Err(failure::store(&error)),
    };
    let before = first().await?;
    let all = Trim {
        max_bytes: Some(0),
        ..Trim::default()
    };
    let trimmed = store.trim(topic, all).await;
    trimmed.map_err(|error| failure::store(&error))?;
    Ok(first().await?.saturating_sub(before))
}

/// Returns a page of the positions in a topic, for a client that may consume it or change it.
pub(super) async fn positions(
    peer: &Peer,
    topic: &TopicName,
    after: Option<String>,
) -> Result<Packet, Failure> {
    if !peer.permissions.may_consume(topic) {
        may_administer(peer, topic)?;
    }
    let after = after.unwrap_or_default();
    let listed = peer
        .shared
        .store
        .positions(topic, &after, Packet::MAX_POSITIONS);
    let listed = listed.await.map_err(|error| failure::store(&error))?;
    let positions = listed
        .into_iter()
        .map(|(name, next)| PositionInfo { name, next });
    Ok(Packet::Positions(positions.collect()))
}

fn may_administer(peer: &Peer, topic: &TopicName) -> Result<(), Failure> {
    if peer.permissions.may_administer(topic) {
        return Ok(());
    }
    let detail = format!("may not administer {topic}");
    Err(failure(FailureCode::Forbidden, detail))
}
