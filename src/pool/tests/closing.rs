//! Closing: everyone is told, nothing is left open, no task goes on.

use super::*;

#[tokio::test(start_paused = true)]
async fn closing_discards_idle_streams_tells_who_waits_and_ends_every_task() {
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
        assert!(pool.try_get().is_err());

        // Guards stay good, and their streams are discarded when they come back.
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
        // One returned and in a probe that hangs, one in its first probe, one being opened.
        let returned = pool.get().await.unwrap();
        peer.look().probe = Step::Never;
        drop(returned);
        let shared = Arc::clone(pool.shared());
        let begun = tokio::time::Instant::now();
        let mut waiters = vec![queue(&pool).await, queue(&pool).await];
        until(&pool, |_| peer.look().next == 2).await;
        peer.look().open = Step::Never;
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
        let record = peer.look();
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
        assert!(!shared.is_closed());
        drop(clone);
        assert!(shared.is_closed());
        shared.tasks.join().await;
        drop(held);
        assert_eq!(peer.fate_of(0), Some(EvictReason::Closed));
        assert_eq!(peer.look().lost, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn closing_a_pool_that_is_still_opening_its_first_streams_ends_it() {
    for config in modes() {
        let (pool, peer) = pool(Config { min: 1, ..config });
        peer.look().open = Step::Never;
        until(&pool, |s| s.opening == 1).await;
        pool.clone().close().await;
        assert_whole(&pool, &peer);
    }
}

#[test]
fn a_pool_whose_runtime_goes_closes_even_if_it_never_ran() {
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
