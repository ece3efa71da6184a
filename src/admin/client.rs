//! [`Admin`].

use std::{sync::Arc, time::Duration};

use super::AdminError;
use crate::{
    TopicName,
    conn::{Config, OpenError, Session, Supervisor},
    tasks::Tasks,
    time,
    wire::{
        MaxFrame, Packet, PacketStream, PositionInfo, ReadError, TopicChange, TopicInfo,
        TopicRetention,
    },
};

/// A connection to a broker for questions about its topics. See the [module's front page](super).
///
/// It does not reconnect: after [`AdminError::Lost`], connect again. Dropping it closes the connection.
#[derive(Debug)]
pub struct Admin {
    stream: PacketStream,
    /// How long an answer may take.
    limit: Duration,
    /// Taken by [`Admin::close`].
    supervisor: Option<Supervisor>,
    tasks: Tasks,
}

impl Admin {
    /// Connects to a broker.
    ///
    /// # Errors
    /// [`AdminError`]: wrong options, or no connection within [`connect_timeout`](Config::connect_timeout).
    ///
    /// # Cancel safety
    /// If the future is dropped, nothing keeps running.
    pub async fn connect(config: Config) -> Result<Self, AdminError> {
        let limit = config.connect_timeout;
        let tasks = Tasks::new();
        let supervisor = Supervisor::start(config, None, &tasks)
            .map_err(|error| AdminError::Start(Arc::new(error)))?;
        let session = supervisor.connected().await;
        let session = session.map_err(AdminError::Connection)?;
        let stream = match time::timeout(limit, open(&session)).await {
            Ok(stream) => stream?,
            Err(_) => return Err(AdminError::TimedOut(limit)),
        };
        Ok(Self {
            stream,
            limit,
            supervisor: Some(supervisor),
            tasks,
        })
    }

    /// Returns the topics that this client may produce to, consume or administer, sorted by name.
    ///
    /// # Errors
    /// [`AdminError`].
    ///
    /// # Cancel safety
    /// Not cancel safe: if the future is dropped, connect again before the next question.
    pub async fn topics(&mut self) -> Result<Vec<TopicInfo>, AdminError> {
        let mut topics: Vec<TopicInfo> = Vec::new();
        loop {
            let after = topics.last().map(|topic| topic.name.clone());
            let question = Packet::ListTopics {
                after: after.clone(),
            };
            match self.ask(&question).await? {
                Packet::Topics(page) if page.is_empty() => return Ok(topics),
                Packet::Topics(page) if follows(after.as_ref(), &page, |topic| &topic.name) => {
                    topics.extend(page);
                }
                _ => return Err(UNEXPECTED),
            }
        }
    }

    /// Returns the topic of a name, if it exists and the client may see it.
    ///
    /// # Errors
    /// [`AdminError`].
    ///
    /// # Cancel safety
    /// Not cancel safe, as [`Admin::topics`].
    pub async fn topic(&mut self, name: &TopicName) -> Result<Option<TopicInfo>, AdminError> {
        let topics = self.topics().await?;
        Ok(topics.into_iter().find(|topic| topic.name == *name))
    }

    /// Returns the positions that named consumers have stored in a topic, sorted by name.
    ///
    /// # Errors
    /// [`AdminError`], with [`FailureCode::UnknownTopic`](super::FailureCode::UnknownTopic) if there is no such topic.
    ///
    /// # Cancel safety
    /// Not cancel safe, as [`Admin::topics`].
    pub async fn positions(&mut self, topic: &TopicName) -> Result<Vec<PositionInfo>, AdminError> {
        let mut positions: Vec<PositionInfo> = Vec::new();
        loop {
            let after = positions.last().map(|position| position.name.clone());
            let question = Packet::ListPositions {
                topic: topic.clone(),
                after: after.clone(),
            };
            match self.ask(&question).await? {
                Packet::Positions(page) if page.is_empty() => return Ok(positions),
                Packet::Positions(page) if follows(after.as_ref(), &page, |one| &one.name) => {
                    positions.extend(page);
                }
                _ => return Err(UNEXPECTED),
            }
        }
    }

    /// Creates a topic. With a durable store, it is durable when this returns.
    ///
    /// # Errors
    /// [`AdminError`], with [`FailureCode::TopicExists`](super::FailureCode::TopicExists) if it exists already.
    ///
    /// # Cancel safety
    /// Not cancel safe, as [`Admin::topics`]. The topic may have been created.
    pub async fn create_topic(
        &mut self,
        topic: &TopicName,
        retention: TopicRetention,
    ) -> Result<(), AdminError> {
        let change = TopicChange::Create(retention);
        self.change(topic, change).await.map(|_| ())
    }

    /// Changes what is kept of a topic. The next run of the broker's retention goes by it.
    ///
    /// # Errors
    /// [`AdminError`], with [`FailureCode::UnknownTopic`](super::FailureCode::UnknownTopic) if there is no such topic.
    ///
    /// # Cancel safety
    /// Not cancel safe, as [`Admin::topics`]. The change may have been made.
    pub async fn set_retention(
        &mut self,
        topic: &TopicName,
        retention: TopicRetention,
    ) -> Result<(), AdminError> {
        let change = TopicChange::Retain(retention);
        self.change(topic, change).await.map(|_| ())
    }

    /// Drops all messages of a topic, read or not, and returns their number. Its offsets go on where they are.
    ///
    /// # Errors
    /// [`AdminError`], with [`FailureCode::UnknownTopic`](super::FailureCode::UnknownTopic) if there is no such topic.
    ///
    /// # Cancel safety
    /// Not cancel safe, as [`Admin::topics`]. Messages may have been dropped.
    pub async fn purge_topic(&mut self, topic: &TopicName) -> Result<u64, AdminError> {
        self.change(topic, TopicChange::Purge).await
    }

    /// Deletes a topic with its messages and the positions in it. Returns the number of messages. Its consumers end with
    /// [`FailureCode::TopicReplaced`](super::FailureCode::TopicReplaced). A topic that is made with the same name is another
    /// one, and begins at offset 0.
    ///
    /// # Errors
    /// [`AdminError`], with [`FailureCode::UnknownTopic`](super::FailureCode::UnknownTopic) if there is no such topic.
    ///
    /// # Cancel safety
    /// Not cancel safe, as [`Admin::topics`]. The topic may have been deleted.
    pub async fn delete_topic(&mut self, topic: &TopicName) -> Result<u64, AdminError> {
        self.change(topic, TopicChange::Delete).await
    }

    /// Closes the connection.
    ///
    /// # Cancel safety
    /// Dropping the future drops the connection.
    pub async fn close(mut self) {
        if let Some(supervisor) = self.supervisor.take() {
            supervisor.close(self.limit).await;
        }
    }

    async fn change(&mut self, topic: &TopicName, change: TopicChange) -> Result<u64, AdminError> {
        let question = Packet::ChangeTopic {
            topic: topic.clone(),
            change,
        };
        match self.ask(&question).await? {
            Packet::TopicChanged { dropped } => Ok(dropped),
            _ => Err(UNEXPECTED),
        }
    }

    async fn ask(&mut self, question: &Packet) -> Result<Packet, AdminError> {
        let limit = self.limit;
        let asked = time::timeout(limit, ask(&mut self.stream, question)).await;
        asked.unwrap_or(Err(AdminError::TimedOut(limit)))
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

const UNEXPECTED: AdminError = AdminError::Protocol("it answers something else");

async fn open(session: &Session) -> Result<PacketStream, AdminError> {
    let opened = session.open_bi(Duration::MAX).await;
    let opened = opened.map_err(|error| match error {
        OpenError::PeerLimit => AdminError::Protocol("it allows no stream"),
        OpenError::Lost(_) => AdminError::Lost,
    })?;
    Ok(PacketStream::new(opened, MaxFrame::QUESTION))
}

async fn ask(stream: &mut PacketStream, question: &Packet) -> Result<Packet, AdminError> {
    let put = stream.put(question);
    put.map_err(|_| AdminError::Protocol("a name of its own is too long"))?;
    stream.flush().await.map_err(|_| AdminError::Lost)?;
    match stream.next().await {
        Ok(Some(Packet::Failed(failure))) => Err(AdminError::Refused(failure)),
        Ok(Some(answer)) => Ok(answer),
        Ok(None) | Err(ReadError::Lost(_)) => Err(AdminError::Lost),
        Err(ReadError::Malformed(_)) => Err(AdminError::Protocol("it sends what is no packet")),
    }
}

/// Returns whether a page has only names after `after`, in ascending order. So the number of pages is bounded.
fn follows<T, N: Ord>(after: Option<&N>, page: &[T], name: impl Fn(&T) -> &N) -> bool {
    page.first().map(&name) > after && page.is_sorted_by(|a, b| name(a) < name(b))
}
