//! One stream: its first packets decide how it is served.
//!
//! ```text
//! Probe, QueryStored               are answered, and the next packet decides
//! ListTopics, ListPositions,
//! ChangeTopic                      likewise
//! Produce                          makes it a produce stream
//! Subscribe                        makes it a subscription
//! anything else                    is answered by Failed, and the stream ends
//! ```

use std::sync::Arc;

use super::{
    failure,
    packets::{self, RequestReader, StreamEnd},
    produce_stream,
    shared::Peer,
    subscription, topic_admin,
};
use crate::{
    RequestId, TopicName,
    wire::{Failure, Packet, PacketWriter, StoredEarlier},
};

/// Serves one stream to its end.
pub(super) async fn serve(peer: Arc<Peer>, send: quinn::SendStream, recv: quinn::RecvStream) {
    let mut requests = RequestReader::new(Arc::clone(&peer), recv);
    let mut answers = PacketWriter::new(send);
    let address = peer.connection.remote_address();
    match dispatch(&peer, &mut requests, &mut answers).await {
        Ok(Ok(())) => {}
        Ok(Err(failure)) => {
            tracing::debug!(peer = %address, code = ?failure.code, reason = %failure.detail, "stream failed");
            packets::put(&mut answers, &Packet::Failed(failure));
            requests.stop();
        }
        Err(error) => return tracing::debug!(peer = %address, %error, "stream lost"),
    }
    if let Err(error) = answers.close().await {
        tracing::debug!(peer = %address, %error, "stream lost");
    }
}

async fn dispatch(
    peer: &Arc<Peer>,
    requests: &mut RequestReader,
    answers: &mut PacketWriter,
) -> StreamEnd {
    loop {
        let packet = match requests.next().await {
            Ok(Some(packet)) => packet,
            Ok(None) => return Ok(Ok(())),
            Err(failure) => return Ok(Err(failure)),
        };
        let answer = match packet {
            Packet::Produce(first) => {
                return produce_stream::run(peer, requests, answers, first).await;
            }
            Packet::Subscribe(subscribe) => {
                return subscription::run(peer, requests, answers, subscribe).await;
            }
            Packet::Probe { nonce } => Ok(Packet::Probed { nonce }),
            Packet::QueryStored { from } => {
                stored_requests(peer, from).await.map(Packet::StoredList)
            }
            Packet::ListTopics { after } => list_topics(peer, after).await,
            Packet::ListPositions { topic, after } => {
                topic_admin::positions(peer, &topic, after).await
            }
            Packet::ChangeTopic { topic, change } => {
                topic_admin::change(peer, &topic, change).await
            }
            _ => Err(failure::protocol(
                "a stream begins with Produce, Subscribe, Probe or a question",
            )),
        };
        match answer {
            Ok(answer) => packets::put(answers, &answer),
            Err(failure) => return Ok(Err(failure)),
        }
        answers.flush().await?;
    }
}

/// Returns which of the client's own requests, from `from` on, are stored.
async fn stored_requests(peer: &Peer, from: RequestId) -> Result<Vec<StoredEarlier>, Failure> {
    let Some(producer) = peer.producer else {
        return Err(failure::protocol(
            "the session has no producer whose requests these could be",
        ));
    };
    let store = &peer.shared.store;
    let stored = store
        .stored_requests(producer, from, Packet::MAX_STORED_LIST)
        .await
        .map_err(|error| failure::store(&error))?;
    let stored = stored.into_iter().map(|(request, at)| StoredEarlier {
        request,
        base: at.base,
        time: at.time,
    });
    Ok(stored.collect())
}

async fn list_topics(peer: &Peer, after: Option<TopicName>) -> Result<Packet, Failure> {
    let topics = &peer.shared.topics;
    let page = topics.list(after, |name| peer.permissions.may_see(name));
    page.await
        .map(Packet::Topics)
        .map_err(|error| failure::store(&error))
}
