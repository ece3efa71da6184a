//! The futures of a producer.

use anabranch::{
    Message,
    producer::{CloseError, SendErrorKind},
};
use futures_util::{SinkExt, stream};
use std::time::Duration;

use crate::{ROOM, assert_whole, cut, fill, for_all_k, payloads, small, world::LONG};

#[test]
fn connect() {
    for_all_k(async |world, k| {
        let connected = cut(&world.network, k, small(&world).connect()).await;
        let completed = connected.is_some();
        drop(connected);
        // What it left behind does not hinder another producer of its name.
        let next = small(&world).connect().await.unwrap();
        assert_whole(&world, &next).await;
        next.close(LONG).await.unwrap();
        completed
    });
}

#[test]
fn connected() {
    for_all_k(async |world, k| {
        let producer = small(&world).build().unwrap();
        let connected = cut(&world.network, k, producer.wait_connected()).await;
        assert_whole(&world, &producer).await;
        producer.close(LONG).await.unwrap();
        connected.is_some()
    });
}

/// What was sent in between is there once where the future said so, and at most once where it was dropped.
fn is_there(stored: &[String], completed: bool) {
    let times = stored.iter().filter(|p| *p == "it").count();
    match completed {
        true => assert_eq!(times, 1),
        false => assert!(times <= 1),
    }
    assert_eq!(
        stored.iter().filter(|p| p.starts_with("filling")).count() as u64,
        ROOM
    );
}

#[test]
fn send() {
    for_all_k(async |world, k| {
        let producer = small(&world).connect().await.unwrap();
        fill(&producer);
        let sent = cut(&world.network, k, producer.send("it")).await;
        if let Some(ack) = &sent {
            ack.as_ref().unwrap();
        }
        assert_whole(&world, &producer).await;
        is_there(&payloads(&world).await, sent.is_some());
        producer.close(LONG).await.unwrap();
        sent.is_some()
    });
}

#[test]
fn send_async() {
    for_all_k(async |world, k| {
        let producer = small(&world).connect().await.unwrap();
        fill(&producer);
        let message = Message::new("it").with_key("k");
        let sent = cut(&world.network, k, producer.send_async(message)).await;
        assert_whole(&world, &producer).await;
        is_there(&payloads(&world).await, sent.is_some());
        if let Some(receipt) = sent {
            receipt.unwrap().await.unwrap();
            producer.close(LONG).await.unwrap();
            return true;
        }
        producer.close(LONG).await.unwrap();
        false
    });
}

#[test]
fn a_receipt() {
    for_all_k(async |world, k| {
        let producer = small(&world).connect().await.unwrap();
        let receipt = producer.send_async("it").await.unwrap();
        let outcome = cut(&world.network, k, receipt).await;
        assert_whole(&world, &producer).await;
        // Accepted: it is there whether its receipt is awaited or not.
        assert_eq!(payloads(&world).await[0], "it");
        producer.close(LONG).await.unwrap();
        outcome.is_some()
    });
}

#[test]
fn flush() {
    for_all_k(async |world, k| {
        let producer = small(&world).connect().await.unwrap();
        fill(&producer);
        let flushed = cut(&world.network, k, producer.flush(LONG)).await;
        if flushed.is_some() {
            assert_eq!(payloads(&world).await.len() as u64, ROOM);
        }
        assert_whole(&world, &producer).await;
        producer.close(LONG).await.unwrap();
        flushed.is_some()
    });
}

#[test]
fn close() {
    for_all_k(async |world, k| {
        let producer = small(&world).connect().await.unwrap();
        let other = producer.clone();
        let mut receipts = Vec::new();
        for n in 0..ROOM {
            receipts.push(producer.try_send_async(format!("filling {n}")).unwrap());
        }
        let closed = cut(&world.network, k, producer.close(LONG)).await;
        // The last handle does the rest.
        drop(other);
        let mut stored = 0;
        for receipt in receipts {
            match receipt.await {
                Ok(_) => stored += 1,
                Err(error) => assert_eq!(error.kind(), SendErrorKind::Closed),
            }
        }
        if let Some(closed) = &closed {
            closed.as_ref().unwrap();
            assert_eq!(stored, ROOM);
        }
        assert!(payloads(&world).await.len() as u64 >= stored);
        let next = small(&world).connect().await.unwrap();
        next.send("next").await.unwrap();
        next.close(LONG).await.unwrap();
        closed.is_some()
    });
}

#[test]
fn a_close_that_runs_into_its_deadline() {
    for_all_k(async |world, k| {
        let producer = small(&world).connect().await.unwrap();
        world.there.cut();
        let receipt = producer.try_send_async("it").unwrap();
        let closing = producer.clone().close(Duration::from_millis(20));
        let closed = cut(&world.network, k, closing).await;
        if let Some(closed) = &closed {
            let CloseError { undelivered, .. } = closed.as_ref().unwrap_err();
            assert_eq!(undelivered.len(), 1);
        }
        drop(producer);
        assert_eq!(receipt.await.unwrap_err().kind(), SendErrorKind::Closed);
        closed.is_some()
    });
}

#[test]
fn the_sink() {
    for_all_k(async |world, k| {
        let mut producer = small(&world).connect().await.unwrap();
        let messages = (0..2 * ROOM).map(|n| Ok(Message::from(format!("sunk {n}"))));
        let mut messages = stream::iter(messages);
        let sent = cut(&world.network, k, producer.send_all(&mut messages)).await;
        if let Some(sent) = &sent {
            sent.as_ref().unwrap();
            assert_eq!(payloads(&world).await.len() as u64, 2 * ROOM);
        }
        // The handle goes on: what it holds for itself is in it, not in the future.
        SinkExt::<Message>::flush(&mut producer).await.unwrap();
        let flushed = cut(&world.network, k, SinkExt::<Message>::close(&mut producer)).await;
        if let Some(flushed) = flushed {
            flushed.unwrap();
        }
        assert_whole(&world, &producer).await;
        producer.close(LONG).await.unwrap();
        sent.is_some()
    });
}
