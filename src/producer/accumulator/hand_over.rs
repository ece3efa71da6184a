//! Where threads leave what they have begun, and lanes take it: no thread waits for another one here.
//!
//! ```text
//! thread ─ takes out ─▶ appends ─ puts back ─▶ its place, for one ──▶ a lane, when nothing full is left
//!                           └─ what is full ─▶ the queue of what is full ─▶ a lane
//! ```
//!
//! A thread takes what it has begun out of its place, appends to it, and puts it back. While it is out, the place is empty:
//! a lane that looks there finds nothing and goes on. A lane that takes it leaves the place empty as well: then the thread
//! begins anew. Where several threads share a place, the one that finds it occupied leaves what it has with the full ones.

use crate::sync::{ArrayQueue, AtomicUsize, Ordering, SegQueue};

/// Places for what threads have begun, and the queue of what is full.
#[derive(Debug)]
pub(crate) struct HandOver<B, F> {
    places: Box<[ArrayQueue<B>]>,
    /// The number of places up to the last one that was ever used.
    used: AtomicUsize,
    /// The place at which the next look begins.
    next: AtomicUsize,
    full: SegQueue<F>,
}

impl<B, F> HandOver<B, F> {
    pub(crate) fn new(places: usize) -> Self {
        Self {
            places: (0..places).map(|_| ArrayQueue::new(1)).collect(),
            used: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            full: SegQueue::new(),
        }
    }

    /// Returns the number of places that are looked at.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::SeqCst)
    }

    /// Takes out what was begun at a place.
    #[inline]
    pub(crate) fn take_out(&self, place: usize) -> Option<B> {
        self.places[place].pop()
    }

    /// Puts back what was taken out, or puts there what was begun.
    ///
    /// # Errors
    /// Returns it where another thread has put something there meanwhile.
    #[inline]
    pub(crate) fn put_back(&self, place: usize, begun: B) -> Result<(), B> {
        if place >= self.used.load(Ordering::Relaxed) {
            self.used.fetch_max(place + 1, Ordering::SeqCst);
        }
        self.places[place].push(begun)
    }

    /// Adds what takes no more.
    pub(crate) fn push_full(&self, full: F) {
        self.full.push(full);
    }

    /// Takes what was full first.
    pub(crate) fn pop_full(&self) -> Option<F> {
        self.full.pop()
    }

    /// Takes what was begun at any place, and tells which.
    pub(crate) fn pop_begun(&self) -> Option<(usize, B)> {
        let used = self.used();
        let first = match used {
            0 | 1 => 0,
            _ => self.next.fetch_add(1, Ordering::Relaxed) % used,
        };
        let places = (first..used).chain(0..first);
        places
            .into_iter()
            .find_map(|place| Some((place, self.take_out(place)?)))
    }

    /// Returns whether there is anything that can be taken now.
    pub(crate) fn has_any(&self) -> bool {
        // Written, not only read: a thread that uses a further place either is seen here, or sees what was written before.
        let used = self.used.fetch_max(0, Ordering::SeqCst);
        !self.full.is_empty() || self.places[..used].iter().any(|p| !p.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_is_not_there_and_what_finds_its_place_occupied_comes_back() {
        let hand_over: HandOver<u32, u32> = HandOver::new(4);
        assert!(!hand_over.has_any());
        hand_over.put_back(2, 7).unwrap();
        assert!(hand_over.has_any());
        assert_eq!(hand_over.take_out(2), Some(7));
        assert!(!hand_over.has_any());
        assert_eq!(hand_over.pop_begun(), None);
        hand_over.put_back(2, 8).unwrap();
        assert_eq!(hand_over.put_back(2, 7), Err(7));
        hand_over.push_full(7);
        assert_eq!(
            (hand_over.pop_full(), hand_over.pop_begun()),
            (Some(7), Some((2, 8)))
        );
    }
}
