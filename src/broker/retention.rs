//! The task that drops old messages and forgets old producers.

use std::{
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

use super::{config::Retention, shared::Shared, time_check::TimeCheck};
use crate::{
    Offset, Timestamp, TopicName,
    metrics::broker as metrics,
    store::{StoreError, StoreState, Trim},
    time,
};

/// Trims all topics once every [`Retention::every`], until the broker stops.
pub(super) async fn run(shared: Arc<Shared>) {
    let retention = &shared.config.retention;
    let mut told = false;
    look_at_newest(&shared).await;
    loop {
        time::sleep(retention.every).await;
        let by_age = is_clock_believed(&shared);
        if !by_age && !std::mem::replace(&mut told, true) {
            tracing::warn!(
                "the clock is more than a day ahead of the newest message: no message is dropped for its age until a producer's \
                 clock agrees with it, or a day has passed"
            );
        }
        for topic in shared.topics.names() {
            match trim(&shared, retention, &topic, by_age).await {
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

/// Compares the clock with the newest messages of the topics, until one of them agrees.
async fn look_at_newest(shared: &Shared) {
    let mut any = false;
    for topic in shared.topics.names() {
        let newest = match shared.store.topic(&topic).await {
            Ok(Some(info)) if info.next > info.first => Offset(info.next.0 - 1),
            _ => continue,
        };
        // A batch that cannot be read is reported when it is delivered.
        let read = shared.store.read(&topic, newest, 1).await;
        if let Some(batch) = read.ok().and_then(|batches| batches.into_iter().next()) {
            any = true;
            clock(shared).on_time(batch.time, time::timestamp());
            if is_clock_believed(shared) {
                return;
            }
        }
    }
    if !any {
        // There is nothing that could be dropped by mistake.
        let now = time::timestamp();
        clock(shared).on_time(now, now);
    }
}

fn is_clock_believed(shared: &Shared) -> bool {
    clock(shared).is_believed(time::now())
}

fn clock(shared: &Shared) -> MutexGuard<'_, TimeCheck> {
    shared.clock.lock().unwrap_or_else(PoisonError::into_inner)
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
    by_age: bool,
) -> Result<u64, StoreError> {
    let Some(info) = shared.store.topic(topic).await? else {
        return Ok(0);
    };
    let max_age = info.retention.max_age.or(retention.max_age);
    let max_age = max_age.filter(|_| by_age);
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
