//! After a reconnect: what the broker has stored of what has no answer yet gets its outcome, and is not sent again.
//!
//! ```text
//! link stands ─▶ was anything written before? ─ QueryStored from the oldest ─▶ StoredList: offsets and times ─▶ outcomes
//!                                                                                        lanes write the rest
//! ```
//!
//! Lanes wait for it before they write on a new connection, while their streams are opened and tested, so it seldom
//! costs time of its own. Where the question comes to nothing, everything is sent again, and the broker answers
//! repeats; so it does with a batch that was on its way to the disk when it was asked.

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use futures_util::StreamExt;
use tokio_util::codec::{Encoder, FramedRead};

use crate::producer::{
    Fate, SendError, SendErrorKind, sender::transport::Transport, shared::Shared,
};
use crate::{
    RequestId,
    conn::{CloseCode, ConnectionState, Session},
    ordered_watch, time,
    wire::{FailureCode, Packet, PacketCodec, Stored, StoredEarlier},
};

/// How long the question may take. Behind that, everything is sent again.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest answer.
const MAX_FRAME: usize = 64 * 1024;

/// Follows the connection: the broker's limits count from the moment they are known, what it has stored gets its
/// outcome, and a refusal for good ends the producer with that reason.
pub(in crate::producer) async fn recover_loop(
    shared: Arc<Shared>,
    transport: Transport,
    resumed: ordered_watch::Sender<u64>,
) {
    let mut links = transport.links();
    let stopped = transport.stopped();
    loop {
        let state = links.borrow_and_update().clone();
        match state {
            ConnectionState::Connected(link) => {
                shared.limit(link.connected());
                tokio::select! { biased;
                    () = stopped.cancelled() => return,
                    () = resume(&shared, &link) => {}
                    // Nothing more will come of it.
                    _ = link.connection().closed() => {}
                }
                resumed.send_replace(link.number());
            }
            ConnectionState::Closed(error) => {
                let gone = SendError::new(SendErrorKind::Disconnected, Fate::NotStored)
                    .detail(error.to_string());
                shared.end(&gone);
                return;
            }
            ConnectionState::Connecting { .. } | ConnectionState::Reconnecting { .. } => {}
        }
        tokio::select! { biased;
            () = stopped.cancelled() => return,
            () = links.changed() => {}
        }
    }
}

async fn resume(shared: &Shared, link: &Session) {
    let written = shared.written();
    let Some(&oldest) = written.first() else {
        return;
    };
    if link.connected().producer.is_some_and(|p| p.forgotten) {
        let error = SendError::new(
            SendErrorKind::Refused(FailureCode::OutOfWindow),
            Fate::Unknown,
        )
        .detail("the broker has forgotten what it stored of this producer".to_owned());
        tracing::warn!(batches = written.len(), error = %error, "batches that were sent before may be stored");
        for id in written {
            shared.failed(id, &error);
        }
        return;
    }
    match time::timeout(PATIENCE, recall(shared, link, oldest)).await {
        Ok(Some(stored)) => {
            tracing::debug!(
                stored,
                asked = written.len(),
                "batches that were stored already"
            );
        }
        Ok(None) | Err(_) => tracing::debug!("the broker did not say what it has stored"),
    }
}

/// Asks what is stored, from `from` on, a page at a time; answers how many batches that gave their outcome.
async fn recall(shared: &Shared, link: &Session, mut from: RequestId) -> Option<usize> {
    let (mut writer, reader) = link.try_open_bi().ok()?;
    let mut answers = FramedRead::new(reader, PacketCodec::new(MAX_FRAME));
    let mut frame = BytesMut::new();
    let mut settled = 0;
    loop {
        frame.clear();
        PacketCodec::new(MAX_FRAME)
            .encode(Packet::QueryStored { from }, &mut frame)
            .ok()?;
        writer.write_all(&frame).await.ok()?;
        let Some(Ok(Packet::StoredList(stored))) = answers.next().await else {
            let _ = writer.reset(CloseCode::Done.into());
            return None;
        };
        stored
            .iter()
            .for_each(|at| shared.stored(&answer(at), None));
        settled += stored.len();
        match stored.last() {
            Some(last) if stored.len() >= Packet::MAX_STORED_LIST => from = last.request.next(),
            _ => break,
        }
    }
    // It was written to a moment ago, and is lost with its connection where that fails.
    let _ = writer.finish();
    Some(settled)
}

/// The same as an answer on a lane. How long the broker had it is not known.
const fn answer(at: &StoredEarlier) -> Stored {
    Stored {
        request: at.request,
        base: at.base,
        time: at.time,
        processing_us: 0,
    }
}
