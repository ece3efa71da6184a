//! A pool that has nothing to do sets no timer.

use super::*;

#[tokio::test(start_paused = true)]
async fn an_idle_pool_without_a_background_check_sets_no_timer() {
    for config in modes() {
        let (pool, _peer) = pool(Config {
            min: 1,
            idle_timeout: Some(SEC),
            ..config
        });
        one_idle(&pool).await;
        assert_eq!(pool.shared().next_wake(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_pool_whose_streams_are_all_in_use_sets_no_timer() {
    for config in modes() {
        let (pool, _peer) = pool(Config {
            min: 1,
            check_interval: Some(SEC),
            max_age: Some(SEC),
            idle_timeout: Some(SEC),
            ..config
        });
        until(&pool, |s| s.idle == 1).await;
        assert!(pool.shared().next_wake().is_some());
        let _held = pool.get().await.unwrap();
        // The maintenance task wakes once more at the time that it had set, and sets no other.
        pass(2 * SEC).await;
        assert_eq!(pool.shared().next_wake(), None);
    }
}
