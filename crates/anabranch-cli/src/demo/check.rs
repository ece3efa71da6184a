//! Sans-I/O: compares what was sent with what was read back.
//!
//! Each message has a number. A bitmap tells which numbers were received. A checksum over numbers and payloads, which does
//! not depend on their order, tells whether the messages are identical.

/// What was sent and received so far.
#[derive(Debug)]
pub(super) struct Check {
    messages: u64,
    /// One bit per number, set when the number was received.
    seen: Vec<u64>,
    distinct: u64,
    /// All messages received.
    received: u64,
    /// Messages with a number that was received before.
    duplicated: u64,
    sum_sent: u64,
    sum_received: u64,
}

impl Check {
    /// Expects messages with the numbers below `messages`.
    pub(super) fn new(messages: u64) -> Self {
        let words = usize::try_from(messages.div_ceil(64)).unwrap_or(usize::MAX);
        Self {
            messages,
            seen: vec![0; words],
            distinct: 0,
            received: 0,
            duplicated: 0,
            sum_sent: 0,
            sum_received: 0,
        }
    }

    /// Records a sent message.
    pub(super) fn on_sent(&mut self, number: u64, payload: &[u8]) {
        self.sum_sent = self.sum_sent.wrapping_add(digest(number, payload));
    }

    /// Records a received message and its number, if it has one. Of several messages with the same number, the checksum
    /// includes the first.
    pub(super) fn on_received(&mut self, number: Option<u64>, payload: &[u8]) {
        self.received += 1;
        let Some(number) = number.filter(|number| *number < self.messages) else {
            return;
        };
        let bit = 1 << (number % 64);
        let Some(word) = usize::try_from(number / 64)
            .ok()
            .and_then(|word| self.seen.get_mut(word))
        else {
            return;
        };
        if *word & bit != 0 {
            self.duplicated += 1;
            return;
        }
        *word |= bit;
        self.distinct += 1;
        self.sum_received = self.sum_received.wrapping_add(digest(number, payload));
    }

    /// Returns the number of messages received.
    pub(super) const fn received(&self) -> u64 {
        self.received
    }

    /// Returns how many numbers were never received.
    pub(super) const fn lost(&self) -> u64 {
        self.messages - self.distinct
    }

    /// Returns the number of duplicates.
    pub(super) const fn duplicated(&self) -> u64 {
        self.duplicated
    }

    /// Returns whether every message was received as it was sent, and nothing else was.
    pub(super) const fn is_identical(&self) -> bool {
        self.received == self.distinct + self.duplicated
            && self.lost() == 0
            && self.sum_sent == self.sum_received
    }
}

fn digest(number: u64, payload: &[u8]) -> u64 {
    let mut digest = crc32fast::Hasher::new();
    digest.update(&number.to_be_bytes());
    digest.update(payload);
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent() -> Check {
        let mut check = Check::new(100);
        for number in 0..100 {
            check.on_sent(number, b"payload");
        }
        check
    }

    #[test]
    fn what_comes_back_in_any_order_is_identical() {
        let mut check = sent();
        for number in (0..100).rev() {
            check.on_received(Some(number), b"payload");
        }
        assert!(check.is_identical());
        assert_eq!(
            (check.received(), check.lost(), check.duplicated()),
            (100, 0, 0)
        );
    }

    #[test]
    fn a_message_that_is_missing_or_comes_twice_is_counted() {
        let mut check = sent();
        for number in 1..100 {
            check.on_received(Some(number), b"payload");
        }
        check.on_received(Some(64), b"payload");
        assert_eq!(
            (check.received(), check.lost(), check.duplicated()),
            (100, 1, 1)
        );
        assert!(!check.is_identical());
    }

    #[test]
    fn a_changed_payload_or_a_stranger_is_noticed() {
        let mut changed = sent();
        for number in 0..100 {
            let payload: &[u8] = if number == 3 { b"changed" } else { b"payload" };
            changed.on_received(Some(number), payload);
        }
        assert!(!changed.is_identical());
        let mut stranger = sent();
        for number in 0..100 {
            stranger.on_received(Some(number), b"payload");
        }
        stranger.on_received(None, b"who?");
        assert!(!stranger.is_identical());
    }
}
