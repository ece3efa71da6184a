//! A value that changes, told to all who listen, in the order in which they began to wait.
//!
//! As `tokio::sync::watch`, which is inside; but that one wakes its receivers in an order of dice, so the lanes of a producer
//! would take their streams in another order each time a connection stands, and no simulated run could be repeated.

use std::sync::Arc;

use tokio::sync::{Notify, watch};

/// Who tells.
#[derive(Debug)]
pub(crate) struct Sender<T> {
    value: watch::Sender<T>,
    bell: Arc<Notify>,
}

/// Who listens. A clone has heard what this one has.
#[derive(Debug)]
pub(crate) struct Receiver<T> {
    value: watch::Receiver<T>,
    bell: Arc<Notify>,
}

/// A value and who listens to it, who has heard of the first one.
pub(crate) fn channel<T>(first: T) -> (Sender<T>, Receiver<T>) {
    let (told, value) = watch::channel(first);
    let bell = Arc::new(Notify::new());
    let teller = Sender {
        value: told,
        bell: Arc::clone(&bell),
    };
    (teller, Receiver { value, bell })
}

impl<T> Sender<T> {
    /// Puts `value` in the place of the one before.
    pub(crate) fn send_replace(&self, value: T) {
        self.value.send_replace(value);
        self.bell.notify_waiters();
    }
}

impl<T> Receiver<T> {
    /// The value as it is. It may not be held across an await.
    pub(crate) fn borrow(&self) -> watch::Ref<'_, T> {
        self.value.borrow()
    }

    /// As [`borrow`](Self::borrow), and has heard of it.
    pub(crate) fn borrow_and_update(&mut self) -> watch::Ref<'_, T> {
        self.value.borrow_and_update()
    }

    /// Waits for a value that this one has not heard of, and has heard of it then. Where nobody tells any more, it waits for
    /// good.
    ///
    /// Cancel safe: what it was dropped before, the next call hears of.
    pub(crate) async fn changed(&mut self) {
        loop {
            // Before the look: what is told between the two rings it.
            let rung = self.bell.notified();
            if self.value.borrow().has_changed() {
                self.value.mark_unchanged();
                return;
            }
            rung.await;
        }
    }

    /// Waits until `is_so` holds of the value.
    pub(crate) async fn wait_for(&mut self, is_so: impl Fn(&T) -> bool) {
        while !is_so(&self.borrow_and_update()) {
            self.changed().await;
        }
    }

    /// The same, for those outside.
    pub(crate) fn as_watch(&self) -> watch::Receiver<T> {
        self.value.clone()
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self {
            value: self.value.clone(),
            bell: Arc::clone(&self.bell),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::FutureExt;

    use super::*;
    use crate::tasks::Tasks;

    #[tokio::test]
    async fn all_who_wait_are_told_in_the_order_in_which_they_began() {
        let (teller, listener) = channel(0);
        let tasks = Tasks::new();
        for told in 1..=20 {
            let woken = Arc::new(Mutex::new(Vec::new()));
            for i in 0..16 {
                let (mut listener, woken) = (listener.clone(), Arc::clone(&woken));
                tasks.spawn(async move {
                    listener.wait_for(|&value| value == told).await;
                    woken.lock().unwrap().push(i);
                });
            }
            tokio::task::yield_now().await;
            teller.send_replace(told);
            tokio::task::yield_now().await;
            assert_eq!(*woken.lock().unwrap(), (0..16).collect::<Vec<_>>());
        }
    }

    #[tokio::test]
    async fn what_is_told_before_the_wait_is_heard_once() {
        let (teller, mut listener) = channel(0);
        teller.send_replace(1);
        listener.changed().await;
        assert_eq!(*listener.borrow(), 1);
        assert_eq!(listener.changed().now_or_never(), None);
        teller.send_replace(2);
        drop(teller);
        assert_eq!(listener.changed().now_or_never(), Some(()), "the last word");
        assert_eq!(listener.changed().now_or_never(), None);
    }
}
