//! A store that stops between any two operations of its disk: in the middle of a new segment, a seal, a snapshot, a compaction, a
//! removal, the end mark.

use std::collections::BTreeMap;

use super::{
    super::super::TopicRetention,
    super::*,
    simulated::{CrashPoint, SimDisk, open_simulated},
    *,
};

const NAMES: [&str; 3] = ["goes", "stays", "slow"];

/// What was sent, in the order of the answers.
struct Sent {
    topic: &'static str,
    base: Offset,
    batch: bytes::Bytes,
}

/// Appends, trims and gives space back, so that every kind of maintenance happens many times.
async fn work(disk: &Arc<SimDisk>) -> (Vec<Sent>, Vec<CrashPoint>) {
    let store = open_simulated(disk, false).unwrap();
    let p = producer(&store, "p").await;
    let mut rng = fastrand::Rng::with_seed(3);
    let mut sent = Vec::new();
    for name in NAMES {
        store
            .create_topic(&topic(name), TopicRetention::default())
            .await
            .unwrap();
    }
    disk.watch(17);
    for round in 0..220_u64 {
        let name = NAMES[rng.usize(0..3)];
        let len = if name == "goes" {
            rng.usize(4000..9000)
        } else {
            rng.usize(10..1500)
        };
        let one = sized(p, round, name, len + 4);
        let batch = one.batch.clone();
        let base = base(&store, one).await;
        sent.push(Sent {
            topic: name,
            base: Offset(base),
            batch,
        });
        disk.answered(sent.len());
        if round % 9 == 0 {
            let most = Trim {
                max_bytes: Some(40_000),
                ..Trim::default()
            };
            store.trim(&topic("goes"), most).await.unwrap();
            store
                .set_position(&topic("stays"), "r", Offset(base))
                .await
                .unwrap();
        }
        if round % 20 == 0 {
            store.reclaim().await.unwrap();
        }
    }
    let points = disk.points();
    (sent, points)
}

async fn holds(point: &CrashPoint, sent: &[Sent]) {
    let what = format!(
        "after {} answers, before {}",
        point.answered, point.operation
    );
    let store = open_simulated(&point.disk, true).unwrap_or_else(|e| panic!("{what}: {e}"));
    let mut found = BTreeMap::new();
    let mut first = BTreeMap::new();
    for name in NAMES {
        let read = store
            .read(&topic(name), Offset(0), usize::MAX)
            .await
            .unwrap();
        first.insert(name, info(&store, name).await.first);
        found.extend(
            read.into_iter()
                .map(|batch| ((name, batch.base), batch.batch)),
        );
    }
    for Sent { topic, base, batch } in &sent[..point.answered] {
        match found.get(&(*topic, *base)) {
            Some(stored) => assert_eq!(stored, batch, "{what}: {topic} {base}"),
            None => {
                assert_eq!(*topic, "goes", "{what}: {topic} {base} is lost");
                assert!(*base < first[topic], "{what}: {topic} {base} is lost");
            }
        }
    }
    // It goes on, and gives no offset twice.
    let p = producer(&store, "q").await;
    for (n, name) in NAMES.into_iter().enumerate() {
        let given = base(&store, sized(p, 1000 + n as u64, name, 50)).await;
        assert!(
            !found.contains_key(&(name, Offset(given))),
            "{what}: {name} {given} is given twice"
        );
    }
    store.close().await.unwrap();
}

#[test]
fn a_store_that_stops_between_any_two_operations_of_its_disk_has_all_that_it_answered() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let disk = Arc::new(SimDisk::default());
        let (sent, points) = work(&disk).await;
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        for point in &points {
            *kinds.entry(point.operation.as_str()).or_default() += 1;
            holds(point, &sent).await;
        }
        eprintln!("{} points: {kinds:?}", points.len());
        for kind in [
            "create .seg",
            "rename .seg",
            "create compacted",
            "rename compacted",
            "create .idx",
            "rename .idx",
            "create .snap",
            "rename .snap",
            "rename manifest",
            "remove .seg",
            "remove .snap",
            "write",
            "sync",
            "shrink",
        ] {
            assert!(kinds.contains_key(kind), "{kind} was not met: {kinds:?}");
        }
    });
}
