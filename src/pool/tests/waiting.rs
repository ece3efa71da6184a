//! Waiting: callers are served in order, and a caller that gives up takes nothing with it.

use super::*;

#[tokio::test(start_paused = true)]
async fn callers_are_served_first_come_first_served() {
    for config in modes() {
        let (pool, _peer) = pool(Config { max: 1, ..config });
        let held = pool.get().await.unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut callers = Vec::new();
        for n in 0..6 {
            let (pool, order) = (pool.clone(), Arc::clone(&order));
            let waiting = pool.status().waiting;
            let getter = pool.clone();
            callers.push(tokio::spawn(async move {
                let stream = getter.get().await.unwrap();
                order.lock().unwrap().push(n);
                tokio::task::yield_now().await;
                // Every second caller discards the stream. The order holds all the same.
                match n % 2 {
                    0 => drop(stream),
                    _ => PooledStream::discard(stream),
                }
            }));
            until(&pool, |s| s.waiting == waiting + 1).await;
        }
        drop(held);
        for caller in callers {
            caller.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4, 5]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_whose_stream_turned_out_broken_keeps_its_place() {
    for config in modes() {
        let (pool, peer) = pool(Config { max: 1, ..config });
        let held = pool.get().await.unwrap();
        let first = queue(&pool).await;
        let second = queue(&pool).await;
        peer.record().probe = Step::Slow(10 * MS);
        drop(held);
        until(&pool, |s| s.returning == 1).await;
        pass(5 * MS).await;
        // The stream breaks during its probe: the probe passes, and the test at checkout fails.
        peer.break_stream(0);
        let stream = first.await.unwrap().unwrap();
        assert_eq!(stream.n, 1);
        assert!(!second.is_finished());
        drop(stream);
        assert_eq!(second.await.unwrap().unwrap().n, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_get_that_is_dropped_leaves_the_stream_it_asked_for_idle_for_the_next() {
    for config in modes() {
        let (pool, peer) = pool(config);
        peer.record().open = Step::Slow(30 * MS);
        {
            let mut get = pin!(pool.get());
            assert!(poll_once(&mut get).await.is_none());
            until(&pool, |s| s.opening == 1).await;
        }
        assert_eq!(pool.status().waiting, 0);
        pass(40 * MS).await;
        until(&pool, |s| s.idle == 1).await;
        assert_eq!(pool.get().await.unwrap().n, 0);
        assert_eq!(peer.record().next, 1, "nothing else was opened");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_delivered_to_a_get_that_is_dropped_goes_to_the_next_in_the_queue() {
    for config in modes() {
        let (pool, peer) = pool(Config { max: 1, ..config });
        let held = pool.get().await.unwrap();
        let mut get = Box::pin(pool.get());
        assert!(poll_once(&mut get.as_mut()).await.is_none());
        let next = queue(&pool).await;
        drop(held);
        // The stream is delivered, and its caller is never polled again.
        until(&pool, |s| s.in_use == 1 && s.waiting == 1).await;
        let probes = peer.probes_of(0);
        drop(get);
        assert_eq!(next.await.unwrap().unwrap().n, 0);
        assert_eq!(peer.probes_of(0), probes, "an unused stream is not probed");
    }
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_a_stream_has_a_bound() {
    for config in modes() {
        let (pool, peer) = pool(Config { max: 1, ..config });
        let held = pool.get().await.unwrap();
        let asked = tokio::time::Instant::now();
        let error = pool.get().await.unwrap_err();
        assert_eq!(asked.elapsed(), pool.shared().config.checkout_timeout);
        assert!(
            matches!(
                error,
                PoolError::TimedOut {
                    at_limit: false,
                    ..
                }
            ),
            "{error}"
        );
        assert_eq!(pool.status().waiting, 0);
        drop(held);
        until(&pool, |s| s.idle == 1).await;
        assert_whole(&pool, &peer);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_open_is_told_to_one_caller_and_delays_no_other() {
    let [config, _] = modes();
    let (pool, peer) = pool(config);
    one_idle(&pool).await;
    let held = pool.get().await.unwrap();
    peer.record().open = Step::Never;
    let hanging = queue(&pool).await;
    drop(held);
    // The waiter gets the stream that came back while its open still hangs. Another caller is served meanwhile.
    drop(hanging.await.unwrap().unwrap());
    until(&pool, |s| s.idle == 1).await;
    let stream = pool.get().await.unwrap();
    assert_eq!((stream.n, pool.status().opening), (0, 1));

    peer.record().open = Step::Error;
    let error = pool.get().await.unwrap_err();
    // The hanging open was still under way for this caller, and its failure was the answer.
    assert!(matches!(error, PoolError::OpenTimedOut), "{error}");
    let error = pool.get().await.unwrap_err();
    assert!(matches!(error, PoolError::Open(PeerError::Scripted)));
    drop(stream);
    until(&pool, |s| s.idle == 1).await;
    assert_whole(&pool, &peer);
}

#[tokio::test(start_paused = true)]
async fn the_next_in_the_queue_wakes_whichever_way_a_holder_lets_go() {
    type LetGo = fn(PooledStream<Peer>, &Peer);
    let ways: [(&str, LetGo); 6] = [
        ("clean", |stream, _| drop(stream)),
        ("discarded", |stream, _| PooledStream::discard(stream)),
        ("mid-frame", |mut stream, _| {
            PooledStream::begin(&mut stream)
        }),
        ("broken", |stream, peer| peer.break_stream(stream.n)),
        ("no answer", |stream, peer| {
            peer.record().probe_of.insert(stream.n, Step::Never);
        }),
        ("panic", |stream, _| {
            let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
                let _held = stream;
                panic!("scripted");
            }));
            assert!(panicked.is_err());
        }),
    ];
    for config in modes() {
        for (way, let_go) in ways {
            let (pool, peer) = pool(Config {
                max: 1,
                ..config.clone()
            });
            let held = pool.get().await.unwrap();
            let waiter = queue(&pool).await;
            let_go(held, &peer);
            let stream = waiter.await.unwrap();
            assert!(stream.is_ok(), "{way}: {stream:?}");
            drop(stream);
            until(&pool, |s| s.idle == 1).await;
            assert_whole(&pool, &peer);
        }
    }
}
