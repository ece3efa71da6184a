//! Sans-I/O: the position of a consumer in its topic.

use crate::Offset;

/// Tracks the next offset for the application, and decides what to do with each delivery.
///
/// One cursor lives as long as its consumer, across reconnects. It alone ensures that each offset is handed out once and
/// in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    next: Offset,
}

/// What to do with a delivered batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Hand out its records, without the first `skip`.
    Take {
        /// The number of records that come before the offset asked for or were handed out before.
        skip: u32,
        /// The number of offsets that retention has dropped, between the last record handed out and this batch.
        skipped: u64,
    },
    /// Ignore it: all of its records were handed out before.
    Drop,
}

/// A delivery that no correct broker sends: without records, or with more than there are offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InvalidDelivery;

impl Cursor {
    pub(super) fn new(next: Offset) -> Self {
        Self { next }
    }

    /// Returns the next offset to hand out.
    pub(super) fn next(self) -> Offset {
        self.next
    }

    /// A subscription begins at `next`. Returns the number of offsets that are skipped.
    pub(super) fn on_subscribed(&mut self, next: Offset) -> u64 {
        let skipped = next.0.saturating_sub(self.next.0);
        self.next = self.next.max(next);
        skipped
    }

    /// A batch of `count` records was delivered, the first of them at `base`.
    pub(super) fn on_delivery(
        &mut self,
        base: Offset,
        count: u32,
    ) -> Result<Action, InvalidDelivery> {
        let end = match base.0.checked_add(u64::from(count)) {
            Some(end) if count > 0 => Offset(end),
            _ => return Err(InvalidDelivery),
        };
        if end <= self.next {
            return Ok(Action::Drop);
        }
        let skip =
            u32::try_from(self.next.0.saturating_sub(base.0)).map_err(|_| InvalidDelivery)?;
        let skipped = base.0.saturating_sub(self.next.0);
        self.next = end;
        Ok(Action::Take { skip, skipped })
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
            Ok(Action::Take {
                skip: 2,
                skipped: 0
            })
        );
        assert_eq!(cursor.next(), Offset(9));
        assert_eq!(cursor.on_delivery(Offset(5), 4), Ok(Action::Drop));
    }

    #[test]
    fn offsets_that_are_no_longer_kept_are_counted_once() {
        let mut cursor = Cursor::new(Offset(3));
        assert_eq!(cursor.on_subscribed(Offset(10)), 7);
        assert_eq!(
            cursor.on_delivery(Offset(12), 1),
            Ok(Action::Take {
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
        assert_eq!(cursor.on_delivery(Offset(0), 0), Err(InvalidDelivery));
        assert_eq!(
            cursor.on_delivery(Offset(u64::MAX), 2),
            Err(InvalidDelivery)
        );
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
                    if let Action::Take { skip, skipped } = cursor.on_delivery(base, count).unwrap() {
                        prop_assert_eq!(skipped, 0);
                        handed.extend((skip..count).map(|i| base.0 + u64::from(i)));
                    }
                }
            }
            prop_assert_eq!(handed, (start..end).collect::<Vec<_>>());
        }
    }
}
