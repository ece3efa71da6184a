//! Random faults: of the links, and at the same time of the broker and its disk.

use std::time::Duration;

use anabranch::sim::{Change, Loss};
use fastrand::Rng;
use tokio::sync::Notify;

use super::{disk::Condition, log::Log, world::World};
use crate::tally::Part;

/// A fault of a link, of its packets, or of the address of a client.
#[derive(Debug, Clone, Copy)]
enum NetworkFault {
    Cut,
    BlackholeThere,
    /// Answers are lost.
    BlackholeBack,
    Stall,
    LoseNext,
    BurstyLoss,
    Rebind,
    ResetStreams,
    CloseConnection,
}

impl NetworkFault {
    const ALL: [Self; 9] = [
        Self::Cut,
        Self::BlackholeThere,
        Self::BlackholeBack,
        Self::Stall,
        Self::LoseNext,
        Self::BurstyLoss,
        Self::Rebind,
        Self::ResetStreams,
        Self::CloseConnection,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::BlackholeThere => "blackhole to the broker",
            Self::BlackholeBack => "blackhole from the broker",
            Self::Stall => "stall",
            Self::LoseNext => "packets lost in a row",
            Self::BurstyLoss => "bursty loss",
            Self::Rebind => "rebind",
            Self::ResetStreams => "stream reset",
            Self::CloseConnection => "connection closed",
        }
    }
}

/// A fault of the broker or its disk.
#[derive(Debug, Clone, Copy)]
enum BrokerFault {
    Restart,
    /// The broker loses what was not synced.
    Crash,
    /// The broker crashes after a batch is stored and before it is answered.
    CrashBeforeAnswer,
    SlowDisk,
    FullDisk,
    FailingDisk,
}

impl BrokerFault {
    const ALL: [Self; 6] = [
        Self::Restart,
        Self::Crash,
        Self::CrashBeforeAnswer,
        Self::SlowDisk,
        Self::FullDisk,
        Self::FailingDisk,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Restart => "broker restarted",
            Self::Crash => "broker crashed, unsynced bytes lost",
            Self::CrashBeforeAnswer => "broker killed between store and answer",
            Self::SlowDisk => "slow disk",
            Self::FullDisk => "full disk",
            Self::FailingDisk => "writes that fail with unknown result",
        }
    }
}

/// Draws a duration that is mostly short, and sometimes longer than every timeout.
fn fault_duration(rng: &mut Rng) -> Duration {
    Duration::from_millis(match rng.u8(0..6) {
        0 => rng.u64(5_000..40_000),
        1 | 2 => rng.u64(500..5_000),
        _ => rng.u64(1..500),
    })
}

/// Faults between clients and broker, one after another. At the end the links work again.
pub async fn network_faults(world: &World, log: &Log, mut rng: Rng) {
    for _ in 0..rng.usize(0..5) {
        world
            .network
            .sleep(Duration::from_millis(rng.u64(0..1500)))
            .await;
        let mut fault = rng.choice(NetworkFault::ALL).unwrap();
        // With a relay, half of the faults use it.
        if world.relay.is_some() && rng.bool() {
            let by_the_relay = [NetworkFault::ResetStreams, NetworkFault::CloseConnection];
            fault = rng.choice(by_the_relay).unwrap();
        }
        if apply(world, fault, &mut rng).await {
            log.count(Part::Faults, fault.name());
        }
    }
}

/// Applies a fault. Returns false if there is nothing it could apply to.
async fn apply(world: &World, fault: NetworkFault, rng: &mut Rng) -> bool {
    let client = rng.choice(&world.clients).unwrap();
    let lasts = fault_duration(rng);
    let network = &world.network;
    match fault {
        NetworkFault::Cut => {
            client.there.cut();
            client.back.cut();
            network.sleep(lasts).await;
            client.there.restore();
            client.back.restore();
        }
        NetworkFault::BlackholeThere => {
            client.there.cut();
            network.sleep(lasts).await;
            client.there.restore();
        }
        NetworkFault::BlackholeBack => {
            client.back.cut();
            network.sleep(lasts).await;
            client.back.restore();
        }
        NetworkFault::Stall => {
            let way = rng.choice([&client.there, &client.back]).unwrap();
            way.apply(&Change::Stall(lasts)).unwrap();
        }
        NetworkFault::LoseNext => {
            let way = rng.choice([&client.there, &client.back]).unwrap();
            way.lose_next(rng.u64(1..30));
        }
        NetworkFault::BurstyLoss => {
            let bursty = Loss::Bursty {
                share: 0.2,
                mean_burst: 8.0,
            };
            for way in [&client.there, &client.back] {
                let before = way.config().loss;
                way.apply(&Change::Loss(Some(bursty))).unwrap();
                way.schedule([(lasts, Change::Loss(before))]).unwrap();
            }
            network.sleep(lasts).await;
        }
        NetworkFault::Rebind => client.host.rebind(),
        NetworkFault::ResetStreams => {
            let Some(relay) = &world.relay else {
                return false;
            };
            return relay.reset_a_stream(rng);
        }
        NetworkFault::CloseConnection => {
            let Some(relay) = &world.relay else {
                return false;
            };
            return relay.close_a_connection(rng);
        }
    }
    true
}

/// Faults of the broker and its disk, one after another. At the end the broker serves and its disk is sound.
pub async fn broker_faults(world: &World, log: &Log, mut rng: Rng) {
    for _ in 0..rng.usize(0..4) {
        world
            .network
            .sleep(Duration::from_millis(rng.u64(0..2000)))
            .await;
        let fault = rng.choice(BrokerFault::ALL).unwrap();
        apply_to_broker(world, fault, log, &mut rng).await;
        log.count(Part::Faults, fault.name());
    }
}

async fn apply_to_broker(world: &World, fault: BrokerFault, log: &Log, rng: &mut Rng) {
    let down = Duration::from_millis(match rng.u8(0..4) {
        0 => rng.u64(1000..20_000),
        _ => rng.u64(0..300),
    });
    let lasts = Duration::from_millis(rng.u64(1..4000));
    let network = &world.network;
    match fault {
        BrokerFault::Restart => world.restart(down).await,
        BrokerFault::Crash => crash(world, down, log).await,
        BrokerFault::CrashBeforeAnswer => {
            let stored = std::sync::Arc::new(Notify::new());
            let (silence, notify) = (world.silencer().await, stored.clone());
            world.disk.before_next_answer(move || {
                silence();
                notify.notify_one();
            });
            // If nothing more is stored, this is an ordinary crash.
            let _ = tokio::time::timeout(Duration::from_secs(5), stored.notified()).await;
            crash(world, down, log).await;
        }
        BrokerFault::SlowDisk => {
            world
                .disk
                .set_sync_takes(Duration::from_millis(rng.u64(20..800)));
            network.sleep(lasts).await;
            world.disk.set_sync_takes(Duration::from_millis(1));
        }
        BrokerFault::FullDisk => {
            world.disk.set_condition(Condition::Full);
            network.sleep(lasts).await;
            world.disk.set_condition(Condition::Sound);
        }
        BrokerFault::FailingDisk => {
            world.disk.set_condition(Condition::Failing);
            network.sleep(lasts / 4).await;
            world.disk.set_condition(Condition::Sound);
        }
    }
}

async fn crash(world: &World, down: Duration, log: &Log) {
    let before = world.disk.forgotten();
    world.crash(down).await;
    let forgotten = world.disk.forgotten() - before;
    log.add(Part::Faults, "writes lost in a crash", forgotten);
}
