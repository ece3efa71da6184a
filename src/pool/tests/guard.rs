//! The guard: a stream with half a frame never reaches another holder.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_guard_dropped_mid_frame_resets_its_stream_and_never_returns_it() {
    for config in modes() {
        // A probe that is still valid must not let it through either.
        let (pool, peer) = pool(Config {
            probe_validity: 60 * SEC,
            ..config
        });
        let mut stream = pool.get().await.unwrap();
        PooledStream::begin(&mut stream);
        drop(stream);
        assert_eq!(peer.fate_of(0), Some(EvictReason::Dirty));
        assert_eq!(pool.status().streams(), 0);

        let mut stream = pool.get().await.unwrap();
        PooledStream::begin(&mut stream);
        PooledStream::end(&mut stream);
        drop(stream);
        until(&pool, |s| s.idle == 1).await;
        assert_eq!(peer.fate_of(1), None);
        assert_whole(&pool, &peer);
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_cancelled_at_an_await_costs_the_stream() {
    for config in modes() {
        let (pool, peer) = pool(config);
        {
            let mut stream = pool.get().await.unwrap();
            let mut write = pin!(async {
                PooledStream::begin(&mut stream);
                tokio::time::sleep(10 * MS).await;
                PooledStream::end(&mut stream);
            });
            assert!(poll_once(&mut write).await.is_none());
        }
        assert_eq!(peer.fate_of(0), Some(EvictReason::Dirty));
        assert_whole(&pool, &peer);
    }
}

#[tokio::test(start_paused = true)]
async fn a_frame_marked_beside_a_borrowed_stream_is_a_frame_of_the_guard() {
    for config in modes() {
        let (pool, peer) = pool(config);
        for whole in [true, false] {
            let mut stream = pool.get().await.unwrap();
            let (wire, mut mark) = PooledStream::with_mark(&mut stream);
            mark.begin();
            assert_eq!(wire.n, 0);
            if whole {
                mark.end();
            }
            drop(stream);
            until(&pool, |s| s.returning == 0).await;
            let fate = (!whole).then_some(EvictReason::Dirty);
            assert_eq!(peer.fate_of(0), fate);
        }
        assert_whole(&pool, &peer);
    }
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_panics_costs_the_stream() {
    for config in modes() {
        let (pool, peer) = pool(config);
        let stream = pool.get().await.unwrap();
        let holder = tokio::spawn(async move {
            let _stream = stream;
            panic!("scripted");
        });
        assert!(holder.await.unwrap_err().is_panic());
        assert_eq!(peer.fate_of(0), Some(EvictReason::Dirty));
        assert_whole(&pool, &peer);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_its_holder_discards_is_counted_as_discarded() {
    for config in modes() {
        let (pool, peer) = pool(config);
        let stream = pool.get().await.unwrap();
        let first = PooledStream::id(&stream);
        PooledStream::discard(stream);
        assert_eq!(peer.fate_of(0), Some(EvictReason::Discarded));
        let stream = pool.get().await.unwrap();
        assert!(
            PooledStream::id(&stream) > first,
            "ids are never used twice"
        );
    }
}

#[test]
fn a_guard_may_be_dropped_after_its_runtime_is_gone() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let [config, _] = modes();
    let peer = Peer::default();
    let manager = peer.clone();
    let (pool, held, returned) = runtime.block_on(async {
        let pool = StreamPool::new(manager, config).unwrap();
        let held = pool.get().await.unwrap();
        let returned = pool.get().await.unwrap();
        (pool, held, returned)
    });
    drop(returned);
    drop(runtime);
    assert!(
        pool.status().closed,
        "the pool closes with its maintenance task"
    );
    assert_eq!(peer.fate_of(1), Some(EvictReason::Closed));
    drop(held);
    assert_eq!(peer.fate_of(0), Some(EvictReason::Closed));
    assert_whole(&pool, &peer);
}
