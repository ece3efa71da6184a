//! Lists the topics of a broker.

use std::sync::Arc;

use super::ConsumeError;
use crate::{
    TopicName,
    conn::{Config, OpenError, Session, Supervisor},
    tasks::Tasks,
    time,
    wire::{MaxFrame, Packet, PacketStream, ReadError, TopicInfo},
};

/// Returns the topics of a broker that this client may produce to or consume, sorted by name. Opens a connection of its
/// own, and closes it.
///
/// # Errors
/// [`ConsumeError`]: wrong options, no connection or no answer within
/// [`connect_timeout`](Config::connect_timeout), or a refusal.
///
/// # Cancel safety
/// If the future is dropped, nothing keeps running.
pub async fn list_topics(config: Config) -> Result<Vec<TopicInfo>, ConsumeError> {
    let limit = config.connect_timeout;
    let tasks = Tasks::new();
    let supervisor = Supervisor::start(config, None, &tasks)
        .map_err(|error| ConsumeError::Start(Arc::new(error)))?;
    let session = supervisor
        .connected()
        .await
        .map_err(ConsumeError::Connection)?;
    let asked = time::timeout(limit, ask(&session)).await;
    supervisor.close(limit).await;
    asked.unwrap_or(Err(ConsumeError::TimedOut(limit)))
}

async fn ask(session: &Session) -> Result<Vec<TopicInfo>, ConsumeError> {
    let opened = session.open_bi(std::time::Duration::MAX).await;
    let opened = opened.map_err(|error| match error {
        OpenError::PeerLimit => ConsumeError::Protocol("it allows no stream"),
        OpenError::Lost(_) => ConsumeError::Lost,
    })?;
    let mut stream = PacketStream::new(opened, MaxFrame::TOPICS);
    let mut topics: Vec<TopicInfo> = Vec::new();
    loop {
        let after = topics.last().map(|topic| topic.name.clone());
        let question = Packet::ListTopics {
            after: after.clone(),
        };
        stream.put(&question).expect("the broker's own name");
        stream.flush().await.map_err(|_| ConsumeError::Lost)?;
        let answer = stream.next().await.map_err(lost)?;
        match answer.ok_or(ConsumeError::Lost)? {
            Packet::Topics(page) if page.is_empty() => return Ok(topics),
            Packet::Topics(page) if follows(after.as_ref(), &page) => topics.extend(page),
            Packet::Failed(failure) => return Err(ConsumeError::Refused(failure)),
            _ => return Err(ConsumeError::Protocol("it answers something else")),
        }
    }
}

/// Returns whether a page has only names after `after`, in ascending order. So the number of pages is bounded.
fn follows(after: Option<&TopicName>, page: &[TopicInfo]) -> bool {
    page.first().map(|topic| &topic.name) > after && page.is_sorted_by(|a, b| a.name < b.name)
}

fn lost(error: ReadError) -> ConsumeError {
    match error {
        ReadError::Lost(_) => ConsumeError::Lost,
        ReadError::Malformed(_) => ConsumeError::Protocol("it sends what is no packet"),
    }
}
