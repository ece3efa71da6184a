//! Pure: what was sent against what came back.
//!
//! Each message has a number. A bit a number says whether it has come; a sum over number and payload says whether
//! what came is what was sent, in whatever order.

/// What is known of every message.
#[derive(Debug)]
pub(super) struct Check {
    messages: u64,
    /// A bit for each number that has come.
    seen: Vec<u64>,
    distinct: u64,
    /// Messages that came, whatever they were.
    came: u64,
    /// Messages with a number that came before.
    again: u64,
    sum_sent: u64,
    sum_came: u64,
}

impl Check {
    /// For messages with the numbers below `messages`.
    pub(super) fn new(messages: u64) -> Self {
        let words = usize::try_from(messages.div_ceil(64)).unwrap_or(usize::MAX);
        Self {
            messages,
            seen: vec![0; words],
            distinct: 0,
            came: 0,
            again: 0,
            sum_sent: 0,
            sum_came: 0,
        }
    }

    /// A message is sent.
    pub(super) fn on_sent(&mut self, number: u64, payload: &[u8]) {
        self.sum_sent = self.sum_sent.wrapping_add(digest(number, payload));
    }

    /// A message came back, with its number if it has one of ours. Of several with one number the first counts.
    pub(super) fn on_came(&mut self, number: Option<u64>, payload: &[u8]) {
        self.came += 1;
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
            self.again += 1;
            return;
        }
        *word |= bit;
        self.distinct += 1;
        self.sum_came = self.sum_came.wrapping_add(digest(number, payload));
    }

    /// Messages that came.
    pub(super) const fn came(&self) -> u64 {
        self.came
    }

    /// Numbers that never came.
    pub(super) const fn lost(&self) -> u64 {
        self.messages - self.distinct
    }

    /// Messages that came once more.
    pub(super) const fn duplicated(&self) -> u64 {
        self.again
    }

    /// Whether every message came as it was sent, and nothing else did.
    pub(super) const fn is_identical(&self) -> bool {
        self.came == self.distinct + self.again
            && self.lost() == 0
            && self.sum_sent == self.sum_came
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
            check.on_came(Some(number), b"payload");
        }
        assert!(check.is_identical());
        assert_eq!(
            (check.came(), check.lost(), check.duplicated()),
            (100, 0, 0)
        );
    }

    #[test]
    fn a_message_that_is_missing_or_comes_twice_is_counted() {
        let mut check = sent();
        for number in 1..100 {
            check.on_came(Some(number), b"payload");
        }
        check.on_came(Some(64), b"payload");
        assert_eq!(
            (check.came(), check.lost(), check.duplicated()),
            (100, 1, 1)
        );
        assert!(!check.is_identical());
    }

    #[test]
    fn a_changed_payload_or_a_stranger_is_noticed() {
        let mut changed = sent();
        for number in 0..100 {
            let payload: &[u8] = if number == 3 { b"changed" } else { b"payload" };
            changed.on_came(Some(number), payload);
        }
        assert!(!changed.is_identical());
        let mut stranger = sent();
        for number in 0..100 {
            stranger.on_came(Some(number), b"payload");
        }
        stranger.on_came(None, b"who?");
        assert!(!stranger.is_identical());
    }
}
