//! The promises of every store, each tested once for both.

mod model;

use bytes::Bytes;

use super::*;
use crate::{ProducerId, wire::RetentionLimit};

/// Returns a batch as far as a store looks into it: a checksum and the bytes it covers.
pub(super) fn encoded(content: &[u8]) -> Bytes {
    let mut batch = crc32fast::hash(content).to_le_bytes().to_vec();
    batch.extend_from_slice(content);
    batch.into()
}

pub(super) fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

/// What is kept of a topic by default.
pub(super) const KEPT: TopicRetention = TopicRetention {
    max_age: RetentionLimit::Broker,
    max_bytes: RetentionLimit::Broker,
};

/// Returns the identity of a producer that comes for the first time.
pub(super) fn identity(name: &str, instance: u64) -> ProducerIdentity {
    ProducerIdentity {
        name: name.to_owned(),
        instance,
        id: None,
    }
}

/// Returns the identity of a producer that comes back with its id.
pub(super) fn with_id(name: &str, instance: u64, id: ProducerId) -> ProducerIdentity {
    let id = Some(id);
    ProducerIdentity {
        id,
        ..identity(name, instance)
    }
}

pub(super) async fn register(store: &dyn Store, identity: ProducerIdentity) -> ProducerId {
    store.register_producer(&identity).await.unwrap().id
}

pub(super) async fn producer(store: &dyn Store, name: &str) -> ProducerId {
    register(store, identity(name, 1)).await
}

/// Returns a batch of `count` messages. A test sets the fields in which its batch differs.
pub(super) fn batch(producer: ProducerId, request: u64, name: &str, count: u32) -> Append {
    Append {
        producer,
        request: RequestId(request),
        answered_below: RequestId(0),
        topic: topic(name),
        count,
        batch: encoded(format!("{name} {request}").as_bytes()),
        time: Timestamp(1000 + request % 1000),
    }
}

pub(super) async fn append(store: &dyn Store, append: Append) -> Result<Appended, StoreError> {
    let mut answers = store.append(vec![append]).await;
    assert_eq!(answers.len(), 1);
    answers.remove(0)
}

pub(super) async fn base(store: &dyn Store, one: Append) -> u64 {
    append(store, one).await.unwrap().base.0
}

/// Returns the first offset of each batch of a topic, read from `from` on.
pub(super) async fn bases(store: &dyn Store, name: &str, from: u64) -> Vec<u64> {
    let read = store.read(&topic(name), Offset(from), usize::MAX).await;
    read.unwrap().iter().map(|batch| batch.base.0).collect()
}

pub(super) async fn info(store: &dyn Store, name: &str) -> TopicInfo {
    store.topic(&topic(name)).await.unwrap().unwrap()
}

macro_rules! kept_by_both {
    ($($promise:ident)*) => {
        mod memory_store {
            use super::super::MemoryStore;
            $(
                #[tokio::test]
                async fn $promise() {
                    super::$promise(&MemoryStore::default()).await;
                }
            )*
        }

        mod log_store {
            use super::super::{LogConfig, LogStore};
            $(
                #[tokio::test]
                async fn $promise() {
                    let folder = tempfile::tempdir().unwrap();
                    let store = LogStore::open(folder.path(), LogConfig::default()).await.unwrap();
                    super::$promise(&store).await;
                }
            )*
        }
    };
}

kept_by_both! {
    offsets_follow_each_other_without_a_gap_in_every_topic
    a_repeat_is_answered_with_the_first_answer_and_not_stored
    a_request_that_stands_twice_in_a_group_is_stored_once
    a_request_outside_the_window_is_not_stored
    a_later_producer_of_the_same_name_fences_the_earlier
    a_producer_that_comes_back_keeps_its_id_and_its_window
    a_producer_that_did_not_hear_its_id_gets_it_again
    the_order_of_two_producers_outlives_the_memory_of_both
    an_id_that_another_name_has_or_nobody_was_given_counts_as_none
    a_producer_learns_what_is_stored_of_its_requests
    the_requests_of_one_producer_are_nothing_to_another
    a_forgotten_producer_is_a_new_one_when_it_comes_back
    a_read_begins_with_the_batch_that_holds_the_offset
    a_read_keeps_to_its_bytes_but_gives_at_least_one_batch
    what_is_read_is_what_was_appended
    a_trim_by_age_drops_whole_batches_oldest_first
    a_trim_by_size_leaves_at_most_so_many_bytes
    a_trim_keeps_what_a_reader_still_needs
    offsets_go_on_behind_a_topic_that_was_trimmed_empty
    positions_are_kept_by_topic_and_name
    a_topic_that_does_not_exist_is_said_to_be_unknown
    topics_are_listed_by_name_a_page_at_a_time
    making_a_topic_again_changes_nothing
    a_deleted_topic_is_gone_and_one_that_is_made_again_is_another
    what_is_kept_of_a_topic_is_changed_and_kept
    a_request_that_comes_again_with_another_batch_or_topic_is_refused
    a_trim_by_age_is_not_held_up_by_times_ahead
    a_batch_of_no_messages_is_not_stored
    a_closed_store_fails_every_call
}

async fn offsets_follow_each_other_without_a_gap_in_every_topic(store: &dyn Store) {
    let p = producer(store, "p").await;
    let group = vec![
        batch(p, 1, "a", 3),
        batch(p, 2, "b", 1),
        batch(p, 3, "a", 2),
    ];
    let answers = store.append(group).await;
    let placed: Vec<_> = answers.into_iter().map(|a| a.unwrap().base.0).collect();
    assert_eq!(placed, [0, 0, 3]);
    assert_eq!(base(store, batch(p, 4, "a", 1)).await, 5);
    assert_eq!(base(store, batch(p, 5, "b", 7)).await, 1);
    assert_eq!(info(store, "a").await.next, Offset(6));
    assert_eq!(info(store, "b").await.next, Offset(8));
}

async fn a_repeat_is_answered_with_the_first_answer_and_not_stored(store: &dyn Store) {
    let p = producer(store, "p").await;
    let first = append(store, batch(p, 7, "a", 3)).await.unwrap();
    assert!(!first.repeat);
    base(store, batch(p, 8, "a", 1)).await;

    let again = Append {
        time: Timestamp(9_999),
        ..batch(p, 7, "a", 3)
    };
    let answer = append(store, again).await.unwrap();
    let expected = Appended {
        repeat: true,
        ..first
    };
    assert_eq!(answer, expected);
    assert_eq!(bases(store, "a", 0).await, [0, 3]);
}

async fn a_request_that_stands_twice_in_a_group_is_stored_once(store: &dyn Store) {
    let p = producer(store, "p").await;
    let group = vec![
        batch(p, 1, "a", 2),
        batch(p, 1, "a", 2),
        batch(p, 2, "a", 1),
    ];
    let answers = store.append(group).await;
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers[0].base, answers[1].base);
    assert_eq!((answers[0].repeat, answers[1].repeat), (false, true));
    assert_eq!(answers[2].base, Offset(2));
    assert_eq!(bases(store, "a", 0).await, [0, 2]);
}

async fn a_request_outside_the_window_is_not_stored(store: &dyn Store) {
    let p = producer(store, "p").await;
    base(store, batch(p, 1, "a", 1)).await;
    let moves = Append {
        answered_below: RequestId(5),
        ..batch(p, 5, "a", 1)
    };
    base(store, moves).await;
    for request in [1, 4, 5 + MAX_DEDUP_WINDOW, u64::MAX] {
        let answer = append(store, batch(p, request, "a", 1)).await;
        assert!(matches!(answer, Err(StoreError::OutOfWindow)), "{request}");
    }
    assert_eq!(base(store, batch(p, 4 + MAX_DEDUP_WINDOW, "a", 1)).await, 2);
}

async fn a_later_producer_of_the_same_name_fences_the_earlier(store: &dyn Store) {
    let early = producer(store, "p").await;
    base(store, batch(early, 1, "a", 1)).await;
    let late = register(store, identity("p", 2)).await;
    assert!(early < late);

    for request in [1, 2] {
        let answer = append(store, batch(early, request, "a", 1)).await;
        assert!(matches!(answer, Err(StoreError::Fenced)));
    }
    assert_eq!(
        base(store, batch(late, 1, "a", 1)).await,
        1,
        "a window of its own"
    );

    // It stays fenced however often it comes back.
    for _ in 0..2 {
        let back = store.register_producer(&with_id("p", 1, early)).await;
        assert!(matches!(back, Err(StoreError::Fenced)));
        assert_eq!(register(store, with_id("p", 2, late)).await, late);
    }
    assert!(append(store, batch(late, 1, "a", 1)).await.unwrap().repeat);
}

async fn a_producer_that_did_not_hear_its_id_gets_it_again(store: &dyn Store) {
    let id = producer(store, "p").await;
    assert_eq!(producer(store, "p").await, id);
    // It was fenced before it got its id, so it has sent nothing and is registered as a new producer.
    let other = register(store, identity("p", 2)).await;
    let again = producer(store, "p").await;
    assert!(id < other && other < again);
    let back = store.register_producer(&with_id("p", 2, other)).await;
    assert!(matches!(back, Err(StoreError::Fenced)));
}

async fn the_order_of_two_producers_outlives_the_memory_of_both(store: &dyn Store) {
    let early = producer(store, "p").await;
    let late = register(store, identity("p", 2)).await;
    store.forget_producers(Duration::ZERO).await.unwrap();

    // That it was fenced is forgotten, and the answer says that its requests are forgotten too.
    let back = store
        .register_producer(&with_id("p", 1, early))
        .await
        .unwrap();
    assert_eq!((back.id, back.forgotten), (early, true));
    // The later producer is still the later one.
    let back = store
        .register_producer(&with_id("p", 2, late))
        .await
        .unwrap();
    assert_eq!((back.id, back.forgotten), (late, true));
    let back = store.register_producer(&with_id("p", 1, early)).await;
    assert!(matches!(back, Err(StoreError::Fenced)));
}

async fn an_id_that_another_name_has_or_nobody_was_given_counts_as_none(store: &dyn Store) {
    let p = producer(store, "p").await;
    let q = register(store, with_id("q", 7, p)).await;
    assert!(q > p, "an id of its own");
    let r = register(store, with_id("r", 8, ProducerId(u64::MAX))).await;
    assert_eq!(r, q.next());
    let later = register(store, identity("r", 9)).await;
    assert_eq!(later, r.next(), "nobody can put a name out of reach");
}

async fn a_producer_learns_what_is_stored_of_its_requests(store: &dyn Store) {
    let (p, q) = (producer(store, "p").await, producer(store, "q").await);
    for request in [1, 2, 4, 9] {
        base(store, batch(p, request, "a", 2)).await;
    }
    base(store, batch(q, 3, "a", 1)).await;
    let recall = async |from, limit| {
        let recalled = store
            .stored_requests(p, RequestId(from), limit)
            .await
            .unwrap();
        let places = recalled.into_iter().map(|(id, at)| (id.0, at.base.0));
        places.collect::<Vec<_>>()
    };
    assert_eq!(recall(0, 9).await, [(1, 0), (2, 2), (4, 4), (9, 6)]);
    assert_eq!(recall(2, 2).await, [(2, 2), (4, 4)]);
    assert_eq!(recall(10, 9).await, []);
    let fenced = store.stored_requests(ProducerId(0), RequestId(0), 1).await;
    assert!(matches!(fenced, Err(StoreError::Fenced)));
}

async fn a_producer_that_comes_back_keeps_its_id_and_its_window(store: &dyn Store) {
    let id = producer(store, "p").await;
    base(store, batch(id, 1, "a", 1)).await;
    assert_ne!(producer(store, "q").await, id);
    let back = store.register_producer(&with_id("p", 1, id)).await.unwrap();
    assert_eq!((back.id, back.forgotten), (id, false));
    assert!(append(store, batch(id, 1, "a", 1)).await.unwrap().repeat);
}

async fn the_requests_of_one_producer_are_nothing_to_another(store: &dyn Store) {
    let (p, q) = (producer(store, "p").await, producer(store, "q").await);
    assert_eq!(base(store, batch(p, 1, "a", 1)).await, 0);
    let answer = append(store, batch(q, 1, "a", 1)).await.unwrap();
    assert_eq!((answer.base, answer.repeat), (Offset(1), false));
}

async fn a_forgotten_producer_is_a_new_one_when_it_comes_back(store: &dyn Store) {
    let id = producer(store, "p").await;
    base(store, batch(id, 1, "a", 1)).await;
    let day = Duration::from_secs(86_400);
    assert_eq!(store.forget_producers(day).await.unwrap(), 0);
    assert_eq!(store.forget_producers(Duration::ZERO).await.unwrap(), 1);
    let answer = append(store, batch(id, 2, "a", 1)).await;
    assert!(matches!(answer, Err(StoreError::Fenced)));
    let back = producer(store, "p").await;
    assert_ne!(back, id);
    assert_eq!(base(store, batch(back, 1, "a", 1)).await, 1);
}

async fn a_read_begins_with_the_batch_that_holds_the_offset(store: &dyn Store) {
    let p = producer(store, "p").await;
    for request in 0..4 {
        base(store, batch(p, request, "a", 5)).await;
        base(store, batch(p, 10 + request, "b", 1)).await;
    }
    assert_eq!(bases(store, "a", 0).await, [0, 5, 10, 15]);
    assert_eq!(bases(store, "a", 4).await, [0, 5, 10, 15]);
    assert_eq!(bases(store, "a", 5).await, [5, 10, 15]);
    assert_eq!(bases(store, "a", 19).await, [15]);
    assert!(bases(store, "a", 20).await.is_empty());
    assert!(bases(store, "a", u64::MAX).await.is_empty());

    let oldest = Trim {
        keep_from: Some(Offset(10)),
        max_bytes: Some(0),
        ..Trim::default()
    };
    store.trim(&topic("a"), oldest).await.unwrap();
    for gone in [0, 4, 5, 9] {
        assert_eq!(bases(store, "a", gone).await, [10, 15]);
    }
}

async fn a_read_keeps_to_its_bytes_but_gives_at_least_one_batch(store: &dyn Store) {
    let p = producer(store, "p").await;
    for request in 0..4 {
        let sized = Append {
            batch: encoded(&[7; 96]),
            ..batch(p, request, "a", 1)
        };
        base(store, sized).await;
    }
    let name = topic("a");
    for (max_bytes, batches) in [
        (0, 1),
        (1, 1),
        (99, 1),
        (100, 1),
        (199, 1),
        (200, 2),
        (399, 3),
        (400, 4),
    ] {
        let read = store.read(&name, Offset(0), max_bytes).await.unwrap();
        assert_eq!(read.len(), batches, "{max_bytes}");
    }
}

async fn what_is_read_is_what_was_appended(store: &dyn Store) {
    let p = producer(store, "p").await;
    let contents = [vec![], vec![1; 10], vec![2; 5_000], vec![3; 300_000]];
    for (request, content) in contents.iter().enumerate() {
        let one = Append {
            batch: encoded(content),
            ..batch(p, request as u64, "a", 2)
        };
        base(store, one).await;
    }
    let read = store.read(&topic("a"), Offset(0), usize::MAX).await;
    for (request, (found, content)) in read.unwrap().iter().zip(&contents).enumerate() {
        let expected = StoredBatch {
            base: Offset(2 * request as u64),
            count: 2,
            time: Timestamp(1000 + request as u64),
            batch: encoded(content),
        };
        assert_eq!(*found, expected);
    }
    assert_eq!(info(store, "a").await.bytes, 305_010 + 16);
}

/// Appends six batches of two messages and 100 bytes each, stored at 1000, 1001 and so on.
async fn six_batches(store: &dyn Store) -> TopicName {
    let p = producer(store, "p").await;
    for request in 0..6 {
        let sized = Append {
            batch: encoded(&[7; 96]),
            ..batch(p, request, "a", 2)
        };
        base(store, sized).await;
    }
    topic("a")
}

async fn a_trim_by_age_drops_whole_batches_oldest_first(store: &dyn Store) {
    let name = six_batches(store).await;
    let older_than = |time| Trim {
        older_than: Some(Timestamp(time)),
        ..Trim::default()
    };
    assert_eq!(store.trim(&name, Trim::default()).await.unwrap(), 0);
    assert_eq!(store.trim(&name, older_than(1000)).await.unwrap(), 0);
    assert_eq!(store.trim(&name, older_than(1002)).await.unwrap(), 200);
    assert_eq!(bases(store, "a", 0).await, [4, 6, 8, 10]);
    let now = info(store, "a").await;
    assert_eq!(
        (now.first, now.next, now.bytes),
        (Offset(4), Offset(12), 400)
    );
}

async fn a_trim_by_size_leaves_at_most_so_many_bytes(store: &dyn Store) {
    let name = six_batches(store).await;
    let to = |bytes| Trim {
        max_bytes: Some(bytes),
        ..Trim::default()
    };
    assert_eq!(store.trim(&name, to(600)).await.unwrap(), 0);
    assert_eq!(store.trim(&name, to(599)).await.unwrap(), 100);
    assert_eq!(store.trim(&name, to(250)).await.unwrap(), 300);
    assert_eq!(bases(store, "a", 0).await, [8, 10]);
    assert_eq!(info(store, "a").await.bytes, 200);
}

async fn a_trim_keeps_what_a_reader_still_needs(store: &dyn Store) {
    let name = six_batches(store).await;
    let all_before = |offset| Trim {
        older_than: Some(Timestamp(u64::MAX)),
        max_bytes: Some(0),
        keep_from: Some(Offset(offset)),
        ..Trim::default()
    };
    assert_eq!(store.trim(&name, all_before(0)).await.unwrap(), 0);
    assert_eq!(store.trim(&name, all_before(1)).await.unwrap(), 0);
    // The batch of 4 and 5 is kept as long as 5 is needed.
    assert_eq!(store.trim(&name, all_before(5)).await.unwrap(), 200);
    assert_eq!(bases(store, "a", 0).await, [4, 6, 8, 10]);
    assert_eq!(store.trim(&name, all_before(6)).await.unwrap(), 100);

    // The least committed position counts.
    store.set_position(&name, "r", Offset(10)).await.unwrap();
    store.set_position(&name, "s", Offset(8)).await.unwrap();
    let unread = |offset| Trim {
        keep_unread: true,
        ..all_before(offset)
    };
    assert_eq!(store.trim(&name, unread(7)).await.unwrap(), 0);
    assert_eq!(store.trim(&name, unread(12)).await.unwrap(), 100);
    assert_eq!(bases(store, "a", 0).await, [8, 10]);
}

async fn offsets_go_on_behind_a_topic_that_was_trimmed_empty(store: &dyn Store) {
    let name = six_batches(store).await;
    let all = Trim {
        max_bytes: Some(0),
        ..Trim::default()
    };
    assert_eq!(store.trim(&name, all).await.unwrap(), 600);
    let now = info(store, "a").await;
    assert_eq!(
        (now.first, now.next, now.bytes),
        (Offset(12), Offset(12), 0)
    );
    assert!(bases(store, "a", 0).await.is_empty());
    let p = producer(store, "p").await;
    assert_eq!(base(store, batch(p, 100, "a", 1)).await, 12);
    assert_eq!(bases(store, "a", 0).await, [12]);
    let fifth = Append {
        batch: encoded(&[7; 96]),
        ..batch(p, 5, "a", 2)
    };
    assert!(
        append(store, fifth).await.unwrap().repeat,
        "what was trimmed was stored all the same"
    );
}

async fn positions_are_kept_by_topic_and_name(store: &dyn Store) {
    let (a, b) = (topic("a"), topic("b"));
    store.create_topic(&a, KEPT).await.unwrap();
    store.create_topic(&b, KEPT).await.unwrap();
    assert_eq!(store.position(&a, "x").await.unwrap(), None);
    assert_eq!(store.least_position(&a).await.unwrap(), None);

    store.set_position(&a, "x", Offset(7)).await.unwrap();
    store.set_position(&a, "y", Offset(5)).await.unwrap();
    store.set_position(&b, "x", Offset(1)).await.unwrap();
    assert_eq!(store.position(&a, "x").await.unwrap(), Some(Offset(7)));
    assert_eq!(store.position(&b, "x").await.unwrap(), Some(Offset(1)));
    assert_eq!(store.least_position(&a).await.unwrap(), Some(Offset(5)));

    store.set_position(&a, "y", Offset(9)).await.unwrap();
    assert_eq!(store.least_position(&a).await.unwrap(), Some(Offset(7)));
}

async fn a_topic_that_does_not_exist_is_said_to_be_unknown(store: &dyn Store) {
    let name = topic("nowhere");
    let read = store.read(&name, Offset(0), 1).await;
    assert!(matches!(read, Err(StoreError::UnknownTopic)));
    let trimmed = store.trim(&name, Trim::default()).await;
    assert!(matches!(trimmed, Err(StoreError::UnknownTopic)));
    let set = store.set_position(&name, "x", Offset(0)).await;
    assert!(matches!(set, Err(StoreError::UnknownTopic)));
    assert_eq!(store.topic(&name).await.unwrap(), None);
    assert_eq!(store.position(&name, "x").await.unwrap(), None);
    assert_eq!(store.least_position(&name).await.unwrap(), None);
}

async fn topics_are_listed_by_name_a_page_at_a_time(store: &dyn Store) {
    for name in ["d", "a", "c", "b"] {
        store.create_topic(&topic(name), KEPT).await.unwrap();
    }
    let page = async |after: Option<&str>, limit| {
        let listed = store.topics(after.map(topic), limit).await.unwrap();
        let names = listed.into_iter().map(|t| t.name.to_string());
        names.collect::<String>()
    };
    assert_eq!(page(None, 3).await, "abc");
    assert_eq!(page(Some("c"), 3).await, "d");
    assert_eq!(page(Some("bb"), 9).await, "cd");
    assert_eq!(page(Some("d"), 9).await, "");
    assert_eq!(page(None, 0).await, "");
}

async fn making_a_topic_again_changes_nothing(store: &dyn Store) {
    let p = producer(store, "p").await;
    base(store, batch(p, 1, "a", 4)).await;
    let before = info(store, "a").await;
    let made = store.create_topic(&topic("a"), KEPT).await.unwrap();
    assert!(!made);
    assert_eq!(info(store, "a").await, before);
}

async fn a_deleted_topic_is_gone_and_one_that_is_made_again_is_another(store: &dyn Store) {
    let p = producer(store, "p").await;
    let (a, b) = (topic("a"), topic("b"));
    base(store, batch(p, 1, "a", 4)).await;
    base(store, batch(p, 2, "b", 1)).await;
    store.set_position(&a, "x", Offset(3)).await.unwrap();
    store.set_position(&b, "x", Offset(1)).await.unwrap();
    let before = info(store, "a").await;
    store.delete_topic(&a).await.unwrap();

    assert_eq!(store.topic(&a).await.unwrap(), None);
    assert!(matches!(
        store.read(&a, Offset(0), 1).await,
        Err(StoreError::UnknownTopic)
    ));
    assert!(matches!(
        store.delete_topic(&a).await,
        Err(StoreError::UnknownTopic)
    ));
    assert_eq!(store.position(&a, "x").await.unwrap(), None);
    let names: Vec<_> = store.topics(None, 9).await.unwrap();
    assert_eq!(names.len(), 1, "the other topic is as it was");
    assert_eq!(store.position(&b, "x").await.unwrap(), Some(Offset(1)));

    // A repeat of what it held is stored in the new topic: the offset of its answer is one of that topic.
    let again = append(store, batch(p, 1, "a", 4)).await.unwrap();
    assert_eq!((again.base, again.repeat), (Offset(0), false));
    let after = info(store, "a").await;
    assert_eq!((after.first, after.next), (Offset(0), Offset(4)));
    assert_eq!(after.identity.log, before.identity.log);
    assert!(after.identity.number > before.identity.number);
    assert_eq!(store.position(&a, "x").await.unwrap(), None);
    assert!(append(store, batch(p, 2, "b", 1)).await.unwrap().repeat);
}

async fn what_is_kept_of_a_topic_is_changed_and_kept(store: &dyn Store) {
    let week = TopicRetention {
        max_age: RetentionLimit::At(Duration::from_secs(7 * 86_400)),
        max_bytes: RetentionLimit::Unlimited,
    };
    let a = topic("a");
    assert!(store.create_topic(&a, week).await.unwrap());
    assert_eq!(info(store, "a").await.retention, week);
    let less = TopicRetention {
        max_bytes: RetentionLimit::At(1000),
        ..week
    };
    store.set_retention(&a, less).await.unwrap();
    assert_eq!(info(store, "a").await.retention, less);
    let unknown = store.set_retention(&topic("b"), less).await;
    assert!(matches!(unknown, Err(StoreError::UnknownTopic)));

    store.set_position(&a, "x", Offset(0)).await.unwrap();
    store.set_position(&a, "y", Offset(0)).await.unwrap();
    let listed = async |after, limit| {
        let listed = store.positions(&topic("a"), after, limit).await.unwrap();
        let names = listed.into_iter().map(|(name, _)| name);
        names.collect::<String>()
    };
    assert_eq!(listed("", 9).await, "xy");
    assert_eq!(listed("x", 9).await, "y");
    assert_eq!(listed("", 1).await, "x");
    store.remove_position(&a, "x").await.unwrap();
    store.remove_position(&a, "x").await.unwrap();
    assert_eq!(listed("", 9).await, "y");
}

async fn a_request_that_comes_again_with_another_batch_or_topic_is_refused(store: &dyn Store) {
    let p = producer(store, "p").await;
    base(store, batch(p, 1, "a", 4)).await;
    base(store, batch(p, 2, "b", 4)).await;
    let other_batch = Append {
        batch: encoded(b"other"),
        ..batch(p, 1, "a", 4)
    };
    let other_topic = Append {
        topic: topic("b"),
        ..batch(p, 1, "a", 4)
    };
    let new_topic = Append {
        topic: topic("c"),
        ..batch(p, 1, "a", 4)
    };
    for other in [other_batch, other_topic, new_topic] {
        let answer = append(store, other).await;
        assert!(matches!(answer, Err(StoreError::RequestReused)));
    }
    assert_eq!(store.topic(&topic("c")).await.unwrap(), None);
    assert_eq!(info(store, "b").await.next, Offset(4));
    assert!(append(store, batch(p, 1, "a", 4)).await.unwrap().repeat);
}

async fn a_trim_by_age_is_not_held_up_by_times_ahead(store: &dyn Store) {
    let p = producer(store, "p").await;
    for (request, time) in [1000, 9_000, 9_001, 1001, 1005].into_iter().enumerate() {
        let at = Append {
            time: Timestamp(time),
            ..batch(p, request as u64, "a", 1)
        };
        base(store, at).await;
    }
    let trim = async |older_than, now| {
        let trim = Trim {
            older_than: Some(Timestamp(older_than)),
            now,
            ..Trim::default()
        };
        store.trim(&topic("a"), trim).await.unwrap();
        info(store, "a").await.first.0
    };
    assert_eq!(trim(1002, None).await, 1, "the time ahead is believed");
    let now = Some(Timestamp(2000));
    assert_eq!(
        trim(1001, now).await,
        1,
        "they are as old as the one after them"
    );
    assert_eq!(trim(1002, now).await, 4);
    // With nothing to go by, a batch is kept.
    let ahead = Append {
        time: Timestamp(9_002),
        ..batch(p, 9, "a", 1)
    };
    base(store, ahead).await;
    assert_eq!(trim(1006, now).await, 5);
}

async fn a_batch_of_no_messages_is_not_stored(store: &dyn Store) {
    let p = producer(store, "p").await;
    let answer = append(store, batch(p, 1, "a", 0)).await;
    assert!(matches!(answer, Err(StoreError::Corrupt(_))));
    assert_eq!(store.topic(&topic("a")).await.unwrap(), None);
}

async fn a_closed_store_fails_every_call(store: &dyn Store) {
    let p = producer(store, "p").await;
    base(store, batch(p, 1, "a", 1)).await;
    assert_eq!(store.state(), StoreState::Ready);
    store.close().await.unwrap();
    store.close().await.unwrap();

    let a = topic("a");
    assert_eq!(store.state(), StoreState::Closed);
    let answer = append(store, batch(p, 2, "a", 1)).await;
    assert!(matches!(answer, Err(StoreError::Refuses(_))), "{answer:?}");
    assert!(store.register_producer(&identity("p", 1)).await.is_err());
    assert!(store.read(&a, Offset(0), 1).await.is_err());
    assert!(store.topic(&a).await.is_err());
    assert!(store.topics(None, 1).await.is_err());
    assert!(store.create_topic(&topic("b"), KEPT).await.is_err());
    assert!(store.trim(&a, Trim::default()).await.is_err());
    assert!(store.position(&a, "x").await.is_err());
    assert!(store.set_position(&a, "x", Offset(0)).await.is_err());
    assert!(store.least_position(&a).await.is_err());
    assert!(store.delete_topic(&a).await.is_err());
    assert!(store.set_retention(&a, KEPT).await.is_err());
    assert!(store.positions(&a, "", 1).await.is_err());
    assert!(store.remove_position(&a, "x").await.is_err());
    assert!(store.forget_producers(Duration::ZERO).await.is_err());
}

/// Reaches every limit of a store whose limits are two.
async fn limits_refuse_what_goes_beyond(store: &dyn Store) {
    let (p, q) = (producer(store, "p").await, producer(store, "q").await);
    let third = store.register_producer(&identity("r", 1)).await;
    assert!(matches!(third, Err(StoreError::Limit(_))));
    assert_eq!(producer(store, "p").await, p, "who is known may come back");
    let p2 = register(store, identity("p", 2)).await;
    assert_ne!(p2, p, "who takes a name over takes its place");

    let (a, b) = (topic("a"), topic("b"));
    store.create_topic(&a, KEPT).await.unwrap();
    let beyond = vec![batch(q, 1, "b", 1), batch(q, 2, "c", 1)];
    let answers = store.append(beyond).await;
    assert!(answers[0].is_ok());
    assert!(matches!(answers[1], Err(StoreError::Limit(_))));
    let third = store.create_topic(&topic("c"), KEPT).await;
    assert!(matches!(third, Err(StoreError::Limit(_))));

    store.set_position(&a, "x", Offset(0)).await.unwrap();
    store.set_position(&b, "x", Offset(0)).await.unwrap();
    let third = store.set_position(&b, "y", Offset(0)).await;
    assert!(matches!(third, Err(StoreError::Limit(_))));
    store.set_position(&b, "x", Offset(1)).await.unwrap();

    // One entry exists; two more would be three.
    let beyond = vec![
        batch(q, 3, "a", 1),
        batch(q, 4, "a", 1),
        batch(p2, 3, "a", 1),
        batch(p2, 4, "a", 1),
    ];
    let answers = store.append(beyond).await;
    assert!(answers[0].is_ok());
    assert!(matches!(answers[1], Err(StoreError::Limit(_))));
    assert!(answers[2].is_ok(), "up to the share of a producer");
    assert!(matches!(answers[3], Err(StoreError::Limit(_))));
    let confirms = Append {
        answered_below: RequestId(4),
        ..batch(q, 4, "a", 1)
    };
    let answer = append(store, confirms).await;
    assert!(
        answer.is_ok(),
        "what it confirms makes room for it: {answer:?}"
    );
}

fn limits_of_two() -> Limits {
    Limits {
        topics: 2,
        producers: 2,
        positions: 2,
        dedupe_entries: 2,
    }
}

#[tokio::test]
async fn limits_of_the_memory_store_refuse_what_goes_beyond() {
    let config = MemoryConfig {
        limits: limits_of_two(),
        ..MemoryConfig::default()
    };
    limits_refuse_what_goes_beyond(&MemoryStore::new(config)).await;
}

#[tokio::test]
async fn limits_of_the_log_store_refuse_what_goes_beyond() {
    let folder = tempfile::tempdir().unwrap();
    let config = LogConfig {
        limits: limits_of_two(),
        ..LogConfig::default()
    };
    let store = LogStore::open(folder.path(), config).await.unwrap();
    limits_refuse_what_goes_beyond(&store).await;
}

#[tokio::test]
async fn a_full_memory_store_refuses_drops_nothing_and_takes_batches_again_after_a_trim() {
    let config = MemoryConfig {
        max_bytes: 350,
        ..MemoryConfig::default()
    };
    let store = &MemoryStore::new(config);
    let p = producer(store, "p").await;
    let sized = |request, len: usize| Append {
        batch: encoded(&vec![1; len - 4]),
        ..batch(p, request, "a", 1)
    };
    // The third does not fit, and the fourth, which would, does not overtake it.
    let answers = store
        .append(vec![
            sized(1, 100),
            sized(2, 100),
            sized(3, 200),
            sized(4, 100),
        ])
        .await;
    let taken: Vec<_> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(taken, [true, true, false, false]);
    assert!(matches!(answers[2], Err(StoreError::Refuses(_))));
    base(store, sized(5, 150)).await;
    assert!(matches!(store.state(), StoreState::Refusing(_)));
    assert_eq!(bases(store, "a", 0).await, [0, 1, 2]);

    let oldest = Trim {
        keep_from: Some(Offset(1)),
        max_bytes: Some(0),
        ..Trim::default()
    };
    assert_eq!(store.trim(&topic("a"), oldest).await.unwrap(), 100);
    assert_eq!(store.state(), StoreState::Ready);
    assert_eq!(
        base(store, sized(3, 100)).await,
        3,
        "it was not stored the first time"
    );
}
