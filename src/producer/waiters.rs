//! The wakers of receipts that wait for an outcome. Neither a receipt that leaves its waker here nor the thread that wakes
//! them waits for another thread.

use std::{fmt, sync::Arc, task::Waker};

use crate::sync::{AtomicWaker, Ordering, SegQueue, fence};

/// The wakers of the receipts that share an outcome.
pub(crate) enum Waiters {
    /// There is one receipt.
    One(AtomicWaker),
    /// There may be many. Each leaves its place here when it first waits.
    Many(Box<SegQueue<Arc<AtomicWaker>>>),
}

/// Where one receipt keeps its waker; `None` before it waits, and where it is the only one.
pub(crate) type Place = Option<Arc<AtomicWaker>>;

impl Waiters {
    pub(crate) fn one() -> Self {
        Self::One(AtomicWaker::new())
    }

    pub(crate) fn many() -> Self {
        Self::Many(Box::new(SegQueue::new()))
    }

    /// Leaves a receipt's waker in its place. The receipt looks for the outcome afterwards.
    pub(crate) fn register(&self, place: &mut Place, waker: &Waker) {
        match (self, &place) {
            (Self::One(only), _) => only.register(waker),
            (Self::Many(_), Some(place)) => place.register(waker),
            (Self::Many(all), None) => {
                let own = place.insert(Arc::new(AtomicWaker::new()));
                own.register(waker);
                all.push(Arc::clone(own));
            }
        }
        fence(Ordering::SeqCst);
    }

    /// Wakes all receipts. Called after the outcome is there.
    pub(crate) fn wake_all(&self) {
        fence(Ordering::SeqCst);
        match self {
            Self::One(only) => only.wake(),
            Self::Many(all) => std::iter::from_fn(|| all.pop()).for_each(|waiter| waiter.wake()),
        }
    }
}

impl fmt::Debug for Waiters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiters").finish_non_exhaustive()
    }
}
