//! A watch channel whose receivers wake in the order in which they began to wait.
//!
//! It wraps `tokio::sync::watch`, which wakes its receivers in random order. With that order the lanes of a producer would
//! open their streams in another order after each reconnect, and no simulated run could be repeated.

use std::sync::Arc;

use tokio::sync::{Notify, watch};

/// Publishes a value.
#[derive(Debug)]
pub(crate) struct Sender<T> {
    value: watch::Sender<T>,
    /// Notified after each change. Unlike `watch`, `Notify` wakes its waiters first in, first out.
    changed: Arc<Notify>,
}

/// Reads the latest value and waits for newer ones. A clone has seen what the original has seen.
#[derive(Debug)]
pub(crate) struct Receiver<T> {
    value: watch::Receiver<T>,
    changed: Arc<Notify>,
}

/// Returns a channel that holds `initial`, which the receiver has already seen.
pub(crate) fn channel<T>(initial: T) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = watch::channel(initial);
    let changed = Arc::new(Notify::new());
    let sender = Sender {
        value: sender,
        changed: Arc::clone(&changed),
    };
    let receiver = Receiver {
        value: receiver,
        changed,
    };
    (sender, receiver)
}

impl<T> Sender<T> {
    /// Replaces the value and wakes every waiting receiver.
    pub(crate) fn send_replace(&self, value: T) {
        self.value.send_replace(value);
        self.changed.notify_waiters();
    }
}

impl<T> Receiver<T> {
    /// Returns the latest value. The guard must not be held across an await.
    pub(crate) fn borrow(&self) -> watch::Ref<'_, T> {
        self.value.borrow()
    }

    /// Returns the latest value and marks it as seen. The guard must not be held across an await.
    pub(crate) fn borrow_and_update(&mut self) -> watch::Ref<'_, T> {
        self.value.borrow_and_update()
    }

    /// Waits until there is a value that this receiver has not seen, and marks it as seen. Once the sender is gone and its
    /// last value is seen, it waits forever.
    ///
    /// Cancel safe: a change that is missed because the future was dropped is reported by the next call.
    pub(crate) async fn changed(&mut self) {
        loop {
            // Created before the check, so a change between the check and the await still wakes it.
            let notified = self.changed.notified();
            if self.value.borrow().has_changed() {
                self.value.mark_unchanged();
                return;
            }
            notified.await;
        }
    }

    /// Waits until `condition` holds for the latest value, and marks that value as seen.
    pub(crate) async fn wait_for(&mut self, condition: impl Fn(&T) -> bool) {
        while !condition(&self.borrow_and_update()) {
            self.changed().await;
        }
    }

    /// Returns a tokio watch receiver of the same values, for public interfaces. Its wake-up order is random.
    pub(crate) fn as_watch(&self) -> watch::Receiver<T> {
        self.value.clone()
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self {
            value: self.value.clone(),
            changed: Arc::clone(&self.changed),
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
    async fn all_receivers_are_woken_in_the_order_in_which_they_began_to_wait() {
        let (sender, receiver) = channel(0);
        let tasks = Tasks::new();
        for sent in 1..=20 {
            let woken = Arc::new(Mutex::new(Vec::new()));
            for i in 0..16 {
                let (mut receiver, woken) = (receiver.clone(), Arc::clone(&woken));
                tasks.spawn(async move {
                    receiver.wait_for(|&value| value == sent).await;
                    woken.lock().unwrap().push(i);
                });
            }
            tokio::task::yield_now().await;
            sender.send_replace(sent);
            tokio::task::yield_now().await;
            assert_eq!(*woken.lock().unwrap(), (0..16).collect::<Vec<_>>());
        }
    }

    #[tokio::test]
    async fn a_value_sent_before_the_wait_is_reported_once() {
        let (sender, mut receiver) = channel(0);
        sender.send_replace(1);
        receiver.changed().await;
        assert_eq!(*receiver.borrow(), 1);
        assert_eq!(receiver.changed().now_or_never(), None);
        sender.send_replace(2);
        drop(sender);
        assert_eq!(receiver.changed().now_or_never(), Some(()), "the last one");
        assert_eq!(receiver.changed().now_or_never(), None);
    }
}
