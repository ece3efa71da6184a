//! A number for each thread that sends, so that it can have a place of its own.

use std::{
    cell::Cell,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

/// The number of places. With more threads than this in one process, some share one.
pub(super) const PLACES: usize = 64;

/// The numbers of the threads of this process.
static NUMBERS: Numbers = Numbers::new();

thread_local! {
    static NUMBER: ThreadNumber<'static> = NUMBERS.take();
    /// A copy, which is read without a look at whether the thread ends.
    static CACHED: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Which numbers threads have.
#[derive(Debug)]
struct Numbers {
    /// Bit `i` is set while a thread has the number `i` for itself.
    taken: AtomicU64,
    /// The number of threads that came while all numbers were taken.
    sharing: AtomicUsize,
}

/// The number of one thread, free again when the thread ends.
#[derive(Debug)]
struct ThreadNumber<'a> {
    numbers: &'a Numbers,
    number: usize,
    /// Whether no other thread has it.
    is_own: bool,
}

impl Numbers {
    const fn new() -> Self {
        Self {
            taken: AtomicU64::new(0),
            sharing: AtomicUsize::new(0),
        }
    }

    /// Takes the least number that is free, so that few threads have small numbers. Without a free one, shares one.
    fn take(&self) -> ThreadNumber<'_> {
        let taken = self
            .taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                (taken != u64::MAX).then(|| taken | (taken + 1))
            });
        let number = match taken {
            Ok(before) => usize::try_from(before.trailing_ones()).unwrap_or(0),
            Err(_) => self.sharing.fetch_add(1, Ordering::Relaxed) % PLACES,
        };
        ThreadNumber {
            numbers: self,
            number,
            is_own: taken.is_ok(),
        }
    }
}

impl Drop for ThreadNumber<'_> {
    fn drop(&mut self) {
        if self.is_own {
            let bit = 1 << self.number;
            self.numbers.taken.fetch_and(!bit, Ordering::Relaxed);
        }
    }
}

/// Returns the number of this thread, less than [`PLACES`].
#[inline]
pub(super) fn get() -> usize {
    CACHED.get().unwrap_or_else(|| {
        // A thread that ends already shares the first place.
        let number = NUMBER.try_with(|own| own.number).unwrap_or(0);
        CACHED.set(Some(number));
        number
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_64_threads_has_a_number_of_its_own_and_leaves_it_to_the_next() {
        let numbers = Numbers::new();
        let mut threads: Vec<_> = (0..PLACES).map(|_| numbers.take()).collect();
        let taken: Vec<_> = threads.iter().map(|thread| thread.number).collect();
        assert_eq!(taken, (0..PLACES).collect::<Vec<_>>());
        let shared = [numbers.take(), numbers.take()];
        assert_eq!([shared[0].number, shared[1].number], [0, 1]);
        drop(shared);
        threads.remove(7);
        let next = numbers.take();
        assert_eq!((next.number, next.is_own), (7, true));
        assert!(!numbers.take().is_own);
    }

    #[test]
    fn a_thread_keeps_its_number() {
        assert_eq!(get(), get());
    }
}
