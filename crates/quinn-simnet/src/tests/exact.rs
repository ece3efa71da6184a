#![allow(
    clippy::disallowed_methods,
    reason = "tests may read the clock and start tasks"
)]

use std::{
    sync::Mutex,
    task::{Context, Waker},
    time::Duration,
};

use super::*;

const MICRO: Duration = Duration::from_micros(1);
const MS: Duration = Duration::from_millis(1);

#[test]
fn a_packet_arrives_after_exactly_its_delay() {
    for delay in [
        Duration::from_nanos(1),
        MICRO * 100,
        Duration::from_nanos(999_999),
        MS,
        Duration::from_nanos(1_000_001),
        MICRO * 61_234,
    ] {
        run(1, async |net| {
            let pair = pair(&net, LinkConfig::default().delay(delay));
            for round in 1..=3 {
                send(&pair.client, pair.server.address(), b"there");
                let there = receive(&pair.server).await;
                assert_eq!(there[0].1, b"there");
                assert_eq!(net.elapsed(), delay * (2 * round - 1));
                send(&pair.server, there[0].0.addr, b"back");
                receive(&pair.client).await;
                assert_eq!(net.elapsed(), delay * (2 * round));
            }
        });
    }
}

#[test]
fn packets_behind_each_other_arrive_one_by_one_at_the_rate() {
    run(1, async |net| {
        // A packet of 1,222 bytes and 28 bytes of headers takes 10 µs.
        let pair = pair(
            &net,
            LinkConfig::default().delay(MICRO * 50).rate(Rate::gbit(1)),
        );
        send_segments(
            &pair.client,
            pair.server.address(),
            &[7; 4 * 1222],
            Some(1222),
        );
        for number in 1..=4 {
            assert_eq!(receive(&pair.server).await.len(), 1);
            assert_eq!(net.elapsed(), MICRO * (50 + 10 * number));
        }
    });
}

#[test]
fn packets_of_the_same_moment_come_in_one_call() {
    run(1, async |net| {
        let pair = pair(&net, LinkConfig::default().delay(MICRO * 50));
        send_segments(&pair.client, pair.server.address(), &[7; 3500], Some(1000));
        let packets = receive(&pair.server).await;
        let sizes: Vec<_> = packets.iter().map(|(meta, _)| meta.len).collect();
        assert_eq!(sizes, [1000, 1000, 1000, 500]);
        assert_eq!(packets[0].0.addr, pair.client.address());
        assert_eq!(packets[0].0.ecn, Some(EcnCodepoint::Ect0));
    });
}

/// Starts tasks that record the time at which they wake.
struct WakeLog {
    net: Network,
    woken: Arc<Mutex<Vec<(&'static str, Duration)>>>,
}

impl WakeLog {
    fn new(net: &Network) -> Self {
        Self {
            net: net.clone(),
            woken: Arc::default(),
        }
    }

    fn exact(&self, name: &'static str, time: Duration) {
        let net = self.net.clone();
        self.record(name, async move { net.sleep(time).await });
    }

    fn tokio(&self, name: &'static str, time: Duration) {
        self.record(name, tokio::time::sleep(time));
    }

    fn record(&self, name: &'static str, sleep: impl Future<Output = ()> + Send + 'static) {
        let (net, woken) = (self.net.clone(), self.woken.clone());
        tokio::spawn(async move {
            sleep.await;
            woken.lock().unwrap().push((name, net.elapsed()));
        });
    }

    async fn after(self, time: Duration) -> Vec<(&'static str, Duration)> {
        self.net.sleep(time).await;
        self.woken.lock().unwrap().clone()
    }
}

#[test]
fn exact_alarms_and_timers_of_tokio_share_one_clock_and_none_is_skipped() {
    run(1, async |net| {
        let log = WakeLog::new(&net);
        log.tokio("tokio 300 µs", MICRO * 300);
        log.tokio("tokio 2 ms", MS * 2);
        log.tokio("tokio 70 ms", MS * 70);
        log.exact("exact 100 µs", MICRO * 100);
        log.exact("exact 999 µs", MICRO * 999);
        log.exact("exact 1 ms", MS);
        log.exact("exact 2.5 ms", MICRO * 2_500);
        log.exact("exact 69.9 ms", MICRO * 69_900);
        log.exact("exact 70.1 ms", MICRO * 70_100);
        assert_eq!(
            log.after(MS * 100).await,
            [
                ("exact 100 µs", MICRO * 100),
                ("exact 999 µs", MICRO * 999),
                ("tokio 300 µs", MS),
                ("exact 1 ms", MS),
                ("tokio 2 ms", MS * 2),
                ("exact 2.5 ms", MICRO * 2_500),
                ("exact 69.9 ms", MICRO * 69_900),
                ("tokio 70 ms", MS * 70),
                ("exact 70.1 ms", MICRO * 70_100),
            ]
        );
    });
}

#[test]
fn a_timer_of_tokio_that_is_set_between_the_points_of_its_grid_does_not_overshoot() {
    run(1, async |net| {
        net.sleep(MICRO * 300).await;
        tokio::time::sleep(MS * 5).await;
        assert_eq!(net.elapsed(), MS * 6);
        net.sleep(MICRO * 300).await;
        // Without exact alarms, tokio advances its clock by itself.
        tokio::time::sleep(Duration::from_secs(3600) - MS * 8).await;
        assert_eq!(net.elapsed(), Duration::from_secs(3600) - MS);
    });
}

#[test]
fn an_alarm_that_wakes_nobody_does_not_let_the_clock_run_away() {
    run(1, async |net| {
        let origin = time::now();
        let _forgotten: Vec<_> = [MS, MICRO * 1_200, MS * 2]
            .into_iter()
            .map(|at| {
                let mut timer = net.runtime().new_timer(origin + at);
                let polled = timer.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                assert!(polled.is_pending());
                timer
            })
            .collect();
        let log = WakeLog::new(&net);
        log.exact("exact 2.1 ms", MICRO * 2_100);
        log.tokio("tokio 50 ms", MS * 50);
        assert_eq!(
            log.after(MS * 60).await,
            [("exact 2.1 ms", MICRO * 2_100), ("tokio 50 ms", MS * 50)]
        );
    });
}

#[test]
fn a_timer_for_quinn_fires_at_the_time_it_was_last_set_to() {
    run(1, async |net| {
        let start = time::now();
        let mut timer = net.runtime().new_timer(start + MICRO * 100);
        poll_fn(|cx| timer.as_mut().poll(cx)).await;
        assert_eq!(net.elapsed(), MICRO * 100);
        timer.as_mut().reset(start + MICRO * 900);
        timer.as_mut().reset(start + MICRO * 350);
        poll_fn(|cx| timer.as_mut().poll(cx)).await;
        assert_eq!(net.elapsed(), MICRO * 350);
    });
}

#[test]
fn no_time_passes_while_a_task_can_run() {
    run(1, async |net| {
        let busy = tokio::spawn(async {
            for _ in 0..10_000 {
                tokio::task::yield_now().await;
            }
        });
        let packet = async {
            let pair = pair(&net, LinkConfig::default().delay(MICRO * 10));
            send(&pair.client, pair.server.address(), b"x");
            receive(&pair.server).await;
            assert!(busy.is_finished());
        };
        packet.await;
        assert_eq!(net.elapsed(), MICRO * 10);
    });
}

#[test]
#[should_panic(expected = "not over after 5s of virtual time")]
fn a_scenario_that_hangs_ends_with_a_panic() {
    run_within(Duration::from_secs(5), 1, async |net| {
        let pair = pair(&net, LinkConfig::default());
        receive(&pair.server).await;
    });
}

#[test]
fn a_run_frees_what_it_used() {
    let kept = Arc::new(());
    let given = kept.clone();
    run(1, async move |net| {
        net.sleep(MICRO * 300).await;
        let pair = pair(&net, LinkConfig::default().delay(MS));
        let forever = net.clone();
        tokio::spawn(async move {
            send(&pair.client, pair.server.address(), b"x");
            receive(&pair.server).await;
            forever.sleep(Duration::from_secs(100)).await;
            drop(given);
        });
        tokio::time::sleep(MS * 10).await;
    });
    assert_eq!(Arc::strong_count(&kept), 1);
}

#[test]
fn elapsed_is_the_virtual_time_of_the_run_and_there_is_none_outside() {
    assert_eq!(elapsed(), None);
    for seed in 1..=2 {
        run(seed, async |net| {
            assert_eq!(elapsed(), Some(Duration::ZERO));
            net.sleep(MICRO * 300).await;
            assert_eq!(elapsed(), Some(MICRO * 300));
            let in_task = tokio::spawn(async { elapsed() }).await.unwrap();
            assert_eq!(in_task, Some(net.elapsed()));
            let elsewhere = std::thread::spawn(elapsed).join().unwrap();
            assert_eq!(elsewhere, None);
        });
        assert_eq!(elapsed(), None);
    }
}

#[test]
fn elapsed_is_none_again_after_a_scenario_that_panics() {
    let panicking = || run(1, async |_| panic!("on purpose"));
    assert!(std::panic::catch_unwind(panicking).is_err());
    assert_eq!(elapsed(), None);
}
