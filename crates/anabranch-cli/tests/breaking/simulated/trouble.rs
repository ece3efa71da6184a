//! Who makes trouble: one for the links, one for the broker and its disk, at the same time.

use std::time::Duration;

use anabranch::sim::{Change, Loss};
use fastrand::Rng;
use tokio::sync::Notify;

use super::{disk::Condition, log::Log, world::World};
use crate::tally::Part;

/// What can be done to a link, to what goes over it, or to the address at its end.
#[derive(Debug, Clone, Copy)]
enum OnTheWay {
    Cut,
    BlackholeThere,
    /// What is stored is not answered.
    BlackholeBack,
    Stall,
    LoseNext,
    BurstyLoss,
    Rebind,
    ResetStreams,
    KillConnection,
}

impl OnTheWay {
    const ALL: [Self; 9] = [
        Self::Cut,
        Self::BlackholeThere,
        Self::BlackholeBack,
        Self::Stall,
        Self::LoseNext,
        Self::BurstyLoss,
        Self::Rebind,
        Self::ResetStreams,
        Self::KillConnection,
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
            Self::KillConnection => "connection killed",
        }
    }
}

/// What can happen to the broker.
#[derive(Debug, Clone, Copy)]
enum AtHome {
    Restart,
    /// Forgets what was not synced.
    Crash,
    /// The same, when a batch is stored and its answer not yet sent.
    CrashBeforeAnswer,
    SlowDisk,
    FullDisk,
    FailingDisk,
}

impl AtHome {
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
            Self::Crash => "broker crashed, unsynced bytes forgotten",
            Self::CrashBeforeAnswer => "broker killed between store and answer",
            Self::SlowDisk => "slow disk",
            Self::FullDisk => "full disk",
            Self::FailingDisk => "disk that fails and does not say how far",
        }
    }
}

/// A time that is mostly short and sometimes longer than every timeout.
fn while_it_lasts(dice: &mut Rng) -> Duration {
    Duration::from_millis(match dice.u8(0..6) {
        0 => dice.u64(5_000..40_000),
        1 | 2 => dice.u64(500..5_000),
        _ => dice.u64(1..500),
    })
}

/// Faults between the clients and the broker, one after the other; in the end everything is whole again.
pub async fn on_the_way(world: &World, log: &Log, mut dice: Rng) {
    for _ in 0..dice.usize(0..5) {
        world
            .network
            .sleep(Duration::from_millis(dice.u64(0..1500)))
            .await;
        let mut fault = dice.choice(OnTheWay::ALL).unwrap();
        // Where there is a relay, use it.
        if world.relay.is_some() && dice.bool() {
            let by_the_relay = [OnTheWay::ResetStreams, OnTheWay::KillConnection];
            fault = dice.choice(by_the_relay).unwrap();
        }
        if hit(world, fault, &mut dice).await {
            log.count(Part::Faults, fault.name());
        }
    }
}

/// False where there was nothing to hit.
async fn hit(world: &World, fault: OnTheWay, dice: &mut Rng) -> bool {
    let client = dice.choice(&world.clients).unwrap();
    let lasts = while_it_lasts(dice);
    let network = &world.network;
    match fault {
        OnTheWay::Cut => {
            client.there.cut();
            client.back.cut();
            network.sleep(lasts).await;
            client.there.restore();
            client.back.restore();
        }
        OnTheWay::BlackholeThere => {
            client.there.cut();
            network.sleep(lasts).await;
            client.there.restore();
        }
        OnTheWay::BlackholeBack => {
            client.back.cut();
            network.sleep(lasts).await;
            client.back.restore();
        }
        OnTheWay::Stall => {
            let way = dice.choice([&client.there, &client.back]).unwrap();
            way.apply(&Change::Stall(lasts)).unwrap();
        }
        OnTheWay::LoseNext => {
            let way = dice.choice([&client.there, &client.back]).unwrap();
            way.lose_next(dice.u64(1..30));
        }
        OnTheWay::BurstyLoss => {
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
        OnTheWay::Rebind => client.host.rebind(),
        OnTheWay::ResetStreams => {
            let Some(relay) = &world.relay else {
                return false;
            };
            return relay.reset_a_stream(dice);
        }
        OnTheWay::KillConnection => {
            let Some(relay) = &world.relay else {
                return false;
            };
            return relay.kill_a_connection(dice);
        }
    }
    true
}

/// Faults of the broker and its disk, one after the other; in the end it serves, and its disk is sound.
pub async fn at_home(world: &World, log: &Log, mut dice: Rng) {
    for _ in 0..dice.usize(0..4) {
        world
            .network
            .sleep(Duration::from_millis(dice.u64(0..2000)))
            .await;
        let fault = dice.choice(AtHome::ALL).unwrap();
        strike(world, fault, log, &mut dice).await;
        log.count(Part::Faults, fault.name());
    }
}

async fn strike(world: &World, fault: AtHome, log: &Log, dice: &mut Rng) {
    let down = Duration::from_millis(match dice.u8(0..4) {
        0 => dice.u64(1000..20_000),
        _ => dice.u64(0..300),
    });
    let lasts = Duration::from_millis(dice.u64(1..4000));
    let network = &world.network;
    match fault {
        AtHome::Restart => world.restart(down).await,
        AtHome::Crash => crash(world, down, log).await,
        AtHome::CrashBeforeAnswer => {
            let stored = std::sync::Arc::new(Notify::new());
            let (gag, told) = (world.gag().await, stored.clone());
            world.disk.before_next_answer(move || {
                gag();
                told.notify_one();
            });
            // Where nothing more is stored, it is a crash like any other.
            let _ = tokio::time::timeout(Duration::from_secs(5), stored.notified()).await;
            crash(world, down, log).await;
        }
        AtHome::SlowDisk => {
            world
                .disk
                .set_sync_takes(Duration::from_millis(dice.u64(20..800)));
            network.sleep(lasts).await;
            world.disk.set_sync_takes(Duration::from_millis(1));
        }
        AtHome::FullDisk => {
            world.disk.set_condition(Condition::Full);
            network.sleep(lasts).await;
            world.disk.set_condition(Condition::Sound);
        }
        AtHome::FailingDisk => {
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
    log.add(Part::Faults, "writes forgotten by a crash", forgotten);
}
