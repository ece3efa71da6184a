//! The task that drops old messages and forgets old producers.

use std::{sync::Arc, time::Duration};

use super::{config::Retention, shared::Shared};
use crate::{
    Timestamp, TopicName,
    metrics::broker as metrics,
    store::{StoreError, StoreState, Trim},
    time,
};

/// Trims all topics once every [`Retention::every`], until the broker stops.
pub(super) async fn run(shared: Arc<Shared>) {
    let retention = &shared.config.retention;
    loop {
        time::sleep(retention.every).await;
        for topic in shared.topics.names() {
            match trim(&shared, retention, &topic).await {
                Ok(0) => {}
                Ok(bytes) => {
                    metrics::trimmed(bytes);
                    tracing::info!(%topic, bytes, "retention dropped batches");
                }
                Err(error) => tracing::warn!(%topic, %error, "retention failed"),
            }
        }
        metrics::store_read_only(shared.store.state() != StoreState::Ready);
        keep_connected(&shared).await;
        match shared
            .store
            .forget_producers(retention.producer_memory)
            .await
        {
            Ok(0) => {}
            Ok(producers) => tracing::info!(producers, "producers forgotten"),
            Err(error) => tracing::warn!(%error, "producers could not be forgotten"),
        }
    }
}

/// Registers connected producers again, so that they are not forgotten even if they send nothing for a long time.
async fn keep_connected(shared: &Shared) {
    for identity in shared.producers.connected() {
        // The store writes nothing for a producer that it knows. If the producer is fenced, its session is about to end.
        if let Err(error) = shared.store.register_producer(&identity).await {
            tracing::debug!(name = identity.name, %error, "a connected producer could not be registered");
        }
    }
}

async fn trim(
    shared: &Shared,
    retention: &Retention,
    topic: &TopicName,
) -> Result<u64, StoreError> {
    let Some(info) = shared.store.topic(topic).await? else {
        return Ok(0);
    };
    let max_age = info.retention.max_age.or(retention.max_age);
    let max_bytes = info.retention.max_bytes.or(retention.max_bytes);
    if max_age.is_none() && max_bytes.is_none() {
        return Ok(0);
    }
    let millis = |time: Duration| Timestamp(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    let now = time::unix_time();
    let trim = Trim {
        older_than: max_age.map(|age| millis(now.saturating_sub(age))),
        now: Some(millis(now)),
        max_bytes,
        keep_from: None,
        keep_unread: retention.keep_unread,
    };
    shared.store.trim(topic, trim).await
}
