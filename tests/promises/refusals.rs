//! A store that fails and refuses now and then: nothing is stored behind a message that failed before the application
//! can know that it did, and every order holds.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    num::NonZeroUsize,
    sync::{Arc, Mutex},
    time::Duration,
};

use anabranch::{
    Message, Offset, Receipt,
    producer::{Fate, SendError, Strategy},
    sim::{self, LinkConfig, Rate},
    store::{Append, Appended, DelegateStore, MemoryStore, Store, StoreError},
    wire::internals::Batch,
};
use futures_util::{FutureExt as _, future::BoxFuture};

use crate::world::{LONG, World, begun, text};

/// What became of a message, as far as the store and the application know.
#[derive(Debug, Default)]
struct Known {
    /// Key and number of what the store refused.
    failed: Vec<(String, u64)>,
    /// By key and number.
    receipts: HashMap<(String, u64), Receipt>,
    outcomes: HashMap<(String, u64), Result<Offset, SendError>>,
    overtaken: Vec<String>,
}

impl Known {
    /// Whether the application, if it looked now, would find the outcome.
    fn has_outcome(&mut self, message: &(String, u64)) -> bool {
        if let Some(receipt) = self.receipts.get_mut(message)
            && let Some(outcome) = receipt.now_or_never()
        {
            self.receipts.remove(message);
            let outcome = outcome.map(|ack| ack.offset().unwrap());
            self.outcomes.insert(message.clone(), outcome);
        }
        self.outcomes.contains_key(message)
    }
}

/// A store around one in memory that fails groups: before they are stored, after, or not at all.
#[derive(Debug)]
struct Moody {
    inner: MemoryStore,
    dice: Mutex<fastrand::Rng>,
    known: Arc<Mutex<Known>>,
}

fn messages(append: &Append) -> Vec<(String, u64)> {
    let batch = Batch::decode(append.batch.clone()).unwrap();
    let records = batch.records();
    let messages = records.map(|record| {
        let key = text(&record.key.unwrap_or_default());
        (key, text(&record.payload).parse().unwrap())
    });
    messages.collect()
}

impl Moody {
    fn look(&self, group: &[Append]) {
        let known = &mut *self.known.lock().unwrap();
        for (key, number) in group.iter().flat_map(messages) {
            if key.is_empty() {
                continue;
            }
            // It came again, because its refusal was not heard: that is as if it had not been refused.
            known
                .failed
                .retain(|failed| failed.0 != key || failed.1 != number);
            for failed in known.failed.clone() {
                if failed.0 == key && failed.1 < number && !known.has_outcome(&failed) {
                    let sentence = format!("{key}: {number} is stored behind {}", failed.1);
                    known.overtaken.push(sentence);
                }
            }
        }
    }

    fn note(&self, group: &[Append]) {
        let mut known = self.known.lock().unwrap();
        known.failed.extend(group.iter().flat_map(messages));
    }
}

impl DelegateStore for Moody {
    fn inner(&self) -> &dyn Store {
        &self.inner
    }

    fn append(&self, group: Vec<Append>) -> BoxFuture<'_, Vec<Result<Appended, StoreError>>> {
        Box::pin(async move {
            let mood = self.dice.lock().unwrap().u8(0..10);
            let failed = |_: &Append| Err(StoreError::Failed("on purpose".into()));
            match mood {
                0 => {
                    self.note(&group);
                    group.iter().map(failed).collect()
                }
                1 => {
                    self.look(&group);
                    self.note(&group);
                    let answers = group.iter().map(failed).collect();
                    self.inner.append(group).await;
                    answers
                }
                2 => {
                    self.note(&group);
                    let refused = |_| Err(StoreError::Refuses("on purpose".into()));
                    group.iter().map(refused).collect()
                }
                _ => {
                    self.look(&group);
                    self.inner.append(group).await
                }
            }
        })
    }
}

async fn history(network: sim::Network, seed: u64) {
    let mut dice = fastrand::Rng::with_seed(seed);
    let link = LinkConfig::default()
        .delay(Duration::from_millis(dice.u64(1..40)))
        .rate(Rate::mbit(dice.u64(5..50)));
    let mut world = World::new(network, link).await;
    let known = Arc::new(Mutex::new(Known::default()));
    world.store = Arc::new(Moody {
        inner: MemoryStore::default(),
        dice: Mutex::new(fastrand::Rng::with_seed(seed)),
        known: Arc::clone(&known),
    });
    world.crash().await;
    let lanes = NonZeroUsize::new(dice.usize(1..6)).unwrap();
    let strategy = match dice.u8(0..4) {
        0 => Strategy::PerMessage(lanes),
        _ => Strategy::Fixed(lanes),
    };
    let producer = world.producer().strategy(strategy).connect().await.unwrap();
    let mut ordered = Vec::new();
    for number in 0..600_u64 {
        if dice.u8(0..20) == 0 {
            let pause = Duration::from_millis(dice.u64(0..30));
            world.network.sleep(pause).await;
        }
        let payload = number.to_string();
        match dice.u8(0..6) {
            0 => ordered.push((number, begun(producer.send(payload)))),
            n => {
                let key = format!("k{}", n % 3);
                let message = Message::new(payload).with_key(key.clone());
                let receipt = producer.send_async(message).await.unwrap();
                known
                    .lock()
                    .unwrap()
                    .receipts
                    .insert((key, number), receipt);
            }
        }
    }
    producer.flush(LONG).await.unwrap();
    for (number, call) in ordered {
        let outcome = call.await.map(|ack| ack.offset().unwrap());
        let message = (String::new(), number);
        known.lock().unwrap().outcomes.insert(message, outcome);
    }
    producer.close(LONG).await.unwrap();
    let stored = world.stored().await;
    let known = &mut *known.lock().unwrap();
    let left: Vec<_> = known.receipts.keys().cloned().collect();
    assert!(left.iter().all(|message| known.has_outcome(message)));
    assert_eq!(known.overtaken.first(), None);

    let mut orders: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut at = HashMap::new();
    for (offset, record) in stored {
        let key = text(&record.key.unwrap_or_default());
        let number = text(&record.payload).parse().unwrap();
        orders.entry(key.clone()).or_default().push(number);
        assert_eq!(at.insert((key, number), offset), None, "stored twice");
    }
    assert!(orders.values().all(|order| order.is_sorted()), "{orders:?}");
    let mut fates = HashSet::new();
    for (message, outcome) in &known.outcomes {
        match outcome {
            Ok(offset) => assert_eq!(at.get(message), Some(offset)),
            Err(error) => {
                fates.insert(error.fate());
                if error.fate() == Fate::NotStored {
                    assert_eq!(at.get(message), None, "{error}");
                }
            }
        }
    }
    assert_eq!(known.outcomes.len(), 600);
    assert!(!fates.is_empty(), "nothing failed: nothing was tested");
}

#[test]
fn nothing_is_stored_behind_a_message_that_failed_before_that_is_known() {
    for seed in 0..12 {
        println!("seed {seed}");
        fastrand::seed(seed);
        sim::run(seed, async |network| history(network, seed).await);
    }
}
