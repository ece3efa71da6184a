//! Sans-I/O: the longest frame that each kind of reader accepts.

use super::kind::Kind;

/// The longest frame, in bytes, that a reader accepts: kind and body, without the four bytes of the length.
///
/// A frame over its reader's limit is an error as soon as its length has arrived, before any memory is reserved for
/// it. The limits differ because a peer that may send only short packets should not be able to make us buffer
/// long ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MaxFrame(usize);

impl MaxFrame {
    /// What a broker reads on a session stream. The longest packet is a `Connect` with a token of 1024 bytes and a
    /// producer name of 200. The client is not authenticated yet, so nothing longer is accepted.
    pub(crate) const SESSION: Self = Self::of(Kind::Connect);

    /// What a client reads on its session stream and on produce streams: one answer at a time, the longest of which is
    /// a `Refused` with its explanation.
    pub(crate) const ANSWER: Self = Self::of(Kind::Refused);

    /// What a client reads after `QueryStored`: one page of stored requests.
    pub(crate) const STORED_LIST: Self = Self::of(Kind::StoredList);

    /// What a client reads after a question about topics: one page of topics is the longest answer.
    pub(crate) const QUESTION: Self = Self::of(Kind::Topics);

    /// What a client reads on a subscription whose batches have at most `max_batch` bytes.
    #[must_use]
    pub(crate) const fn delivery(max_batch: usize) -> Self {
        let delivery = max_batch.saturating_add(super::codec::DELIVERY_OVERHEAD);
        let answer = Self::ANSWER.0;
        Self(if delivery > answer { delivery } else { answer })
    }

    /// What a broker reads on every stream of a client that produces nothing: a `Subscribe` is the longest packet of such a
    /// client. It cannot make the broker buffer batches.
    pub(crate) const REQUEST: Self = Self::of(Kind::Subscribe);

    /// What a broker reads on every stream of a producer but the session: its configured limit, which it announces in
    /// [`Connected::max_frame`](super::Connected::max_frame).
    #[must_use]
    pub(crate) const fn configured(bytes: usize) -> Self {
        Self(bytes)
    }

    /// The number of bytes.
    #[must_use]
    pub(crate) const fn bytes(self) -> usize {
        self.0
    }

    /// The longest frame of a kind that has a limit of its own.
    const fn of(kind: Kind) -> Self {
        match kind.max_body() {
            Some(body) => Self(1 + body),
            None => panic!("the limit of this kind is configured"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_can_read_every_packet_that_may_answer_it() {
        let fits = |kinds: &[Kind], limit: MaxFrame| {
            kinds.iter().all(|kind| MaxFrame::of(*kind).0 <= limit.0)
        };
        let answers = [
            Kind::Connected,
            Kind::Pong,
            Kind::GoAway,
            Kind::Probed,
            Kind::Stored,
            Kind::Refused,
            Kind::Failed,
        ];
        assert!(fits(&answers, MaxFrame::ANSWER));
        assert!(fits(&[Kind::Failed], MaxFrame::STORED_LIST));
        let of_questions = [Kind::Failed, Kind::TopicChanged, Kind::Positions];
        assert!(fits(&of_questions, MaxFrame::QUESTION));
        let on_a_subscription = [
            Kind::Subscribed,
            Kind::Acknowledged,
            Kind::Probed,
            Kind::Failed,
        ];
        assert!(fits(&on_a_subscription, MaxFrame::delivery(0)));
        assert!(fits(&[Kind::Connect, Kind::Ping], MaxFrame::SESSION));
        let of_readers = [
            Kind::Probe,
            Kind::Subscribe,
            Kind::Credit,
            Kind::Acknowledge,
            Kind::ListTopics,
            Kind::ListPositions,
            Kind::ChangeTopic,
            Kind::QueryStored,
        ];
        assert!(fits(&of_readers, MaxFrame::REQUEST));
    }
}
