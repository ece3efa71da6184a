//! What the broker does not take from the spool.

use std::sync::Arc;

use anabranch::{
    Message,
    producer::{FailureCode, Fate, SendErrorKind},
    sim,
    store::{MemoryConfig, MemoryStore, Trim},
};
use futures_util::future::join_all;

use super::{
    cut, delivered, heal, link, numbers, on_disk, payloads, spooling,
    world::{LONG, TOPIC, World, begun},
};

#[test]
fn what_the_broker_refuses_for_good_is_told_and_holds_nothing_up() {
    let folder = tempfile::tempdir().unwrap();
    sim::run(31, async |network| {
        let mut world = World::new(network, link()).await;
        world.topics = false;
        world
            .store
            .create_topic(&TOPIC.parse().unwrap(), Default::default())
            .await
            .unwrap();
        world.crash().await;
        let producer = spooling(&world, folder.path()).connect().await.unwrap();
        cut(&world, &producer).await;
        let calls: Vec<_> = (0..100)
            .map(|n| {
                let message = Message::from(n.to_string());
                begun(producer.send(match n {
                    80 => message.with_topic("elsewhere".parse().unwrap()),
                    _ => message,
                }))
            })
            .collect();
        on_disk(&producer, 36).await;
        heal(&world);
        for (n, outcome) in join_all(calls).await.into_iter().enumerate() {
            let refused = outcome.map_err(|error| (error.kind(), error.fate()));
            match n {
                80 => {
                    let kind = SendErrorKind::Refused(FailureCode::UnknownTopic);
                    assert_eq!(refused.unwrap_err(), (kind, Fate::NotStored));
                }
                _ => assert!(refused.is_ok(), "{n}: {refused:?}"),
            }
        }
        delivered(&producer).await;
        let stored: Vec<_> = numbers(0..100);
        let stored: Vec<_> = stored.into_iter().filter(|n| n != "80").collect();
        assert_eq!(payloads(&world).await, stored);
        producer.close(LONG).await.unwrap();
    });
}

#[test]
fn what_the_broker_cannot_take_now_is_asked_again_and_stored_once_and_in_its_order() {
    let folder = tempfile::tempdir().unwrap();
    sim::run(32, async |network| {
        let mut world = World::new(network, link()).await;
        let mut config = MemoryConfig::default();
        config.max_bytes = 4096;
        world.store = Arc::new(MemoryStore::new(config));
        world.crash().await;
        let producer = spooling(&world, folder.path()).connect().await.unwrap();
        producer.send(vec![b'x'; 4000]).await.unwrap();
        cut(&world, &producer).await;
        let calls: Vec<_> = (0..100)
            .map(|n| begun(producer.send(n.to_string())))
            .collect();
        on_disk(&producer, 36).await;
        heal(&world);
        let mut state = producer.watch_spool_state().unwrap();
        let trouble = state.wait_for(|state| state.last_error.is_some()).await;
        drop(trouble.unwrap());
        let room = Trim {
            max_bytes: Some(0),
            ..Trim::default()
        };
        world
            .store
            .trim(&TOPIC.parse().unwrap(), room)
            .await
            .unwrap();
        let outcomes = join_all(calls).await;
        delivered(&producer).await;
        // What was in memory is refused at once; what is on disk waits.
        let refused = outcomes
            .iter()
            .take_while(|outcome| outcome.is_err())
            .count();
        assert!((1..=64).contains(&refused), "{refused} refused");
        let first = u64::try_from(refused).unwrap();
        assert_eq!(payloads(&world).await, numbers(first..100));
        producer.close(LONG).await.unwrap();
    });
}
