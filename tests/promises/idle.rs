//! A producer that has nothing to do does nothing but keep its connection alive.

use std::time::Duration;

use anabranch::sim::{self, LinkConfig};
use tokio::runtime::Handle;

use crate::world::{LONG, TOPIC, World};

const HOUR: Duration = Duration::from_secs(3600);

/// How often anything at all happens in an hour, at either end, with pings this far apart; without a producer, if `None`.
fn wake_ups(pings: Option<Duration>) -> u64 {
    sim::run_within(2 * HOUR, 1, async move |network| {
        let link = LinkConfig::default().delay(Duration::from_millis(10));
        let world = World::new(network, link).await;
        let mut producer = None;
        if let Some(every) = pings {
            let mut config = world.config();
            config.connection.ping_interval = every;
            config.connection.transport.idle_timeout = Duration::from_secs(120);
            let builder = anabranch::Producer::builder().config(config).topic(TOPIC);
            let connected = builder.connect().await.unwrap();
            let receipt = connected.send_async("one").await.unwrap();
            receipt.await.unwrap();
            producer = Some(connected);
        }
        // Lanes and streams that are not needed have gone by then.
        world.network.sleep(Duration::from_secs(300)).await;
        let parked = || Handle::current().metrics().worker_park_count(0);
        let before = parked();
        world.network.sleep(HOUR).await;
        let after = parked();
        if let Some(producer) = producer {
            producer.close(LONG).await.unwrap();
        }
        after - before
    })
}

#[test]
fn an_idle_producer_has_no_timer_but_the_keep_alive() {
    let (often, seldom) = (Duration::from_secs(5), Duration::from_secs(10));
    let (often, seldom) = (wake_ups(Some(often)), wake_ups(Some(seldom)));
    let broker_alone = wake_ups(None);
    // What is left where what each ping brings with it is counted out.
    let beside_pings = (2 * seldom).saturating_sub(often);
    // QUIC looks for a larger packet size every ten minutes, each way.
    let of_quic = 12 * 6;
    assert!(
        beside_pings <= broker_alone + of_quic,
        "{often}, {seldom}, {broker_alone}"
    );
    // Two of them are intervals without one: while nothing is sent, every third brings a ping.
    let each_ping = (often - seldom) / (HOUR.as_secs() / 30);
    assert!(each_ping <= 20, "{often}, {seldom}, {broker_alone}");
}
