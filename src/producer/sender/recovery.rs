//! After a reconnect: what the broker has stored of the batches without an answer gets its outcome, and is not sent again.
//!
//! ```text
//! connected ─▶ was anything written before? ─ QueryStored from the oldest ─▶ StoredList: offsets and times ─▶ outcomes
//!                                                                                          lanes write the rest
//! ```
//!
//! Lanes wait for it before they write on a new connection, while their streams are opened and tested, so it seldom costs
//! time of its own. If the question fails, everything is sent again and the broker answers repeats. The same happens to a
//! batch that was on its way to the disk when the broker was asked.

use std::time::Duration;

use super::{context::LaneContext, requests::Requests};
use crate::{
    RequestId,
    conn::{ConnectionState, Session},
    ordered_watch,
    producer::{Fate, SendError, SendErrorKind},
    time,
    wire::{FailureCode, MaxFrame, Packet, PacketStream, Stored, StoredEarlier},
};

/// How long the question may take. After that, everything is sent again.
const PATIENCE: Duration = Duration::from_secs(5);

/// Follows the connection until the producer ends. The broker's limits apply from the moment they are known, what it has
/// stored gets its outcome, and a final refusal ends the producer with that reason.
pub(crate) async fn recover_loop(context: LaneContext, recovered: ordered_watch::Sender<u64>) {
    let LaneContext {
        accumulator,
        requests,
        run_size,
        transport,
        ..
    } = &context;
    let mut state = transport.state();
    let stopped = transport.stopped();
    loop {
        let seen = state.borrow_and_update().clone();
        match seen {
            ConnectionState::Connected(session) => {
                let limits = session.connected();
                let max_message = accumulator.limit_message(limits.max_message.into());
                run_size.limit_frame(limits.max_frame.into(), max_message);
                tokio::select! { biased;
                    () = stopped.cancelled() => return,
                    () = recover(requests, &session) => {}
                    // There will be no answer.
                    _ = session.connection().closed() => {}
                }
                recovered.send_replace(session.number());
            }
            ConnectionState::Closed(error) => {
                let gone = SendError::new(SendErrorKind::Disconnected, Fate::NotStored)
                    .detail(error.to_string());
                requests.end(&gone);
                return;
            }
            ConnectionState::Connecting { .. } | ConnectionState::Reconnecting { .. } => {}
        }
        tokio::select! { biased;
            () = stopped.cancelled() => return,
            () = state.changed() => {}
        }
    }
}

async fn recover(requests: &Requests, session: &Session) {
    let written = requests.written();
    let Some(&oldest) = written.first() else {
        return;
    };
    if session.connected().producer.is_some_and(|p| p.forgotten) {
        let error = SendError::new(
            SendErrorKind::Refused(FailureCode::OutOfWindow),
            Fate::Unknown,
        )
        .detail("the broker has forgotten what it stored of this producer".to_owned());
        tracing::warn!(batches = written.len(), error = %error, "batches that were sent before may be stored");
        for id in written {
            requests.complete_failed(id, &error);
        }
        return;
    }
    match time::timeout(PATIENCE, query_stored(requests, session, oldest)).await {
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

/// Asks what is stored, from `from` on, a page at a time. Returns how many batches got their outcome.
async fn query_stored(
    requests: &Requests,
    session: &Session,
    mut from: RequestId,
) -> Option<usize> {
    let opened = session.try_open_bi().ok()?;
    let mut stream = PacketStream::new(opened, MaxFrame::STORED_LIST);
    let mut count = 0;
    loop {
        stream.put(&Packet::QueryStored { from }).ok()?;
        stream.flush().await.ok()?;
        let Ok(Some(Packet::StoredList(list))) = stream.next().await else {
            return None;
        };
        for earlier in &list {
            requests.complete_stored(&response(earlier), None);
        }
        count += list.len();
        match list.last() {
            Some(last) if list.len() >= Packet::MAX_STORED_LIST => from = last.request.next(),
            _ => break,
        }
    }
    // It was written a moment ago. If this fails, the stream is lost with its connection.
    let _ = stream.finish().await;
    Some(count)
}

/// Returns the response that a lane would have got. How long the broker worked on it is not known.
const fn response(earlier: &StoredEarlier) -> Stored {
    Stored {
        request: earlier.request,
        base: earlier.base,
        time: earlier.time,
        processing_us: 0,
    }
}
