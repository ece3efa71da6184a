//! Pure: what a producer has had stored, for as long as it may ask again.
//!
//! A producer that got no answer sends the same request again. The window answers it from memory instead of
//! letting it be stored twice. It reaches from the producer's own low-water mark, below which every request
//! has its outcome, over [`MAX_WINDOW`] request ids, so it cannot grow past that many entries whatever the
//! producer does.
//!
//! ```text
//!   forgotten │ low ......................... low + MAX_WINDOW │ too far ahead
//!  OutOfWindow│      New, or Repeat(where it stands)           │ OutOfWindow
//! ```
//!
//! Changes are drafted first and made later, when what they stand for has been written: see [`Draft`].

use std::collections::BTreeMap;

use super::Appended;
use crate::RequestId;

/// How many request ids, from the low-water mark on, a window covers.
pub const MAX_WINDOW: u64 = 65_536;

/// What a window says of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// It has not been stored.
    New,
    /// It has been stored, here.
    Repeat(Appended),
    /// It lies below the low-water mark or too far above it: nobody can say.
    OutOfWindow,
}

/// The requests of one producer that were stored and may come again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Window {
    low: RequestId,
    stored: BTreeMap<RequestId, Appended>,
}

impl Window {
    /// An empty window that begins at `low`.
    #[must_use]
    pub fn new(low: RequestId) -> Self {
        Self {
            low,
            stored: BTreeMap::new(),
        }
    }

    /// The first request that is not forgotten.
    #[must_use]
    pub fn low(&self) -> RequestId {
        self.low
    }

    /// How many entries it holds, at most [`MAX_WINDOW`].
    #[must_use]
    pub fn len(&self) -> usize {
        self.stored.len()
    }

    /// Whether it holds no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stored.is_empty()
    }

    /// The requests it holds, in order.
    pub fn requests(&self) -> impl Iterator<Item = RequestId> + '_ {
        self.stored.keys().copied()
    }

    /// The requests it holds from `from` on, in order, and where they stand.
    pub fn since(&self, from: RequestId) -> impl Iterator<Item = (RequestId, Appended)> + '_ {
        self.stored
            .range(from..)
            .map(|(request, at)| (*request, *at))
    }

    /// What is known of `request`.
    #[must_use]
    pub fn check(&self, request: RequestId) -> Check {
        Draft::of(self).check(request)
    }

    /// Notes that `request` was stored. Requests outside the window are not noted, and answer `false`.
    pub fn insert(&mut self, request: RequestId, appended: Appended) -> bool {
        let inside = covers(self.low, request);
        if inside {
            self.stored.insert(request, again(appended));
        }
        inside
    }

    /// Moves the low-water mark up to `low`, never down, and answers the entries that fell below it.
    pub fn advance(&mut self, low: RequestId) -> Vec<RequestId> {
        if low <= self.low {
            return Vec::new();
        }
        self.low = low;
        let kept = self.stored.split_off(&low);
        let dropped = std::mem::replace(&mut self.stored, kept);
        dropped.into_keys().collect()
    }

    /// Makes a drafted change.
    pub fn apply(&mut self, change: &Change) {
        self.advance(change.low);
        for (request, appended) in &change.added {
            self.insert(*request, *appended);
        }
    }
}

/// A window as it would be, over one that stays as it is.
///
/// A group of batches is checked against the draft, so that a request that stands in the group twice is a
/// repeat of itself, while the window does not move before the group is written.
#[derive(Debug)]
pub struct Draft<'a> {
    window: &'a Window,
    low: RequestId,
    added: BTreeMap<RequestId, Appended>,
}

impl<'a> Draft<'a> {
    /// No change yet.
    #[must_use]
    pub fn of(window: &'a Window) -> Self {
        Self {
            window,
            low: window.low,
            added: BTreeMap::new(),
        }
    }

    /// As [`Window::advance`], but answers only how many entries fall out.
    pub fn advance(&mut self, low: RequestId) -> usize {
        if low <= self.low {
            return 0;
        }
        let stored = self.window.stored.range(self.low..low).count();
        let added = self.added.range(self.low..low).count();
        self.low = low;
        stored + added
    }

    /// As [`Window::check`], with what was drafted.
    #[must_use]
    pub fn check(&self, request: RequestId) -> Check {
        if !covers(self.low, request) {
            return Check::OutOfWindow;
        }
        let stored = self.added.get(&request);
        match stored.or_else(|| self.window.stored.get(&request)) {
            Some(appended) => Check::Repeat(*appended),
            None => Check::New,
        }
    }

    /// As [`Window::insert`].
    pub fn insert(&mut self, request: RequestId, appended: Appended) {
        if covers(self.low, request) {
            self.added.insert(request, again(appended));
        }
    }

    /// Whether `request` was inserted into this draft.
    #[must_use]
    pub fn has_drafted(&self, request: RequestId) -> bool {
        self.added.contains_key(&request)
    }

    /// The change, to be written and then made.
    #[must_use]
    pub fn finish(mut self) -> Change {
        let added = self.added.split_off(&self.low);
        let dropped = self.window.stored.range(..self.low);
        Change {
            low: self.low,
            dropped: dropped.map(|(request, _)| *request).collect(),
            added: added.into_iter().collect(),
        }
    }
}

/// What is to become of a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The low-water mark from now on.
    pub low: RequestId,
    /// Entries that fall below it.
    pub dropped: Vec<RequestId>,
    /// Entries that are new.
    pub added: Vec<(RequestId, Appended)>,
}

fn covers(low: RequestId, request: RequestId) -> bool {
    request
        .0
        .checked_sub(low.0)
        .is_some_and(|ahead| ahead < MAX_WINDOW)
}

fn again(appended: Appended) -> Appended {
    Appended {
        repeat: true,
        ..appended
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::{Offset, Timestamp};

    fn at(base: u64) -> Appended {
        Appended {
            base: Offset(base),
            time: Timestamp(base + 1000),
            repeat: false,
        }
    }

    fn repeat_of(base: u64) -> Check {
        Check::Repeat(Appended {
            repeat: true,
            ..at(base)
        })
    }

    #[test]
    fn a_request_is_new_once_and_a_repeat_with_the_first_answer_from_then_on() {
        let mut window = Window::default();
        assert_eq!(window.check(RequestId(3)), Check::New);
        assert!(window.insert(RequestId(3), at(70)));
        assert_eq!(window.check(RequestId(3)), repeat_of(70));
        assert_eq!(window.check(RequestId(2)), Check::New);
    }

    #[test]
    fn below_the_low_water_mark_nobody_can_say() {
        let mut window = Window::default();
        window.insert(RequestId(3), at(70));
        window.insert(RequestId(5), at(80));
        assert_eq!(window.advance(RequestId(5)), [RequestId(3)]);
        assert_eq!(window.check(RequestId(3)), Check::OutOfWindow);
        assert_eq!(window.check(RequestId(4)), Check::OutOfWindow);
        assert_eq!(window.check(RequestId(5)), repeat_of(80));
        assert_eq!(
            window.advance(RequestId(4)),
            [],
            "the mark never moves down"
        );
        assert_eq!(window.low(), RequestId(5));
    }

    #[test]
    fn the_window_ends_max_window_ids_ahead_of_the_mark() {
        let mut window = Window::new(RequestId(10));
        assert_eq!(window.check(RequestId(10 + MAX_WINDOW - 1)), Check::New);
        assert_eq!(window.check(RequestId(10 + MAX_WINDOW)), Check::OutOfWindow);
        assert!(!window.insert(RequestId(10 + MAX_WINDOW), at(1)));
        assert!(!window.insert(RequestId(u64::MAX), at(1)));
        assert!(window.is_empty());
    }

    #[test]
    fn a_draft_sees_its_own_entries_and_leaves_the_window_alone_until_it_is_applied() {
        let mut window = Window::default();
        window.insert(RequestId(1), at(10));
        let before = window.clone();

        let mut draft = Draft::of(&window);
        draft.insert(RequestId(2), at(20));
        assert_eq!(draft.check(RequestId(2)), repeat_of(20));
        draft.advance(RequestId(2));
        assert_eq!(draft.check(RequestId(1)), Check::OutOfWindow);
        let change = draft.finish();
        assert_eq!(window, before);

        assert_eq!(change.dropped, [RequestId(1)]);
        window.apply(&change);
        assert_eq!(window.check(RequestId(1)), Check::OutOfWindow);
        assert_eq!(window.check(RequestId(2)), repeat_of(20));
    }

    /// The plainest window there is: it remembers everything and asks the rules each time.
    #[derive(Default)]
    struct Model {
        low: u64,
        ever: HashMap<u64, u64>,
    }

    impl Model {
        fn check(&self, request: u64) -> Check {
            if request < self.low || request - self.low >= MAX_WINDOW {
                return Check::OutOfWindow;
            }
            self.ever
                .get(&request)
                .map_or(Check::New, |b| repeat_of(*b))
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Append { request: u64, low: u64 },
        Look(u64),
        EndOfGroup { written: bool },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        // Ids near both ends of the window, so that the edges are met.
        let id = prop_oneof![
            6 => 0..40u64,
            1 => MAX_WINDOW - 20..MAX_WINDOW + 40,
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
            let mut window = Window::default();
            let (mut model, mut next) = (Model::default(), 0);
            let mut rest = steps.as_slice();
            while !rest.is_empty() {
                // One group: against the draft, and on a copy of the model that counts if it was written.
                let mut draft = Draft::of(&window);
                let mut ahead = Model { low: model.low, ever: model.ever.clone() };
                let (mut written, mut fell, mut inserted) = (true, 0, 0);
                while let Some((step, behind)) = rest.split_first() {
                    rest = behind;
                    match step {
                        Step::Append { request, low } => {
                            fell += draft.advance(RequestId(*low));
                            ahead.low = ahead.low.max(*low);
                            let said = draft.check(RequestId(*request));
                            prop_assert_eq!(said, ahead.check(*request));
                            if said == Check::New {
                                draft.insert(RequestId(*request), at(next));
                                inserted += 1;
                                ahead.ever.insert(*request, next);
                                next += 1;
                            }
                        }
                        Step::Look(request) => {
                            prop_assert_eq!(draft.check(RequestId(*request)), ahead.check(*request));
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
                for request in (0..45).chain(MAX_WINDOW - 25..MAX_WINDOW + 45) {
                    prop_assert_eq!(window.check(RequestId(request)), model.check(request));
                }
                prop_assert!(window.requests().all(|r| r >= window.low()));
            }
        }
    }
}
