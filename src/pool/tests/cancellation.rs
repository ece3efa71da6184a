//! Every way an open and a probe can end, with callers that drop their future after a random number of polls.

use super::*;

const STEPS: [Step; 5] = [
    Step::Ok,
    Step::Error,
    Step::Slow(Duration::from_millis(7)),
    Step::Never,
    Step::Panic,
];

/// Polls a `get` a few times, and either drops it or holds its stream for a while.
async fn caller(pool: Pool, peer: Peer, mut rng: fastrand::Rng) {
    let pause = |rng: &mut fastrand::Rng| match rng.u64(..3) {
        0 => Duration::ZERO,
        _ => Duration::from_micros(rng.u64(..6000)),
    };
    pass(pause(&mut rng)).await;
    let polls = rng.usize(..6);
    let mut get = pin!(pool.get());
    let mut outcome = None;
    for _ in 0..polls {
        outcome = poll_once(&mut get).await;
        if outcome.is_some() {
            break;
        }
        pass(pause(&mut rng)).await;
    }
    let Some(Ok(mut stream)) = outcome else {
        return;
    };
    pass(pause(&mut rng)).await;
    match rng.u8(..5) {
        0 => PooledStream::discard(stream),
        1 => PooledStream::begin(&mut stream),
        2 => peer.break_stream(stream.n),
        _ => {}
    }
}

/// Runs callers against a scripted peer, lets the peer succeed again, and checks the pool.
async fn run(config: Config, open: Step, probe: Step, seed: u64) {
    let (pool, peer) = pool(config);
    let mut rng = fastrand::Rng::with_seed(seed);
    // Some streams exist before the script applies.
    for _ in 0..rng.usize(..2) {
        one_idle(&pool).await;
    }
    {
        let mut record = peer.record();
        (record.open, record.probe) = (open, probe);
    }
    let callers: Vec<_> = (0..10)
        .map(|_| tokio::spawn(caller(pool.clone(), peer.clone(), rng.fork())))
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    assert_eq!(pool.status().waiting, 0, "no caller waits any more");

    {
        let mut record = peer.record();
        (record.open, record.probe) = (Step::Ok, Step::Ok);
    }
    pass(20 * SEC).await;
    assert_whole(&pool, &peer);
    assert_eq!(pool.status().in_use, 0);
    let stream = pool.get().await.unwrap();
    drop(stream);
    pass(MS).await;
    assert_whole(&pool, &peer);
    pool.clone().close().await;
    assert_eq!(pool.status().streams(), 0);
    assert_whole(&pool, &peer);
}

#[tokio::test(start_paused = true)]
async fn callers_that_give_up_at_random_leave_the_counts_whole_and_the_pool_working() {
    for config in modes() {
        for (row, open) in STEPS.into_iter().enumerate() {
            for (column, probe) in STEPS.into_iter().enumerate() {
                for seed in 0..6 {
                    let config = Config {
                        min: usize::from(seed % 2 == 0),
                        max: config.max.min(3),
                        max_idle: [Duration::ZERO, 10 * SEC][usize::from(seed % 3 == 0)],
                        ..config.clone()
                    };
                    let id = u64::try_from(100 * row + 10 * column).unwrap() + seed;
                    println!("{open:?} {probe:?} seed {id} {config:?}");
                    run(config, open, probe, id).await;
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_manager_that_panics_is_told_to_the_caller_and_costs_no_room() {
    for config in modes() {
        let (pool, peer) = pool(config);
        peer.record().open = Step::Panic;
        let error = pool.get().await.unwrap_err();
        assert!(matches!(error, PoolError::Aborted), "{error}");
        peer.record().open = Step::Ok;
        peer.record().probe = Step::Panic;
        let error = pool.get().await.unwrap_err();
        assert!(matches!(error, PoolError::Aborted), "{error}");
        assert_eq!(peer.fate_of(0), Some(EvictReason::ProbeFailed));
        peer.record().probe = Step::Ok;
        one_idle(&pool).await;
        assert_whole(&pool, &peer);
    }
}

#[tokio::test(start_paused = true)]
async fn a_checkout_that_is_dropped_after_any_number_of_polls_leaves_the_counts_whole() {
    let slow = Step::Slow(5 * MS);
    for config in modes() {
        for (open, probe) in [(Step::Ok, Step::Ok), (slow, Step::Ok), (slow, slow)] {
            let mut k = 0;
            let mut completed = false;
            while !completed {
                let (pool, peer) = pool(config.clone());
                (peer.record().open, peer.record().probe) = (open, probe);
                let mut got = None;
                {
                    let mut get = pin!(pool.get());
                    for _ in 0..k {
                        got = poll_once(&mut get).await;
                        if got.is_some() {
                            break;
                        }
                        pass(MS).await;
                    }
                }
                completed = got.is_some();
                drop(got);
                pass(SEC).await;
                assert_whole(&pool, &peer);
                let status = pool.status();
                assert_eq!((status.waiting, status.in_use), (0, 0), "after {k} polls");
                drop(pool.get().await.unwrap());
                pool.close().await;
                k += 1;
                assert!(k < 100, "not done after {k} polls");
            }
        }
    }
}
