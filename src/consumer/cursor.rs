//! Pure: where a reader stands in its topic.

use crate::Offset;

/// The next offset to hand out, and what a delivery means for it.
///
/// One cursor lives as long as its consumer, across reconnects: that each offset is handed out once, in order,
/// is decided here and nowhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    next: Offset,
}

/// What to do with a delivered batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Hand out its records behind the first `skip`.
    Take {
        /// Records that were asked for by nobody or handed out before.
        skip: u32,
        /// Offsets that are no longer kept, between the last record handed out and this batch.
        skipped: u64,
    },
    /// All of it was handed out before.
    Old,
}

/// A delivery that no broker would send: no records, or more than there are offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Impossible;

impl Cursor {
    pub(super) fn new(next: Offset) -> Self {
        Self { next }
    }

    /// The next offset to hand out.
    pub(super) fn next(self) -> Offset {
        self.next
    }

    /// The subscription stands and begins at `next`: answers how many offsets behind the cursor are no longer kept.
    pub(super) fn on_subscribed(&mut self, next: Offset) -> u64 {
        let skipped = next.0.saturating_sub(self.next.0);
        self.next = self.next.max(next);
        skipped
    }

    /// A batch of `count` records came, the first of them at `base`.
    pub(super) fn on_delivery(&mut self, base: Offset, count: u32) -> Result<Step, Impossible> {
        let end = match base.0.checked_add(u64::from(count)) {
            Some(end) if count > 0 => Offset(end),
            _ => return Err(Impossible),
        };
        if end <= self.next {
            return Ok(Step::Old);
        }
        let skip = u32::try_from(self.next.0.saturating_sub(base.0)).map_err(|_| Impossible)?;
        let skipped = base.0.saturating_sub(self.next.0);
        self.next = end;
        Ok(Step::Take { skip, skipped })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn records_before_the_asked_offset_are_skipped() {
        let mut cursor = Cursor::new(Offset(7));
        assert_eq!(
            cursor.on_delivery(Offset(5), 4),
            Ok(Step::Take {
                skip: 2,
                skipped: 0
            })
        );
        assert_eq!(cursor.next(), Offset(9));
        assert_eq!(cursor.on_delivery(Offset(5), 4), Ok(Step::Old));
    }

    #[test]
    fn offsets_that_are_no_longer_kept_are_counted_once() {
        let mut cursor = Cursor::new(Offset(3));
        assert_eq!(cursor.on_subscribed(Offset(10)), 7);
        assert_eq!(
            cursor.on_delivery(Offset(12), 1),
            Ok(Step::Take {
                skip: 0,
                skipped: 2
            })
        );
        assert_eq!(cursor.on_subscribed(Offset(5)), 0);
        assert_eq!(cursor.next(), Offset(13));
    }

    #[test]
    fn a_delivery_that_cannot_be_is_an_error() {
        let mut cursor = Cursor::new(Offset(0));
        assert_eq!(cursor.on_delivery(Offset(0), 0), Err(Impossible));
        assert_eq!(cursor.on_delivery(Offset(u64::MAX), 2), Err(Impossible));
    }

    proptest! {
        /// Whatever a broker sends again after any number of cuts, what is handed out is gapless, in order, once.
        #[test]
        fn each_offset_is_handed_out_once_and_in_order(
            start in 0_u64..20,
            counts in prop::collection::vec(1_u32..6, 1..20),
            back in prop::collection::vec(0_usize..20, 0..6),
        ) {
            let mut batches = Vec::new();
            let mut end = 0;
            for count in counts {
                batches.push((Offset(end), count));
                end += u64::from(count);
            }
            let start = start.min(end);
            let mut cursor = Cursor::new(Offset(start));
            let mut handed = Vec::new();
            let runs = back.into_iter().chain([0]);
            for from in runs {
                // Each run resends from an arbitrary earlier batch, as far as the cursor and to the end in the last.
                let from = from.min(batches.len() - 1);
                let from = batches[..=from].iter().rposition(|b| b.0 <= cursor.next()).unwrap_or(0);
                for &(base, count) in &batches[from..] {
                    if let Step::Take { skip, skipped } = cursor.on_delivery(base, count).unwrap() {
                        prop_assert_eq!(skipped, 0);
                        handed.extend((skip..count).map(|i| base.0 + u64::from(i)));
                    }
                }
            }
            prop_assert_eq!(handed, (start..end).collect::<Vec<_>>());
        }
    }
}
