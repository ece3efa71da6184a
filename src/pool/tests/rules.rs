//! Rules 1 to 5 of the pool, each with its tests. Rule 6 is in `guard.rs`.

use super::*;

// Rule 1.

#[tokio::test(start_paused = true)]
async fn a_stream_is_tested_before_it_enters_and_only_one_that_passes_enters() {
    for config in modes() {
        let (pool, peer) = pool(config);
        peer.record().probe_of = [(0, Step::Error), (1, Step::Never)].into();

        let error = pool.get().await.unwrap_err();
        assert!(matches!(error, PoolError::Probe(PeerError::Scripted)));
        assert_eq!(peer.fate_of(0), Some(EvictReason::ProbeFailed));

        let error = pool.get().await.unwrap_err();
        assert!(matches!(error, PoolError::ProbeTimedOut), "{error}");
        assert_eq!(peer.fate_of(1), Some(EvictReason::ProbeTimedOut));
        assert_eq!(pool.status().streams(), 0);

        let stream = pool.get().await.unwrap();
        assert_eq!(stream.n, 2);
        let log = peer.record().log.clone();
        assert!(log.ends_with(&[Event::Opened(2), Event::Probed(2)]));
        drop(stream);
        until(&pool, |s| s.idle == 1).await;
        assert_whole(&pool, &peer);
    }
}

// Rule 2.

#[tokio::test(start_paused = true)]
async fn idle_streams_are_checked_regularly_and_bad_ones_leave() {
    for config in modes() {
        let (pool, peer) = pool(Config {
            min: 1,
            check_interval: Some(5 * SEC),
            ..config
        });
        until(&pool, |s| s.idle == 1).await;
        pass(16 * SEC).await;
        assert_eq!(peer.probes_of(0), 4, "the first, and one every 5 s");

        peer.record().probe_of.insert(0, Step::Error);
        pass(5 * SEC).await;
        assert_eq!(peer.fate_of(0), Some(EvictReason::ProbeFailed));

        until(&pool, |s| s.idle == 1).await;
        peer.record().probe_of.insert(1, Step::Never);
        pass(8 * SEC).await;
        assert_eq!(peer.fate_of(1), Some(EvictReason::ProbeTimedOut));

        until(&pool, |s| s.idle == 1).await;
        peer.break_stream(2);
        pass(6 * SEC).await;
        assert_eq!(peer.fate_of(2), Some(EvictReason::Broken));
        assert_eq!(
            peer.probes_of(2),
            1,
            "a broken stream is discarded without a probe"
        );

        until(&pool, |s| s.idle == 1).await;
        assert_whole(&pool, &peer);
    }
}

// Rule 3.

#[tokio::test(start_paused = true)]
async fn a_stream_is_tested_again_at_checkout_and_a_bad_one_is_discarded() {
    for config in modes() {
        let (pool, peer) = pool(config);
        one_idle(&pool).await;
        peer.break_stream(0);
        assert_eq!(pool.get().await.unwrap().n, 1);
        assert_eq!(peer.fate_of(0), Some(EvictReason::Broken));

        until(&pool, |s| s.idle == 1).await;
        peer.break_stream(1);
        assert_eq!(pool.get().await.unwrap().n, 2);
        assert_eq!(peer.fate_of(1), Some(EvictReason::Broken));
        until(&pool, |s| s.idle == 1).await;
        assert_whole(&pool, &peer);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_tested_again_before_it_is_put_back_and_a_bad_one_never_returns() {
    for config in modes() {
        let (pool, peer) = pool(config);
        let stream = pool.get().await.unwrap();
        peer.break_stream(0);
        drop(stream);
        let status = pool.status();
        assert_eq!((status.idle, status.returning), (0, 0));
        assert_eq!(
            peer.fate_of(0),
            Some(EvictReason::Broken),
            "at once, in Drop"
        );

        let stream = pool.get().await.unwrap();
        peer.record().probe = Step::Slow(50 * MS);
        drop(stream);
        let status = pool.status();
        assert_eq!((status.idle, status.returning), (0, 1));
        pass(60 * MS).await;
        until(&pool, |s| s.idle == 1 && s.returning == 0).await;
        assert_eq!(peer.probes_of(1), 2);

        let stream = pool.get().await.unwrap();
        assert_eq!(stream.n, 1);
        peer.record().probe_of.insert(1, Step::Error);
        drop(stream);
        until(&pool, |s| s.streams() == 0).await;
        assert_eq!(peer.fate_of(1), Some(EvictReason::ProbeFailed));

        let stream = pool.get().await.unwrap();
        assert_eq!(stream.n, 2);
        peer.record().probe_of.insert(2, Step::Never);
        drop(stream);
        pass(3 * SEC).await;
        assert_eq!(peer.fate_of(2), Some(EvictReason::ProbeTimedOut));
        assert_whole(&pool, &peer);
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiter_gets_a_returned_stream_only_after_its_test() {
    for config in modes() {
        let (pool, peer) = pool(Config { max: 1, ..config });
        for (bad, next) in [(false, 0), (true, 1)] {
            let held = pool.get().await.unwrap();
            let waiter = queue(&pool).await;
            if bad {
                peer.record().probe_of.insert(held.n, Step::Error);
            }
            let probes = peer.probes_of(next);
            drop(held);
            let stream = waiter.await.unwrap().unwrap();
            assert_eq!(stream.n, next);
            assert_eq!(peer.probes_of(next), probes + 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_is_valid_for_as_long_as_the_options_say() {
    for config in modes() {
        let (pool, peer) = pool(Config {
            probe_validity: SEC,
            ..config
        });
        let stream = pool.get().await.unwrap();
        pass(SEC).await;
        drop(stream);
        assert_eq!(pool.status().idle, 1);
        let stream = pool.get().await.unwrap();
        pass(MS).await;
        drop(stream);
        assert_eq!((pool.status().idle, pool.status().returning), (0, 1));
        until(&pool, |s| s.idle == 1).await;
        assert_eq!(peer.probes_of(0), 2);
    }
}

// Rule 4.

#[tokio::test(start_paused = true)]
async fn a_stream_idle_for_longer_than_max_idle_is_tested_again_before_its_next_use() {
    for config in modes() {
        let (pool, peer) = pool(Config {
            max_idle: 3 * SEC,
            ..config
        });
        one_idle(&pool).await;
        let probes = peer.probes_of(0);
        pass(2 * SEC).await;
        drop(pool.get().await.unwrap());
        until(&pool, |s| s.idle == 1).await;
        assert_eq!(
            peer.probes_of(0),
            probes + 1,
            "one probe, when it was given back"
        );

        pass(4 * SEC).await;
        let stream = pool.get().await.unwrap();
        assert_eq!((stream.n, peer.probes_of(0)), (0, probes + 2));
        drop(stream);
        until(&pool, |s| s.idle == 1).await;

        pass(4 * SEC).await;
        peer.record().probe_of.insert(0, Step::Error);
        assert_eq!(pool.get().await.unwrap().n, 1, "the bad one is replaced");
        assert_eq!(peer.fate_of(0), Some(EvictReason::ProbeFailed));
    }
}

#[tokio::test(start_paused = true)]
async fn probing_at_every_checkout_delivers_streams_and_does_not_repeat_for_ever() {
    for config in modes() {
        let (pool, peer) = pool(Config {
            max_idle: Duration::ZERO,
            ..config
        });
        one_idle(&pool).await;
        peer.record().probe = Step::Slow(10 * MS);
        pass(MS).await;
        let probes = peer.probes_of(0);
        let stream = pool.get().await.unwrap();
        assert_eq!((stream.n, peer.probes_of(0)), (0, probes + 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_over_age_is_closed_when_idle_and_when_it_comes_back() {
    for config in modes() {
        let (pool, peer) = pool(Config {
            max_age: Some(10 * SEC),
            ..config
        });
        one_idle(&pool).await;
        pass(10 * SEC).await;
        assert_eq!(peer.fate_of(0), Some(EvictReason::Aged));

        let held = pool.get().await.unwrap();
        pass(20 * SEC).await;
        assert_eq!(peer.fate_of(1), None, "never taken from its holder");
        drop(held);
        assert_eq!(peer.fate_of(1), Some(EvictReason::Aged));
        assert_whole(&pool, &peer);
    }
}

// Rule 5.

#[tokio::test(start_paused = true)]
async fn min_streams_are_kept_ready_and_restored() {
    for config in modes() {
        let min = config.max.min(3);
        let (pool, peer) = pool(Config { min, ..config });
        until(&pool, |s| s.idle == min).await;

        PooledStream::discard(pool.get().await.unwrap());
        until(&pool, |s| s.idle == min).await;

        // Opens fail for a while. They are tried again after pauses, and then the pool is whole again.
        {
            let mut record = peer.record();
            (record.open, record.opens) = (Step::Error, 0);
        }
        PooledStream::discard(pool.get().await.unwrap());
        pass(SEC).await;
        let tried = peer.record().opens;
        assert!((2..=5).contains(&tried), "{tried} attempts in 1 s");
        peer.record().open = Step::Ok;
        pass(10 * SEC).await;
        assert_eq!(pool.status().idle, min);
        assert_whole(&pool, &peer);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_above_min_is_closed_after_the_idle_timeout() {
    let [config, _] = modes();
    let (pool, peer) = pool(Config {
        min: 1,
        idle_timeout: Some(10 * SEC),
        ..config
    });
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(pool.get().await.unwrap());
    }
    drop(held);
    until(&pool, |s| s.idle == 4).await;
    pass(9 * SEC).await;
    assert_eq!(pool.status().idle, 4);
    pass(SEC).await;
    let status = pool.status();
    assert_eq!(
        (status.idle, status.counts.evicted(EvictReason::Idle)),
        (1, 3)
    );
    pass(60 * SEC).await;
    assert_eq!(pool.status().idle, 1);
    assert_whole(&pool, &peer);
}

#[tokio::test(start_paused = true)]
async fn the_most_streams_are_never_passed() {
    for config in modes() {
        let max = config.max.min(3);
        let (pool, peer) = pool(Config { max, ..config });
        peer.record().open = Step::Slow(20 * MS);
        let callers: Vec<_> = (0..20_u64)
            .map(|n| {
                let pool = pool.clone();
                tokio::spawn(async move {
                    let stream = pool.get().await.unwrap();
                    pass(MS * u32::try_from(n % 4).unwrap()).await;
                    match n % 3 {
                        0 => PooledStream::discard(stream),
                        _ => drop(stream),
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.await.unwrap();
        }
        pass(SEC).await;
        assert_eq!(peer.record().most_live, max);
        assert_whole(&pool, &peer);
    }
}

#[tokio::test(start_paused = true)]
async fn an_open_that_hangs_at_the_peers_limit_makes_no_caller_hang() {
    let [config, _] = modes();
    let (pool, peer) = pool(config);
    peer.record().permits = 2;
    let first = pool.get().await.unwrap();
    let second = pool.get().await.unwrap();

    // A caller waits for its open until the time limit, and receives the error.
    let asked = tokio::time::Instant::now();
    let error = pool.get().await.unwrap_err();
    assert!(matches!(error, PoolError::OpenTimedOut), "{error}");
    assert_eq!(asked.elapsed(), pool.shared().config.open_timeout);

    // A caller waits while its open hangs, and gets the stream that comes back meanwhile.
    let waiter = queue(&pool).await;
    drop(first);
    let third = waiter.await.unwrap().unwrap();
    assert_eq!((third.n, pool.status().opening), (0, 1));

    drop((second, third));
    pass(10 * SEC).await;
    assert_whole(&pool, &peer);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_refuses_another_stream_sets_the_limit_and_callers_wait_for_a_stream_to_come_back()
 {
    let [config, _] = modes();
    let (pool, peer) = pool(config);
    {
        let mut record = peer.record();
        record.permits = 2;
        record.refuses = true;
    }
    let first = pool.get().await.unwrap();
    let second = pool.get().await.unwrap();
    let waiter = queue(&pool).await;
    let status = until(&pool, |s| s.limit.is_some()).await;
    assert_eq!((status.limit, status.waiting), (Some(2), 1));
    drop(first);
    let third = waiter.await.unwrap().unwrap();
    assert_eq!(third.n, 0);

    // No stream comes back: the wait ends, and the error names the peer's limit.
    let error = pool.get().await.unwrap_err();
    assert!(
        matches!(error, PoolError::TimedOut { at_limit: true, .. }),
        "{error}"
    );

    // The peer permits more. The pool finds out after a pause, while a caller waits.
    let waiter = queue(&pool).await;
    peer.record().permits = 3;
    let fourth = waiter.await.unwrap().unwrap();
    assert_eq!((fourth.n, pool.status().limit), (2, None));
    drop((second, third, fourth));
    until(&pool, |s| s.idle == 3).await;
    assert_whole(&pool, &peer);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_where_no_stream_can_come_back() {
    for config in modes() {
        let (pool, peer) = pool(config);
        {
            let mut record = peer.record();
            record.permits = 0;
            record.refuses = true;
        }
        let error = pool.get().await.unwrap_err();
        assert!(matches!(error, PoolError::Open(PeerError::Refused)));
        assert_whole(&pool, &peer);
    }
}
