//! Sans-I/O: how many bytes of deliveries a consumer lets the broker send.
//!
//! The window limits the bytes between the broker and the application. The broker spends credit as it sends. The
//! consumer grants it again as the application takes messages, in quarters of the window, so that it does not send a
//! packet for every small message.
//!
//! The broker sends while any credit is left, so it may overdraw by the rest of one batch. This lets a batch through that
//! is larger than the window. So less than the window and one batch are held.

/// The credit of one consumer.
#[derive(Debug, Clone)]
pub(super) struct Credit {
    window: u64,
    /// Bytes delivered and not yet taken by the application.
    held: u64,
    /// Bytes taken, to be granted again.
    due: u64,
    /// Bytes held beyond the window when the subscription began. They are not granted again when they are taken.
    debt: u64,
}

impl Credit {
    /// Creates the credit of a new consumer, with nothing granted.
    pub(super) fn new(window: u64) -> Self {
        Self {
            window,
            held: 0,
            due: 0,
            debt: 0,
        }
    }

    /// A new subscription begins, and earlier grants are void. Returns the credit that it starts with: the window without
    /// what the application has not taken yet.
    pub(super) fn on_subscribe(&mut self) -> u64 {
        self.due = 0;
        self.debt = self.held.saturating_sub(self.window);
        self.window.saturating_sub(self.held)
    }

    /// A batch of `bytes` was delivered. Returns `false` if the broker had no credit left for it.
    pub(super) fn on_delivery(&mut self, bytes: u64) -> bool {
        let had_credit = self.held.saturating_add(self.due) < self.window.saturating_add(self.debt);
        self.held = self.held.saturating_add(bytes);
        had_credit
    }

    /// The application has taken `bytes` that were delivered.
    pub(super) fn on_taken(&mut self, bytes: u64) {
        let paid = self.debt.min(bytes);
        self.debt -= paid;
        self.due = self.due.saturating_add(bytes - paid);
        self.held = self.held.saturating_sub(bytes);
    }

    /// Returns the credit to grant now, or `None` while it is not worth a packet.
    pub(super) fn poll_grant(&mut self) -> Option<u64> {
        if self.due == 0 || self.due < self.window / 4 {
            return None;
        }
        Some(std::mem::take(&mut self.due))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn grants_go_out_in_quarters_of_the_window() {
        let mut credit = Credit::new(100);
        assert_eq!(credit.on_subscribe(), 100);
        assert!(credit.on_delivery(40));
        credit.on_taken(20);
        assert_eq!(credit.poll_grant(), None);
        credit.on_taken(20);
        assert_eq!(credit.poll_grant(), Some(40));
        assert_eq!(credit.poll_grant(), None);
    }

    #[test]
    fn a_new_subscription_counts_what_is_still_held() {
        let mut credit = Credit::new(100);
        credit.on_subscribe();
        assert!(credit.on_delivery(90));
        assert!(credit.on_delivery(70));
        assert!(
            !credit.on_delivery(0),
            "a broker that overdraws is detected"
        );
        assert_eq!(credit.on_subscribe(), 0);
        credit.on_taken(90);
        assert_eq!(credit.poll_grant(), Some(30));
    }

    proptest! {
        /// With a broker that sends while it has credit, and reconnects at any time, everything arrives, and less than
        /// the window and one batch is held.
        #[test]
        fn everything_arrives_and_what_is_held_is_bounded(
            window in 1_u64..200,
            batches in prop::collection::vec(1_u64..300, 1..40),
            cuts in prop::collection::vec(any::<bool>(), 40),
        ) {
            let largest = *batches.iter().max().unwrap();
            let mut credit = Credit::new(window);
            let mut balance = i128::from(credit.on_subscribe());
            let mut waiting: VecDeque<u64> = batches.into();
            let mut held: VecDeque<u64> = VecDeque::new();
            let mut cuts = cuts.into_iter();
            while !waiting.is_empty() || !held.is_empty() {
                while balance > 0 && let Some(batch) = waiting.pop_front() {
                    balance -= i128::from(batch);
                    prop_assert!(credit.on_delivery(batch), "it had credit");
                    held.push_back(batch);
                    prop_assert!(held.iter().sum::<u64>() < window + largest);
                }
                prop_assert!(!held.is_empty(), "nothing is held and nothing may be sent");
                prop_assert_eq!(credit.clone().on_delivery(1), balance > 0);
                credit.on_taken(held.pop_front().unwrap());
                if cuts.next().unwrap_or(false) {
                    balance = i128::from(credit.on_subscribe());
                }
                balance += i128::from(credit.poll_grant().unwrap_or(0));
            }
        }
    }
}
