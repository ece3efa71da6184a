//! Sans-I/O: the requests that have no answer yet, by request id.
//!
//! Ids are given in order and answered in nearly that order, so the table is a ring: index = id - oldest id. An answered
//! index stays empty until all before it are answered too. The oldest id goes to the broker with each request: the broker
//! may forget everything before it.

use std::collections::VecDeque;

use crate::RequestId;

/// The most ids from the oldest unanswered request to the newest. The broker's dedup window is at least as wide.
pub(crate) const MAX_SPAN: usize = 32_768;

/// The requests without an answer, each by its id.
#[derive(Debug)]
pub(crate) struct InFlight<R> {
    ring: VecDeque<Option<R>>,
    /// The id of the ring's first index.
    low: RequestId,
    /// The number of requests.
    len: usize,
}

impl<R> InFlight<R> {
    pub(crate) const fn new() -> Self {
        Self {
            ring: VecDeque::new(),
            low: RequestId(1),
            len: 0,
        }
    }

    /// Returns whether another request may be registered.
    pub(crate) fn has_room(&self) -> bool {
        self.ring.len() < MAX_SPAN
    }

    /// Returns the number of requests.
    #[cfg(test)]
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Returns the id of the oldest request; the next id where there is none.
    pub(crate) const fn low(&self) -> RequestId {
        self.low
    }

    /// Adds a request, and returns its id, the next one.
    pub(crate) fn register(&mut self, request: R) -> RequestId {
        let id = RequestId(self.low.0 + self.ring.len() as u64);
        self.ring.push_back(Some(request));
        self.len += 1;
        id
    }

    /// Returns a request that has no answer yet.
    pub(crate) fn get_mut(&mut self, id: RequestId) -> Option<&mut R> {
        let index = self.index(id)?;
        self.ring.get_mut(index)?.as_mut()
    }

    /// Removes a request that has its answer. Returns `None` for an id that is not here.
    pub(crate) fn resolve(&mut self, id: RequestId) -> Option<R> {
        let index = self.index(id)?;
        let request = self.ring.get_mut(index)?.take()?;
        self.len -= 1;
        while let Some(None) = self.ring.front() {
            self.ring.pop_front();
            self.low = self.low.next();
        }
        Some(request)
    }

    /// Returns all requests with their ids, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (RequestId, &R)> {
        let low = self.low.0;
        (low..)
            .zip(&self.ring)
            .filter_map(|(id, r)| Some((RequestId(id), r.as_ref()?)))
    }

    fn index(&self, id: RequestId) -> Option<usize> {
        usize::try_from(id.0.checked_sub(self.low.0)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_request_resolves_once_and_the_oldest_is_known(ops in prop::collection::vec(any::<Option<u8>>(), 1..300)) {
            let mut inflight = InFlight::new();
            let mut model = BTreeMap::new();
            let mut next = 1;
            for op in ops {
                match op {
                    None => {
                        let id = inflight.register(next);
                        prop_assert_eq!(id.0, next);
                        model.insert(id, next);
                        next += 1;
                    }
                    Some(back) => {
                        let id = RequestId(next.saturating_sub(u64::from(back)));
                        prop_assert_eq!(inflight.get_mut(id).copied(), model.get(&id).copied());
                        prop_assert_eq!(inflight.resolve(id), model.remove(&id));
                    }
                }
                prop_assert_eq!(inflight.len(), model.len());
                let low = model.keys().next().copied().unwrap_or(RequestId(next));
                prop_assert_eq!(inflight.low(), low);
                let all: Vec<_> = inflight.iter().map(|(id, _)| id).collect();
                prop_assert_eq!(all, model.keys().copied().collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn the_ring_says_when_its_span_is_used_up() {
        let mut inflight = InFlight::new();
        let first = inflight.register(());
        for _ in 1..MAX_SPAN {
            inflight.register(());
        }
        assert!(!inflight.has_room());
        inflight.resolve(RequestId(5));
        assert!(!inflight.has_room(), "the oldest still holds its index");
        inflight.resolve(first);
        assert!(inflight.has_room());
    }
}
