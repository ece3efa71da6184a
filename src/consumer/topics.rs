//! Which topics there are.

use std::sync::Arc;

use super::{
    ConsumeError,
    packets::{Lost, Packets},
};
use crate::{
    TopicName,
    conn::{Config, OpenError, Session, Supervisor},
    tasks::Tasks,
    time,
    wire::{Packet, TopicInfo},
};

/// The longest answer: a page of topics.
const MAX_ANSWER: usize = 256 << 10;

/// Asks a broker for its topics: those that this client may produce to or consume, by name. It connects for this one
/// question.
///
/// # Errors
/// [`ConsumeError`]: wrong options, no connection, no answer within
/// [`connect_timeout`](Config::connect_timeout), or a refusal.
///
/// # Cancel safety
/// Dropping this leaves nothing behind.
pub async fn list_topics(config: Config) -> Result<Vec<TopicInfo>, ConsumeError> {
    let limit = config.connect_timeout;
    let tasks = Tasks::new();
    let supervisor = Supervisor::start(config, None, &tasks)
        .map_err(|error| ConsumeError::Start(Arc::new(error)))?;
    let link = supervisor
        .wait_connected()
        .await
        .map_err(ConsumeError::Connection)?;
    let asked = time::timeout(limit, ask(&link)).await;
    supervisor.close(limit).await;
    asked.unwrap_or(Err(ConsumeError::TimedOut(limit)))
}

async fn ask(link: &Session) -> Result<Vec<TopicInfo>, ConsumeError> {
    let opened = link.open_bi(std::time::Duration::MAX).await;
    let opened = opened.map_err(|error| match error {
        OpenError::PeerLimit => ConsumeError::Protocol("it allows no stream"),
        OpenError::Lost(_) => lost(Lost::Stream),
    })?;
    let mut stream = Packets::new(opened, MAX_ANSWER);
    let mut topics: Vec<TopicInfo> = Vec::new();
    loop {
        let after = topics.last().map(|topic| topic.name.clone());
        stream.put(&Packet::ListTopics {
            after: after.clone(),
        });
        stream.flush().await.map_err(lost)?;
        match stream.next().await.map_err(lost)? {
            Packet::Topics(page) if page.is_empty() => return Ok(topics),
            Packet::Topics(page) if follows(after.as_ref(), &page) => topics.extend(page),
            Packet::Failed(failure) => return Err(ConsumeError::Refused(failure)),
            _ => return Err(ConsumeError::Protocol("it answers something else")),
        }
    }
}

/// Names only go up, so that the pages have an end.
fn follows(after: Option<&TopicName>, page: &[TopicInfo]) -> bool {
    page.first().map(|topic| &topic.name) > after && page.is_sorted_by(|a, b| a.name < b.name)
}

fn lost(lost: Lost) -> ConsumeError {
    match lost {
        Lost::Stream => ConsumeError::Lost,
        Lost::Sense => ConsumeError::Protocol("it sends what is no packet"),
    }
}
