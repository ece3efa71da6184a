//! The same promises on several threads.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_threads_never_share_a_stream_and_never_pass_max() {
    for config in modes() {
        let max = config.max.min(3);
        let (pool, peer) = pool(Config {
            max,
            probe_validity: MS,
            ..config
        });
        let held = Arc::new(Mutex::new(BTreeSet::new()));
        let callers: Vec<_> = (0..16)
            .map(|seed| {
                let (pool, peer, held) = (pool.clone(), peer.clone(), Arc::clone(&held));
                tokio::spawn(async move {
                    let mut rng = fastrand::Rng::with_seed(seed);
                    for _ in 0..60 {
                        if rng.u8(..) < 30 {
                            let mut get = pin!(pool.get());
                            let _ = poll_once(&mut get).await;
                            continue;
                        }
                        let mut stream = pool.get().await.unwrap();
                        assert!(held.lock().unwrap().insert(stream.n), "shared");
                        tokio::task::yield_now().await;
                        assert!(held.lock().unwrap().remove(&stream.n));
                        match rng.u8(..) {
                            0..20 => PooledStream::begin(&mut stream),
                            20..40 => peer.break_stream(stream.n),
                            _ => {}
                        }
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.await.unwrap();
        }
        pool.clone().close().await;
        assert_whole(&pool, &peer);
        assert!(peer.record().live.is_empty());
    }
}
