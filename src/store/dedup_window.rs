//! Sans-I/O: the requests of one producer that are stored and may be sent again.
//!
//! A producer that got no answer sends the same request again. The dedup window answers it from memory, so that it is not
//! stored twice. The window begins at the producer's low-water mark, below which every request has its outcome, and covers
//! [`MAX_DEDUP_WINDOW`] request ids. It cannot have more entries than that, whatever the producer does.
//!
//! ```text
//!   forgotten │ low ................... low + MAX_DEDUP_WINDOW │ too far ahead
//!  OutOfWindow│ New, Repeat(the first answer), or Differs      │ OutOfWindow
//! ```
//!
//! Each entry has the topic and the checksum of its batch, so that a request that comes again with another batch is refused
//! and not answered as stored.
//!
//! A change is collected in a [`DedupTxn`] and applied after the batches it belongs to have been written.

use std::collections::BTreeMap;

use super::Appended;
use crate::{RequestId, wire::Batch};

/// The number of request ids that a window covers, from its low-water mark on.
pub const MAX_DEDUP_WINDOW: u64 = 65_536;

/// The state of a request in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DedupCheck {
    /// The request has not been stored.
    New,
    /// The request has been stored, with this answer.
    Repeat(Appended),
    /// The request has been stored with another batch, or in another topic.
    Differs,
    /// The request is below the low-water mark or too far above it, so its state is unknown.
    OutOfWindow,
}

/// What a request asks to store: the number of its topic, and the checksum that its batch begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequestContent {
    /// The number of the topic in its store.
    pub topic: u32,
    /// The first four bytes of the batch.
    pub checksum: u32,
}

impl RequestContent {
    /// Returns the content of a request for `topic` with this batch.
    #[must_use]
    pub fn of(topic: u32, batch: &[u8]) -> Self {
        let checksum = Batch::stated_checksum(batch);
        Self { topic, checksum }
    }
}

/// A request that is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredRequest {
    /// Where its batch was stored.
    pub appended: Appended,
    /// What it asked to store.
    pub content: RequestContent,
}

/// The requests of one producer that are stored and may be sent again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DedupWindow {
    low: RequestId,
    stored: BTreeMap<RequestId, StoredRequest>,
}

impl DedupWindow {
    /// Returns an empty window that begins at `low`.
    #[must_use]
    pub fn new(low: RequestId) -> Self {
        Self {
            low,
            stored: BTreeMap::new(),
        }
    }

    /// Returns the low-water mark: the first request that is not forgotten.
    #[must_use]
    pub fn low(&self) -> RequestId {
        self.low
    }

    /// Returns the number of entries, at most [`MAX_DEDUP_WINDOW`].
    #[must_use]
    pub fn len(&self) -> usize {
        self.stored.len()
    }

    /// Returns whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stored.is_empty()
    }

    /// Returns the stored requests in order.
    pub fn requests(&self) -> impl Iterator<Item = RequestId> + '_ {
        self.stored.keys().copied()
    }

    /// Returns the stored requests from `from` on, in order.
    pub fn since(&self, from: RequestId) -> impl Iterator<Item = (RequestId, StoredRequest)> + '_ {
        self.stored
            .range(from..)
            .map(|(request, stored)| (*request, *stored))
    }

    /// Returns the state of `request`, which asks to store `content`. `None`: its topic does not exist.
    #[must_use]
    pub fn check(&self, request: RequestId, content: Option<RequestContent>) -> DedupCheck {
        DedupTxn::of(self).check(request, content)
    }

    /// Adds `request`. Returns `false`, and adds nothing, if it is outside the window.
    pub fn insert(&mut self, request: RequestId, stored: StoredRequest) -> bool {
        let inside = covers(self.low, request);
        if inside {
            self.stored.insert(request, again(stored));
        }
        inside
    }

    /// Removes the requests whose batches were in a topic that is deleted.
    pub fn forget_topic(&mut self, topic: u32) {
        self.stored
            .retain(|_, stored| stored.content.topic != topic);
    }

    /// Raises the low-water mark to `low` and returns the requests that fell below it. The mark is never lowered.
    pub fn advance(&mut self, low: RequestId) -> Vec<RequestId> {
        if low <= self.low {
            return Vec::new();
        }
        self.low = low;
        let kept = self.stored.split_off(&low);
        let dropped = std::mem::replace(&mut self.stored, kept);
        dropped.into_keys().collect()
    }

    /// Applies a change.
    pub fn apply(&mut self, change: &DedupDelta) {
        self.advance(change.low);
        for (request, stored) in &change.added {
            self.insert(*request, *stored);
        }
    }
}

/// A change of a window that is being collected. The window itself stays as it is.
///
/// The batches of a group are checked against the transaction, so that the second of two equal requests in a group is a
/// repeat, while the window does not change before the group is written.
#[derive(Debug)]
pub struct DedupTxn<'a> {
    window: &'a DedupWindow,
    low: RequestId,
    added: BTreeMap<RequestId, StoredRequest>,
}

impl<'a> DedupTxn<'a> {
    /// Returns a transaction without changes.
    #[must_use]
    pub fn of(window: &'a DedupWindow) -> Self {
        Self {
            window,
            low: window.low,
            added: BTreeMap::new(),
        }
    }

    /// Raises the low-water mark as [`DedupWindow::advance`] does, and returns the number of entries that fall out.
    pub fn advance(&mut self, low: RequestId) -> usize {
        if low <= self.low {
            return 0;
        }
        let stored = self.window.stored.range(self.low..low).count();
        let added = self.added.range(self.low..low).count();
        self.low = low;
        stored + added
    }

    /// Returns the state of `request`, with the changes made so far. `content` is what it asks to store; `None` if its topic
    /// does not exist.
    #[must_use]
    pub fn check(&self, request: RequestId, content: Option<RequestContent>) -> DedupCheck {
        if !covers(self.low, request) {
            return DedupCheck::OutOfWindow;
        }
        let stored = self.added.get(&request);
        match stored.or_else(|| self.window.stored.get(&request)) {
            Some(stored) if content != Some(stored.content) => DedupCheck::Differs,
            Some(stored) => DedupCheck::Repeat(stored.appended),
            None => DedupCheck::New,
        }
    }

    /// Adds `request`, as [`DedupWindow::insert`] does.
    pub fn insert(&mut self, request: RequestId, stored: StoredRequest) {
        if covers(self.low, request) {
            self.added.insert(request, again(stored));
        }
    }

    /// Returns the number of entries with the changes made so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.window.stored.range(self.low..).count() + self.added.range(self.low..).count()
    }

    /// Returns whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns whether `request` was added by this transaction.
    #[must_use]
    pub fn has_drafted(&self, request: RequestId) -> bool {
        self.added.contains_key(&request)
    }

    /// Returns the change, to be written and then applied.
    #[must_use]
    pub fn finish(mut self) -> DedupDelta {
        let added = self.added.split_off(&self.low);
        let dropped = self.window.stored.range(..self.low);
        DedupDelta {
            low: self.low,
            dropped: dropped.map(|(request, _)| *request).collect(),
            added: added.into_iter().collect(),
        }
    }
}

/// A change of a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DedupDelta {
    /// The new low-water mark.
    pub low: RequestId,
    /// The entries that fall below it.
    pub dropped: Vec<RequestId>,
    /// The new entries.
    pub added: Vec<(RequestId, StoredRequest)>,
}

fn covers(low: RequestId, request: RequestId) -> bool {
    request
        .0
        .checked_sub(low.0)
        .is_some_and(|ahead| ahead < MAX_DEDUP_WINDOW)
}

fn again(mut stored: StoredRequest) -> StoredRequest {
    stored.appended.repeat = true;
    stored
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::{Offset, Timestamp};

    const CONTENT: RequestContent = RequestContent {
        topic: 3,
        checksum: 9,
    };

    fn at(base: u64) -> StoredRequest {
        StoredRequest {
            appended: Appended {
                base: Offset(base),
                time: Timestamp(base + 1000),
                repeat: false,
            },
            content: CONTENT,
        }
    }

    fn repeat_of(base: u64) -> DedupCheck {
        DedupCheck::Repeat(again(at(base)).appended)
    }

    #[test]
    fn another_batch_or_topic_under_a_stored_id_is_not_a_repeat() {
        let mut window = DedupWindow::default();
        window.insert(RequestId(3), at(70));
        let other_batch = RequestContent {
            checksum: 8,
            ..CONTENT
        };
        let other_topic = RequestContent {
            topic: 4,
            ..CONTENT
        };
        for other in [Some(other_batch), Some(other_topic), None] {
            assert_eq!(window.check(RequestId(3), other), DedupCheck::Differs);
            assert_eq!(window.check(RequestId(4), other), DedupCheck::New);
        }
        window.forget_topic(4);
        assert_eq!(window.check(RequestId(3), Some(CONTENT)), repeat_of(70));
        window.forget_topic(3);
        assert_eq!(window.check(RequestId(3), Some(CONTENT)), DedupCheck::New);
    }

    #[test]
    fn a_request_is_new_once_and_a_repeat_with_the_first_answer_from_then_on() {
        let mut window = DedupWindow::default();
        assert_eq!(window.check(RequestId(3), Some(CONTENT)), DedupCheck::New);
        assert!(window.insert(RequestId(3), at(70)));
        assert_eq!(window.check(RequestId(3), Some(CONTENT)), repeat_of(70));
        assert_eq!(window.check(RequestId(2), Some(CONTENT)), DedupCheck::New);
    }

    #[test]
    fn below_the_low_water_mark_nobody_can_say() {
        let mut window = DedupWindow::default();
        window.insert(RequestId(3), at(70));
        window.insert(RequestId(5), at(80));
        assert_eq!(window.advance(RequestId(5)), [RequestId(3)]);
        assert_eq!(
            window.check(RequestId(3), Some(CONTENT)),
            DedupCheck::OutOfWindow
        );
        assert_eq!(
            window.check(RequestId(4), Some(CONTENT)),
            DedupCheck::OutOfWindow
        );
        assert_eq!(window.check(RequestId(5), Some(CONTENT)), repeat_of(80));
        assert_eq!(
            window.advance(RequestId(4)),
            [],
            "the mark never moves down"
        );
        assert_eq!(window.low(), RequestId(5));
    }

    #[test]
    fn the_window_ends_max_window_ids_ahead_of_the_mark() {
        let mut window = DedupWindow::new(RequestId(10));
        assert_eq!(
            window.check(RequestId(10 + MAX_DEDUP_WINDOW - 1), Some(CONTENT)),
            DedupCheck::New
        );
        assert_eq!(
            window.check(RequestId(10 + MAX_DEDUP_WINDOW), Some(CONTENT)),
            DedupCheck::OutOfWindow
        );
        assert!(!window.insert(RequestId(10 + MAX_DEDUP_WINDOW), at(1)));
        assert!(!window.insert(RequestId(u64::MAX), at(1)));
        assert!(window.is_empty());
    }

    #[test]
    fn a_draft_sees_its_own_entries_and_leaves_the_window_alone_until_it_is_applied() {
        let mut window = DedupWindow::default();
        window.insert(RequestId(1), at(10));
        let before = window.clone();

        let mut draft = DedupTxn::of(&window);
        draft.insert(RequestId(2), at(20));
        assert_eq!(draft.check(RequestId(2), Some(CONTENT)), repeat_of(20));
        draft.advance(RequestId(2));
        assert_eq!(
            draft.check(RequestId(1), Some(CONTENT)),
            DedupCheck::OutOfWindow
        );
        let change = draft.finish();
        assert_eq!(window, before);

        assert_eq!(change.dropped, [RequestId(1)]);
        window.apply(&change);
        assert_eq!(
            window.check(RequestId(1), Some(CONTENT)),
            DedupCheck::OutOfWindow
        );
        assert_eq!(window.check(RequestId(2), Some(CONTENT)), repeat_of(20));
    }

    /// The simplest window: it remembers every request and applies the rules each time.
    #[derive(Default)]
    struct Model {
        low: u64,
        ever: HashMap<u64, u64>,
    }

    impl Model {
        fn check(&self, request: u64) -> DedupCheck {
            if request < self.low || request - self.low >= MAX_DEDUP_WINDOW {
                return DedupCheck::OutOfWindow;
            }
            self.ever
                .get(&request)
                .map_or(DedupCheck::New, |b| repeat_of(*b))
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Append { request: u64, low: u64 },
        Look(u64),
        EndOfGroup { written: bool },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        // Ids near both ends of the window, so that the edges are tested.
        let id = prop_oneof![
            6 => 0..40u64,
            1 => MAX_DEDUP_WINDOW - 20..MAX_DEDUP_WINDOW + 40,
            1 => Just(u64::MAX)
        ];
        let step = prop_oneof![
            5 => (id.clone(), 0..40u64).prop_map(|(request, low)| Step::Append { request, low }),
            1 => id.prop_map(Step::Look),
            2 => prop::bool::weighted(0.8).prop_map(|written| Step::EndOfGroup { written }),
        ];
        prop::collection::vec(step, 0..60)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn any_history_of_groups_answers_as_a_window_that_never_forgets(steps in steps()) {
            let mut window = DedupWindow::default();
            let (mut model, mut next) = (Model::default(), 0);
            let mut rest = steps.as_slice();
            while !rest.is_empty() {
                // One group: against the transaction, and against a copy of the model that counts if the group is written.
                let mut draft = DedupTxn::of(&window);
                let mut ahead = Model { low: model.low, ever: model.ever.clone() };
                let (mut written, mut fell, mut inserted) = (true, 0, 0);
                while let Some((step, behind)) = rest.split_first() {
                    rest = behind;
                    match step {
                        Step::Append { request, low } => {
                            fell += draft.advance(RequestId(*low));
                            ahead.low = ahead.low.max(*low);
                            let said = draft.check(RequestId(*request), Some(CONTENT));
                            prop_assert_eq!(said, ahead.check(*request));
                            if said == DedupCheck::New {
                                draft.insert(RequestId(*request), at(next));
                                inserted += 1;
                                ahead.ever.insert(*request, next);
                                next += 1;
                            }
                        }
                        Step::Look(request) => {
                            prop_assert_eq!(draft.check(RequestId(*request), Some(CONTENT)), ahead.check(*request));
                        }
                        Step::EndOfGroup { written: w } => {
                            written = *w;
                            break;
                        }
                    }
                }
                let change = draft.finish();
                if written {
                    let held: Vec<_> = window.requests().collect();
                    let before = held.len();
                    let below: Vec<_> = held.into_iter().filter(|r| *r < change.low).collect();
                    prop_assert_eq!(&change.dropped, &below, "every entry is dropped once");
                    window.apply(&change);
                    prop_assert_eq!(window.len() + fell, before + inserted, "the count adds up");
                    model = ahead;
                }
                for request in (0..45).chain(MAX_DEDUP_WINDOW - 25..MAX_DEDUP_WINDOW + 45) {
                    prop_assert_eq!(window.check(RequestId(request), Some(CONTENT)), model.check(request));
                }
                prop_assert!(window.requests().all(|r| r >= window.low()));
            }
        }
    }
}
