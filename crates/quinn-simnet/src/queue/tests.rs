#![allow(clippy::disallowed_methods, reason = "tests may read the clock")]

use proptest::prelude::*;

use super::*;

/// Generates packets as (pause before it in µs, length).
fn traffic() -> impl Strategy<Value = Vec<(u64, u64)>> {
    prop::collection::vec((0_u64..400, 40_u64..=1500), 1..150)
}

/// Offers the packets one after the other. Returns (arrival, departure, length) of those that were accepted.
fn drive(
    bottleneck: &mut Bottleneck<usize>,
    start: Instant,
    packets: &[(u64, u64)],
) -> Vec<(Instant, Instant, u64)> {
    let mut now = start;
    let mut accepted = Vec::new();
    for (number, (pause, len)) in packets.iter().enumerate() {
        now += Duration::from_micros(*pause);
        while bottleneck.poll_departed(now).is_some() {}
        if let Some(plan) = bottleneck.plan(now, *len) {
            accepted.push((now, plan.departs, *len));
            bottleneck.accept(plan, number);
        }
    }
    accepted
}

/// Returns the maximum, over all intervals, of the bytes that departed above what the rate allows.
fn excess(left: &[(Instant, Instant, u64)], rate: Rate) -> u64 {
    let mut worst = 0;
    for (first, (_, from, _)) in left.iter().enumerate() {
        let mut bytes = 0;
        for (_, until, len) in &left[first..] {
            bytes += len;
            worst = worst.max(bytes.saturating_sub(rate.bytes_in(*until - *from)));
        }
    }
    worst
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_tail_drop_queue_never_sends_above_its_rate_and_never_reorders(
        packets in traffic(), mbit in 1_u64..200, limit in 1500_u64..20_000,
    ) {
        let rate = Rate::mbit(mbit);
        let mut bottleneck = Bottleneck::new(Some(rate), Queue::DropTail { bytes: limit });
        let left = drive(&mut bottleneck, Instant::now(), &packets);
        // An interval that begins with a departure contains that packet as a whole.
        prop_assert!(excess(&left, rate) <= 1500 + 1);
        prop_assert!(left.is_sorted_by_key(|(_, departs, _)| *departs));
        prop_assert!(left.iter().all(|(came, departs, len)| *departs >= *came + rate.time_for(*len)));
        prop_assert!(bottleneck.max_depth() <= limit);
    }

    #[test]
    fn a_policer_never_passes_more_than_its_bucket_beyond_its_rate(
        packets in traffic(), mbit in 1_u64..200, burst in 1500_u64..20_000, queue in 0_u64..5_000,
    ) {
        let rate = Rate::mbit(mbit);
        let mut bottleneck = Bottleneck::new(Some(rate), Queue::Policer { burst, queue });
        let left = drive(&mut bottleneck, Instant::now(), &packets);
        prop_assert!(excess(&left, rate) <= burst + 1);
        prop_assert!(left.is_sorted_by_key(|(_, departs, _)| *departs));
        if queue == 0 {
            prop_assert!(left.iter().all(|(came, departs, _)| came == departs));
        }
    }

    #[test]
    fn what_waits_is_exactly_what_has_come_and_not_left(packets in traffic(), mbit in 1_u64..50) {
        let start = Instant::now();
        let mut bottleneck =
            Bottleneck::new(Some(Rate::mbit(mbit)), Queue::DropTail { bytes: 10_000 });
        let left = drive(&mut bottleneck, start, &packets);
        let now = start + packets.iter().map(|(pause, _)| Duration::from_micros(*pause)).sum::<Duration>();
        let waiting: u64 = left
            .iter()
            .filter(|(_, departs, _)| *departs > now)
            .map(|(.., len)| len)
            .sum();
        while bottleneck.poll_departed(now).is_some() {}
        prop_assert_eq!(bottleneck.depth(), waiting);
    }

    #[test]
    fn a_change_of_rate_and_back_at_the_same_moment_changes_nothing(
        packets in traffic(), mbit in 1_u64..50,
    ) {
        let start = Instant::now();
        let (rate, queue) = (Some(Rate::mbit(mbit)), Queue::DropTail { bytes: 10_000 });
        let mut bottleneck = Bottleneck::new(rate, queue);
        drive(&mut bottleneck, start, &packets);
        let now = start + packets.iter().map(|(pause, _)| Duration::from_micros(*pause)).sum::<Duration>();
        while bottleneck.poll_departed(now).is_some() {}
        let before: Vec<_> = bottleneck.entries_mut().map(|(departs, _)| departs).collect();
        bottleneck.change(now, Some(Rate::mbit(mbit * 3)), queue);
        bottleneck.change(now, rate, queue);
        let after: Vec<_> = bottleneck.entries_mut().map(|(departs, _)| departs).collect();
        prop_assert_eq!(before.len(), after.len());
        for (before, after) in before.iter().zip(&after) {
            // Both changes round to the nanosecond.
            let off = after.saturating_duration_since(*before) + before.saturating_duration_since(*after);
            prop_assert!(off < Duration::from_nanos(1_000), "{off:?}");
        }
    }
}

const MS: Duration = Duration::from_millis(1);

/// Returns a queue with ten packets of 1,250 bytes at 10 Mbit/s: one departs each millisecond.
fn ten_waiting(start: Instant) -> Bottleneck<usize> {
    let mut bottleneck = Bottleneck::new(Some(Rate::mbit(10)), Queue::DropTail { bytes: 20_000 });
    drive(&mut bottleneck, start, &[(0, 1250); 10]);
    bottleneck
}

fn leaving(bottleneck: &mut Bottleneck<usize>, start: Instant) -> Vec<u128> {
    bottleneck
        .entries_mut()
        .map(|(departs, _)| (departs - start).as_micros())
        .collect()
}

#[test]
fn a_new_rate_reaches_what_already_waits() {
    let start = Instant::now();
    let mut bottleneck = ten_waiting(start);
    // Seven packets have departed, and the eighth is half sent.
    let now = start + MS * 15 / 2;
    while bottleneck.poll_departed(now).is_some() {}
    bottleneck.change(now, Some(Rate::mbit(1)), Queue::DropTail { bytes: 20_000 });
    assert_eq!(leaving(&mut bottleneck, start), [12_500, 22_500, 32_500]);
    bottleneck.change(now, None, Queue::DropTail { bytes: 20_000 });
    assert_eq!(leaving(&mut bottleneck, start), [7_500, 7_500, 7_500]);
}

#[test]
fn a_stall_holds_what_waits_and_lets_it_go_on_where_it_stopped() {
    let start = Instant::now();
    let mut bottleneck = ten_waiting(start);
    let now = start + MS * 15 / 2;
    while bottleneck.poll_departed(now).is_some() {}
    bottleneck.stall(now, start + MS * 100);
    assert_eq!(leaving(&mut bottleneck, start), [100_500, 101_500, 102_500]);
    let plan = bottleneck.plan(now, 1250).unwrap();
    assert_eq!(plan.departs, start + MS * 103 + MS / 2);
}

#[test]
fn a_stall_without_a_rate_holds_as_much_as_the_queue_has_room_for() {
    let start = Instant::now();
    let mut bottleneck = Bottleneck::new(None, Queue::DropTail { bytes: 3_000 });
    bottleneck.stall(start, start + MS * 10);
    let held = drive(&mut bottleneck, start, &[(0, 1250); 4]);
    assert_eq!(held, [(start, start + MS * 10, 1250); 2]);
    bottleneck.change(
        start,
        Some(Rate::mbit(10)),
        Queue::DropTail { bytes: 3_000 },
    );
    assert_eq!(leaving(&mut bottleneck, start), [11_000, 12_000]);
}
