//! What a store holds.

use anabranch::{Offset, TopicName, consumer::Record, store::Store, wire::internals::Batch};

/// Returns everything in a topic, with offsets.
pub async fn stored(store: &dyn Store, topic: &str) -> Vec<(Offset, Record)> {
    let topic = TopicName::new(topic).unwrap();
    let mut all = Vec::new();
    let mut next = Offset(0);
    loop {
        let batches = store.read(&topic, next, 1 << 20).await.unwrap();
        let Some(last) = batches.last() else {
            return all;
        };
        next = last.end();
        for stored in batches {
            let batch = Batch::decode(stored.batch).unwrap();
            assert_eq!(batch.count(), stored.count);
            let offsets = (stored.base.0..).map(Offset);
            all.extend(offsets.zip(batch.records()));
        }
    }
}

/// Returns the payloads in a topic, which are text.
pub async fn payloads(store: &dyn Store, topic: &str) -> Vec<String> {
    let stored = stored(store, topic).await;
    stored.iter().map(|(_, r)| text(&r.payload)).collect()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
