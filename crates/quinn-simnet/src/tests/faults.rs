use std::time::Duration;

use super::*;

const MS: Duration = Duration::from_millis(1);

/// Sends `packets` packets of 972 bytes (1,000 with headers), one every `pause`. Each contains its number.
async fn send_numbered(net: &Network, pair: &Pair, packets: u8, pause: Duration) {
    let to = pair.server.address();
    for number in 0..packets {
        send(&pair.client, to, &[number; 972]);
        net.sleep(pause).await;
    }
}

/// Sends numbered packets. Returns the numbers and the times of those that arrive.
async fn through(net: &Network, pair: &Pair, packets: u8, pause: Duration) -> Vec<(u8, Duration)> {
    let long = Duration::from_secs(100);
    let (arrived, ()) = tokio::join!(
        receive_for(net, &pair.server, long),
        send_numbered(net, pair, packets, pause)
    );
    arrived
        .iter()
        .map(|(time, bytes)| (bytes[0], *time))
        .collect()
}

fn numbers(arrived: &[(u8, Duration)]) -> Vec<u8> {
    arrived.iter().map(|(number, _)| *number).collect()
}

/// Sends `packets` packets, 1 ms apart, over such a link. Returns those that arrive, and the counters.
fn scenario(config: LinkConfig, packets: u8) -> (Vec<(u8, Duration)>, Counters) {
    run(3, async |net| {
        let pair = pair(&net, config);
        let arrived = through(&net, &pair, packets, MS).await;
        let counters = pair.there.counters();
        assert_eq!(counters.in_flight(), 0);
        assert_eq!(
            counters.delivered.packets,
            u64::try_from(arrived.len()).unwrap()
        );
        assert_eq!(pair.back.counters(), Counters::default());
        (arrived, counters)
    })
}

#[test]
fn loss_loses_packets() {
    let (arrived, counters) = scenario(LinkConfig::default().loss(Loss::Random(0.2)), 200);
    assert!((20..60).contains(&counters.dropped.lost));
    assert_eq!(counters.dropped.total(), counters.dropped.lost);
    assert_eq!(
        arrived.len(),
        200 - usize::try_from(counters.dropped.lost).unwrap()
    );
}

#[test]
fn bursty_loss_loses_packets_in_a_row() {
    let bursty = Loss::Bursty {
        share: 0.2,
        mean_burst: 5.0,
    };
    let (arrived, counters) = scenario(LinkConfig::default().loss(bursty), 250);
    let numbers = numbers(&arrived);
    let gaps = numbers
        .windows(2)
        .filter(|pair| pair[1] - pair[0] > 1)
        .count();
    let lost = usize::try_from(counters.dropped.lost).unwrap();
    assert!(lost > 10 && gaps * 2 < lost, "{lost} lost in {gaps} gaps");
}

#[test]
fn jitter_moves_packets_and_reorders_them_only_where_it_may() {
    let jitter = LinkConfig::default().delay(MS).jitter(MS * 4);
    let (arrived, _) = scenario(jitter.clone(), 100);
    assert!(numbers(&arrived).is_sorted());
    let late = |(number, time): &(u8, Duration)| *time - MS * u32::from(*number);
    assert!(
        arrived
            .iter()
            .all(|packet| (MS..=MS * 5).contains(&late(packet)))
    );
    assert!(arrived.iter().any(|packet| late(packet) > MS * 3));

    let (arrived, _) = scenario(jitter.keep_order(false), 100);
    assert!(!numbers(&arrived).is_sorted());
    assert_eq!(arrived.len(), 100);
}

#[test]
fn a_packet_held_back_arrives_after_those_behind_it() {
    let (arrived, counters) = scenario(LinkConfig::default().reorder(0.1, MS * 5 / 2), 100);
    assert!(counters.reordered > 2);
    let overtaken = numbers(&arrived)
        .windows(2)
        .filter(|pair| pair[0] > pair[1])
        .count();
    assert_eq!(u64::try_from(overtaken).unwrap(), counters.reordered);
}

#[test]
fn a_duplicate_arrives_twice() {
    let (arrived, counters) = scenario(LinkConfig::default().duplicate(0.1), 100);
    assert!(counters.duplicated > 2);
    let twice = arrived.windows(2).filter(|pair| pair[0] == pair[1]).count();
    assert_eq!(u64::try_from(twice).unwrap(), counters.duplicated);
    assert_eq!(arrived.len(), 100 + twice);
}

#[test]
fn a_corrupt_packet_has_one_bit_flipped() {
    run(3, async |net| {
        let pair = pair(&net, LinkConfig::default().corrupt(0.3));
        for _ in 0..50 {
            send(&pair.client, pair.server.address(), &[0; 100]);
            net.sleep(MS).await;
        }
        let arrived = receive_for(&net, &pair.server, MS).await;
        let flipped = |bytes: &Vec<u8>| bytes.iter().map(|byte| byte.count_ones()).sum::<u32>();
        let flips: Vec<_> = arrived.iter().map(|(_, bytes)| flipped(bytes)).collect();
        assert!(flips.iter().all(|flips| *flips <= 1));
        let corrupted = flips.iter().filter(|flips| **flips == 1).count();
        assert_eq!(
            u64::try_from(corrupted).unwrap(),
            pair.there.counters().corrupted
        );
        assert!(corrupted > 5);
    });
}

#[test]
fn a_full_queue_drops_what_comes_too_fast() {
    // Twice as fast as the link: 1,000 bytes each millisecond into 4 Mbit/s.
    let config = LinkConfig::default()
        .rate(Rate::mbit(4))
        .queue(Queue::DropTail { bytes: 10_000 });
    let (arrived, counters) = scenario(config, 100);
    assert!((40..50).contains(&counters.dropped.queue_full));
    assert_eq!(counters.max_queue_bytes, 10_000);
    assert_eq!(counters.queue_bytes, 0);
    for pair in arrived.windows(2) {
        assert!(pair[1].1 - pair[0].1 >= MS * 2);
    }
}

#[test]
fn a_policer_passes_a_burst_at_once_and_then_its_rate() {
    let config = LinkConfig::default()
        .rate(Rate::mbit(4))
        .queue(Queue::Policer {
            burst: 10_000,
            queue: 0,
        });
    let (arrived, counters) = scenario(config, 100);
    assert!((38..48).contains(&counters.dropped.policed));
    assert_eq!(numbers(&arrived[..15]), (0..15).collect::<Vec<_>>());
    assert!(
        arrived
            .iter()
            .all(|(number, time)| *time == MS * u32::from(*number))
    );
}

#[test]
fn a_deep_queue_marks_packets() {
    run(3, async |net| {
        let pair = pair(
            &net,
            LinkConfig::default().rate(Rate::mbit(8)).mark_above(2_000),
        );
        send_segments(
            &pair.client,
            pair.server.address(),
            &[0; 5 * 972],
            Some(972),
        );
        let mut marks = Vec::new();
        for _ in 0..5 {
            marks.extend(
                receive(&pair.server)
                    .await
                    .into_iter()
                    .map(|(meta, _)| meta.ecn),
            );
        }
        let (ect, ce) = (Some(EcnCodepoint::Ect0), Some(EcnCodepoint::Ce));
        assert_eq!(marks, [ect, ect, ce, ce, ce]);
        assert_eq!(pair.there.counters().marked, 3);
    });
}

#[test]
fn a_packet_that_does_not_fit_is_dropped() {
    let (arrived, counters) = scenario(LinkConfig::default().mtu(999), 3);
    assert_eq!((arrived.len(), counters.dropped.too_large), (0, 3));
    let (arrived, _) = scenario(LinkConfig::default().mtu(1000), 3);
    assert_eq!(arrived.len(), 3);
}

#[test]
fn a_blackhole_swallows_one_direction_for_its_time_and_leaves_the_other_alone() {
    run(3, async |net| {
        let pair = pair(&net, LinkConfig::default().delay(MS * 3));
        pair.there
            .schedule([(MS * 39 / 2, Change::Restore), (MS * 19 / 2, Change::Cut)])
            .unwrap();
        send(&pair.server, pair.client.address(), b"the other way");
        let arrived = through(&net, &pair, 30, MS).await;
        // The packets of 7, 8 and 9 ms are in flight at the time of the cut.
        let expected: Vec<_> = (0..10).chain(20..30).collect();
        assert_eq!(numbers(&arrived), expected);
        assert_eq!(pair.there.counters().dropped.cut, 10);
        assert_eq!(receive(&pair.client).await[0].1, b"the other way");
    });
}

#[test]
fn a_cut_by_hand_lasts_until_it_is_restored_by_hand() {
    run(3, async |net| {
        let pair = pair(&net, LinkConfig::default());
        pair.there.cut();
        send(&pair.client, pair.server.address(), b"lost");
        net.sleep(MS).await;
        pair.there.restore();
        send(&pair.client, pair.server.address(), b"here");
        assert_eq!(receive(&pair.server).await[0].1, b"here");
    });
}

#[test]
fn exactly_the_next_packets_are_lost_by_order() {
    run(3, async |net| {
        let pair = pair(&net, LinkConfig::default());
        pair.there.lose_next(2);
        assert_eq!(numbers(&through(&net, &pair, 5, MS).await), [2, 3, 4]);
    });
}

#[test]
fn a_stall_delays_everything_and_loses_nothing() {
    run(3, async |net| {
        let pair = pair(&net, LinkConfig::default().delay(MS));
        let stall = (MS * 9 / 2, Change::Stall(MS * 10));
        pair.there.schedule([stall]).unwrap();
        let arrived = through(&net, &pair, 20, MS).await;
        assert_eq!(numbers(&arrived), (0..20).collect::<Vec<_>>());
        for (number, time) in arrived {
            let sent = MS * u32::from(number);
            let stalled = (5..15).contains(&number);
            assert_eq!(time, MS + if stalled { MS * 29 / 2 } else { sent });
        }
    });
}

#[test]
fn a_rate_that_falls_reaches_what_waits_and_a_rate_that_rises_too() {
    run(3, async |net| {
        // 1,000 bytes take 1 ms.
        let pair = pair(&net, LinkConfig::default().delay(MS).rate(Rate::mbit(8)));
        let changes = [
            (MS * 2, Change::Rate(Some(Rate::kbit(800)))),
            (MS * 27, Change::Rate(Some(Rate::mbit(8)))),
        ];
        pair.there.schedule(changes).unwrap();
        let arrived = through(&net, &pair, 6, Duration::ZERO).await;
        let times: Vec<_> = arrived.iter().map(|(_, time)| time.as_micros()).collect();
        // Two packets take 1 ms each, two 10 ms, one half of each, and one 1 ms; each has 1 ms of delay.
        assert_eq!(times, [2_000, 3_000, 13_000, 23_000, 28_500, 29_500]);
    });
}

#[test]
fn a_delay_that_rises_holds_those_that_are_sent_from_then_on() {
    run(3, async |net| {
        let pair = pair(&net, LinkConfig::default().delay(MS));
        pair.there
            .schedule([(MS * 5 / 2, Change::Delay(MS * 50))])
            .unwrap();
        let arrived = through(&net, &pair, 5, MS).await;
        let times: Vec<_> = arrived.iter().map(|(_, time)| time.as_millis()).collect();
        assert_eq!(times, [1, 2, 3, 53, 54]);
    });
}

#[test]
fn directions_may_differ() {
    run(3, async |net| {
        let up = net.direction(LinkConfig::default().delay(MS * 30)).unwrap();
        let down = net.direction(LinkConfig::default().delay(MS * 2)).unwrap();
        net.route(CLIENT, SERVER, &up);
        net.route(SERVER, CLIENT, &down);
        let client = net.socket(at(CLIENT, 0)).unwrap();
        let server = net.socket(at(SERVER, 4433)).unwrap();
        send(&client, server.address(), b"ask");
        let ask = receive(&server).await;
        assert_eq!(net.elapsed(), MS * 30);
        send(&server, ask[0].0.addr, b"answer");
        receive(&client).await;
        assert_eq!(net.elapsed(), MS * 32);
    });
}

#[test]
fn a_socket_that_moves_is_seen_at_its_new_address_and_misses_what_went_to_the_old_one() {
    run(3, async |net| {
        let pair = pair(&net, LinkConfig::default().delay(MS));
        let (old, server) = (pair.client.address(), pair.server.address());
        send(&pair.client, server, b"before");
        assert_eq!(receive(&pair.server).await[0].0.addr, old);
        send(&pair.server, old, b"on its way");
        let new = pair.client.rebind(at(CLIENT, 0)).unwrap();
        assert_ne!(old, new);
        assert_eq!(pair.client.local_addr().unwrap(), old);
        send(&pair.client, server, b"after");
        assert_eq!(receive(&pair.server).await[0].0.addr, new);
        send(&pair.server, old, b"too late");
        send(&pair.server, new, b"found");
        let found = receive(&pair.client).await;
        assert_eq!(found[0].1, b"found");
        assert_eq!(pair.back.counters().dropped.no_socket, 2);
    });
}

#[test]
fn packets_without_a_receiver_are_counted() {
    run(3, async |net| {
        let pair = pair(&net, LinkConfig::default().delay(MS));
        send(&pair.client, at(SERVER, 1), b"no such port");
        send(&pair.client, at(OTHER, 4433), b"no such route");
        send(
            &pair.client,
            pair.server.address(),
            b"gone before it arrives",
        );
        drop(pair.server);
        let counters = pair.there.counters();
        assert_eq!((counters.sent.packets, counters.dropped.no_socket), (2, 2));
        assert_eq!((counters.in_flight(), net.unroutable()), (0, 1));
    });
}

#[test]
fn an_address_belongs_to_one_socket_until_that_is_dropped() {
    run(3, async |net| {
        let kind = |address| net.socket(address).map_err(|error| error.kind());
        let first = kind(at(CLIENT, 7)).unwrap();
        assert_eq!(
            kind(at(CLIENT, 7)).unwrap_err(),
            std::io::ErrorKind::AddrInUse
        );
        drop(first);
        assert!(kind(at(CLIENT, 7)).is_ok());
        let anywhere = "0.0.0.0:7".parse().unwrap();
        assert_eq!(
            kind(anywhere).unwrap_err(),
            std::io::ErrorKind::InvalidInput
        );
        let (one, two) = (kind(at(CLIENT, 0)).unwrap(), kind(at(CLIENT, 0)).unwrap());
        assert_ne!(one.address(), two.address());
    });
}

#[test]
fn a_sender_that_nothing_slows_down_fills_a_receive_queue_and_no_more() {
    run(3, async |net| {
        let pair = pair(&net, LinkConfig::default());
        let capacity = 1 << 17;
        for _ in 0..=(capacity / 64) {
            send_segments(&pair.client, pair.server.address(), &[0; 64], Some(1));
        }
        assert_eq!(pair.there.counters().dropped.recv_queue_full, 64);
        assert_eq!(pair.there.counters().in_flight(), capacity);
    });
}

#[test]
fn a_schedule_with_an_impossible_change_changes_nothing() {
    run(3, async |net| {
        let pair = pair(&net, LinkConfig::default());
        let changes = [
            (MS, Change::Cut),
            (MS * 2, Change::Loss(Some(Loss::Random(7.0)))),
        ];
        assert!(pair.there.schedule(changes).is_err());
        net.sleep(MS * 5).await;
        assert_eq!(numbers(&through(&net, &pair, 3, MS).await), [0, 1, 2]);
    });
}
