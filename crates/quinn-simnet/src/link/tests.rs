#![allow(clippy::disallowed_methods, reason = "tests may read the clock")]

use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

fn link(config: LinkConfig) -> Link {
    Link::new(config, 7).unwrap()
}

/// Sends packets of 1,250 bytes, one every `pause`. Returns their fates.
fn send(link: &mut Link, start: Instant, pause: Duration, packets: u32) -> Vec<PacketFate> {
    (0..packets)
        .map(|number| link.on_packet(start + pause * number, 1250, false))
        .collect()
}

fn deliveries(fates: &[PacketFate]) -> Vec<Delivery> {
    fates
        .iter()
        .filter_map(|fate| match fate {
            PacketFate::Deliver(delivery) => Some(*delivery),
            PacketFate::Drop(_) => None,
        })
        .collect()
}

fn arrivals(start: Instant, fates: &[PacketFate]) -> Vec<u128> {
    deliveries(fates)
        .iter()
        .map(|delivery| (delivery.at - start).as_micros())
        .collect()
}

fn config() -> impl Strategy<Value = LinkConfig> {
    let times = (0_u64..50_000, 0_u64..20_000, 0_u64..30_000);
    let shares = (0.0..0.3, 0.0..0.3, 0.0..0.3, 0.0..0.3);
    (times, shares, 1_u64..200, any::<bool>()).prop_map(|(times, shares, mbit, policed)| {
        let (loss, reorder, duplicate, corrupt) = shares;
        LinkConfig::default()
            .delay(Duration::from_micros(times.0))
            .jitter(Duration::from_micros(times.1))
            .rate(Rate::mbit(mbit))
            .queue(if policed {
                Queue::Policer {
                    burst: 10_000,
                    queue: 2_000,
                }
            } else {
                Queue::DropTail { bytes: 10_000 }
            })
            .loss(Loss::Bursty {
                share: loss,
                mean_burst: 3.0,
            })
            .reorder(reorder, Duration::from_micros(times.2))
            .duplicate(duplicate)
            .corrupt(corrupt)
            .mark_above(5_000)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_same_seed_gives_the_same_fates(config in config(), seed: u64) {
        let start = Instant::now();
        let run = |seed| {
            let mut link = Link::new(config.clone(), seed).unwrap();
            (send(&mut link, start, MS / 20, 400), *link.counters())
        };
        prop_assert_eq!(run(seed), run(seed));
    }

    #[test]
    fn every_packet_is_counted_once(config in config(), seed: u64) {
        let mut link = Link::new(config, seed).unwrap();
        let fates = send(&mut link, Instant::now(), MS / 20, 400);
        let counters = link.counters();
        let twice = deliveries(&fates).iter().filter(|delivery| delivery.duplicated).count();
        let arriving = deliveries(&fates).len() + twice;
        prop_assert_eq!(counters.sent.packets, 400);
        prop_assert_eq!(counters.duplicated, u64::try_from(twice).unwrap());
        prop_assert_eq!(counters.in_flight(), u64::try_from(arriving).unwrap());
    }

    #[test]
    fn a_packet_takes_at_least_the_delay_and_keeps_its_place(config in config(), seed: u64) {
        let config = LinkConfig { reorder: None, ..config };
        let (delay, start) = (config.delay, Instant::now());
        let mut link = Link::new(config, seed).unwrap();
        let fates = send(&mut link, start, MS / 20, 400);
        prop_assert!(deliveries(&fates).is_sorted_by_key(|delivery| delivery.at));
        for (number, fate) in (0_u32..).zip(&fates) {
            if let PacketFate::Deliver(delivery) = fate {
                prop_assert!(delivery.at >= start + MS / 20 * number + delay);
            }
        }
    }

    #[test]
    fn a_change_while_packets_wait_neither_loses_nor_reorders_any(
        config in config(), seed: u64, mbit in 1_u64..200, stall in 0_u64..20,
    ) {
        let config = LinkConfig { reorder: None, ..config };
        let start = Instant::now();
        let mut link = Link::new(config, seed).unwrap();
        let mut at: Vec<_> = deliveries(&send(&mut link, start, MS / 20, 60))
            .iter()
            .map(|delivery| (delivery.number, delivery.at))
            .collect();
        let now = start + MS * 3;
        for change in [Change::Rate(Some(Rate::mbit(mbit))), Change::Stall(MS * stall.try_into().unwrap())] {
            for (number, new) in link.on_change(now, &change).unwrap() {
                let (_, old) = at.iter_mut().find(|(known, _)| *known == number).unwrap();
                prop_assert!(*old > now);
                *old = new;
            }
        }
        let later = deliveries(&send(&mut link, now, MS / 20, 60));
        at.extend(later.iter().map(|delivery| (delivery.number, delivery.at)));
        prop_assert!(at.is_sorted());
    }
}

#[test]
fn a_perfect_wire_delivers_at_once() {
    let start = Instant::now();
    let mut link = link(LinkConfig::default());
    assert_eq!(
        arrivals(start, &send(&mut link, start, Duration::ZERO, 3)),
        [0, 0, 0]
    );
}

#[test]
fn the_rate_spaces_packets_and_the_delay_moves_them() {
    let start = Instant::now();
    let mut link = link(LinkConfig::default().delay(MS * 10).rate(Rate::mbit(100)));
    let fates = send(&mut link, start, Duration::ZERO, 3);
    assert_eq!(arrivals(start, &fates), [10_100, 10_200, 10_300]);
}

#[test]
fn jitter_without_order_lets_packets_overtake() {
    let start = Instant::now();
    let config = LinkConfig::default()
        .delay(MS)
        .jitter(MS * 5)
        .keep_order(false);
    let fates = send(&mut link(config.clone()), start, MS / 10, 200);
    assert!(!deliveries(&fates).is_sorted_by_key(|delivery| delivery.at));
    let fates = send(&mut link(config.keep_order(true)), start, MS / 10, 200);
    assert!(deliveries(&fates).is_sorted_by_key(|delivery| delivery.at));
}

#[test]
fn a_packet_held_back_is_overtaken_by_those_behind_it() {
    let start = Instant::now();
    let mut link = link(LinkConfig::default().delay(MS).reorder(0.1, MS * 3));
    let fates = send(&mut link, start, MS, 1000);
    let late = (0_u32..)
        .zip(deliveries(&fates))
        .filter(|(number, delivery)| delivery.at == start + MS * (number + 4))
        .count();
    assert_eq!(u64::try_from(late).unwrap(), link.counters().reordered);
    assert!((70..130).contains(&late), "{late} of 1000 held back");
}

#[test]
fn a_full_queue_drops_and_a_policer_drops_sooner() {
    let start = Instant::now();
    let base = LinkConfig::default().rate(Rate::mbit(10));
    let mut queue = link(base.clone().queue(Queue::DropTail { bytes: 12_500 }));
    let fates = send(&mut queue, start, Duration::ZERO, 12);
    assert_eq!(deliveries(&fates).len(), 10);
    assert_eq!(fates[11], PacketFate::Drop(DropReason::QueueFull));
    assert_eq!(queue.counters().max_queue_bytes, 12_500);

    let mut policer = link(base.queue(Queue::Policer {
        burst: 5_000,
        queue: 1_250,
    }));
    let fates = send(&mut policer, start, Duration::ZERO, 12);
    // Four packets have tokens, one waits for them, and the queue is full for the rest.
    assert_eq!(arrivals(start, &fates), [0, 0, 0, 0, 1_000]);
    assert_eq!(fates[11], PacketFate::Drop(DropReason::Policed));
}

#[test]
fn a_cut_drops_what_is_sent_and_spares_what_is_on_the_way() {
    let start = Instant::now();
    let mut link = link(LinkConfig::default().delay(MS * 10));
    assert_eq!(deliveries(&send(&mut link, start, MS, 3)).len(), 3);
    assert_eq!(link.on_change(start + MS * 3, &Change::Cut).unwrap(), []);
    let fates = send(&mut link, start + MS * 3, MS, 3);
    assert_eq!(fates, [PacketFate::Drop(DropReason::Cut); 3]);
    link.on_change(start + MS * 6, &Change::Restore).unwrap();
    assert_eq!(deliveries(&send(&mut link, start + MS * 6, MS, 3)).len(), 3);
}

#[test]
fn exactly_the_next_packets_are_lost_by_order() {
    let start = Instant::now();
    let mut link = link(LinkConfig::default());
    link.on_change(start, &Change::LoseNext(2)).unwrap();
    let fates = send(&mut link, start, MS, 4);
    assert_eq!(fates[..2], [PacketFate::Drop(DropReason::Lost); 2]);
    assert_eq!(deliveries(&fates[2..]).len(), 2);
}

#[test]
fn a_new_rate_moves_exactly_what_still_waits() {
    let start = Instant::now();
    let mut link = link(LinkConfig::default().delay(MS * 50).rate(Rate::mbit(10)));
    let before = deliveries(&send(&mut link, start, Duration::ZERO, 4));
    let now = start + MS * 2;
    let moved = link
        .on_change(now, &Change::Rate(Some(Rate::mbit(1))))
        .unwrap();
    assert_eq!(
        moved,
        [
            (before[2].number, now + MS * 60),
            (before[3].number, now + MS * 70)
        ]
    );
    let moved = link.on_change(now, &Change::Stall(MS * 5)).unwrap();
    assert_eq!(
        moved,
        [
            (before[2].number, now + MS * 65),
            (before[3].number, now + MS * 75)
        ]
    );
    // A new delay applies to later packets only.
    assert_eq!(link.on_change(now, &Change::Delay(MS * 500)).unwrap(), []);
}

#[test]
fn marks_go_to_those_that_understand_them_once_the_queue_is_deep() {
    let start = Instant::now();
    let mut link = link(LinkConfig::default().rate(Rate::mbit(10)).mark_above(2_500));
    let marked = |fate| matches!(fate, PacketFate::Deliver(delivery) if delivery.marked);
    assert!(!marked(link.on_packet(start, 1250, true)));
    assert!(!marked(link.on_packet(start, 1250, true)));
    assert!(marked(link.on_packet(start, 1250, true)));
    assert!(!marked(link.on_packet(start, 1250, false)));
}

#[test]
fn a_packet_larger_than_the_mtu_is_dropped() {
    let start = Instant::now();
    let mut link = link(LinkConfig::default().mtu(1250));
    assert!(matches!(
        link.on_packet(start, 1250, false),
        PacketFate::Deliver(_)
    ));
    assert_eq!(
        link.on_packet(start, 1251, false),
        PacketFate::Drop(DropReason::TooLarge)
    );
}

#[test]
fn other_faults_do_not_change_which_packets_are_lost() {
    let start = Instant::now();
    let lost = |config: LinkConfig| -> Vec<bool> {
        let fates = send(&mut link(config.loss(Loss::Random(0.2))), start, MS, 300);
        fates
            .iter()
            .map(|fate| matches!(fate, PacketFate::Drop(DropReason::Lost)))
            .collect()
    };
    let plain = lost(LinkConfig::default());
    assert!(plain.contains(&true));
    let noisy = LinkConfig::default()
        .jitter(MS)
        .duplicate(0.5)
        .corrupt(0.5)
        .reorder(0.5, MS);
    assert_eq!(plain, lost(noisy));
}

#[test]
fn a_change_that_cannot_be_changes_nothing() {
    let start = Instant::now();
    let mut link = link(LinkConfig::default());
    let replacement = LinkConfig::default().duplicate(2.0);
    for change in [
        Change::Rate(Some(Rate::bits(0))),
        Change::Loss(Some(Loss::Random(2.0))),
        Change::Stall(Duration::MAX),
        Change::Replace(replacement),
    ] {
        assert!(link.on_change(start, &change).is_err());
    }
    assert_eq!(*link.config(), LinkConfig::default());
}
