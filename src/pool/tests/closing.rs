//! Closing: every caller is told, no stream stays open, no task goes on.

use super::*;

#[tokio::test(start_paused = true)]
async fn closing_discards_idle_streams_tells_waiters_and_ends_every_task() {
    for config in modes() {
        let max = config.max.min(2);
        let (pool, peer) = pool(Config {
            max,
            min: 1,
            check_interval: Some(SEC),
            ..config
        });
        until(&pool, |s| s.idle == 1).await;
        let mut held = Vec::new();
        for _ in 0..max {
            held.push(pool.get().await.unwrap());
        }
        let waiter = queue(&pool).await;
        let shared = Arc::clone(pool.shared());
        pool.clone().close().await;
        assert!(matches!(waiter.await.unwrap(), Err(PoolError::Closed)));
        assert_eq!(shared.tasks.len(), 0);
        assert!(matches!(pool.get().await, Err(PoolError::Closed)));

        // Guards stay usable, and their streams are discarded when they come back.
        assert_eq!(pool.status().in_use, max);
        drop(held);
        assert_eq!(peer.fate_of(0), Some(EvictReason::Closed));
        assert_eq!(pool.status().streams(), 0);
        assert_whole(&pool, &peer);
        pool.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn closing_interrupts_opens_and_probes_that_hang() {
    for config in modes() {
        let (pool, peer) = pool(Config { max: 4, ..config });
        // One stream was given back and its probe hangs, one is in its first probe, one is being opened.
        let returned = pool.get().await.unwrap();
        peer.record().probe = Step::Never;
        drop(returned);
        let shared = Arc::clone(pool.shared());
        let begun = tokio::time::Instant::now();
        let mut waiters = vec![queue(&pool).await, queue(&pool).await];
        until(&pool, |_| peer.record().next == 2).await;
        peer.record().open = Step::Never;
        waiters.push(queue(&pool).await);
        until(&pool, |s| s.opening == 2).await;

        pool.close().await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert_eq!(shared.tasks.len(), 0);
        for waiter in waiters {
            assert!(matches!(waiter.await.unwrap(), Err(PoolError::Closed)));
        }
        assert_eq!(peer.fate_of(0), Some(EvictReason::Closed));
        assert_eq!(peer.fate_of(1), Some(EvictReason::Closed));
        let record = peer.record();
        assert_eq!((record.live.len(), record.lost), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_closes_the_pool() {
    for config in modes() {
        let (pool, peer) = pool(config);
        let held = pool.get().await.unwrap();
        let shared = Arc::clone(pool.shared());
        let clone = pool.clone();
        drop(pool);
        assert!(!shared.status().closed);
        drop(clone);
        assert!(shared.status().closed);
        shared.tasks.join().await;
        drop(held);
        assert_eq!(peer.fate_of(0), Some(EvictReason::Closed));
        assert_eq!(peer.record().lost, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn closing_a_pool_that_is_still_opening_its_first_streams_ends_it() {
    for config in modes() {
        let (pool, peer) = pool(Config { min: 1, ..config });
        peer.record().open = Step::Never;
        until(&pool, |s| s.opening == 1).await;
        pool.clone().close().await;
        assert_whole(&pool, &peer);
    }
}

#[test]
fn a_pool_whose_runtime_is_shut_down_closes_even_if_its_task_never_ran() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let [config, _] = modes();
    let pool = {
        let _context = runtime.enter();
        StreamPool::new(Peer::default(), config).unwrap()
    };
    assert!(!pool.status().closed);
    drop(runtime);
    assert!(pool.status().closed);
}
