//! The process that consumes under a name and acknowledges.

use anabranch::{Consumer, consumer::Start};

use super::{
    PATIENCE, TOPIC, connection,
    notes::{self, Notes},
    process::{Part, Role},
};

/// Number of messages between acknowledgements.
const ACK_EVERY: u64 = 50;

/// Consumes until the process is killed.
pub fn run(role: &Role) {
    let Role {
        folder, port, life, ..
    } = role;
    let mut notes = Notes::new(&notes::file(folder, Part::Consumer, *life));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let began = std::time::Instant::now();
        while began.elapsed() < PATIENCE * 60 {
            let subscribed = Consumer::builder()
                .connection(connection(*port, &folder.join("data")))
                .topic(TOPIC)
                .wait_for_topic(true)
                .name("killed")
                .from(Start::Earliest)
                .subscribe()
                .await;
            match subscribed {
                Ok(consumer) => consume(consumer, &mut notes).await,
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
        }
    });
}

async fn consume(mut consumer: Consumer, notes: &mut Notes) {
    notes.line(&format!("began {}", consumer.start().0));
    loop {
        let received = consumer.recv().await.unwrap();
        let offset = received.offset;
        let id = notes::id_of(&received.record.payload);
        notes.line(&format!("delivered {} {}", offset.0, id.0));
        if !offset.0.is_multiple_of(ACK_EVERY) {
            continue;
        }
        let next = offset.0 + 1;
        notes.line(&format!("acknowledged {next}"));
        // Every other acknowledgement is awaited.
        if offset.0.is_multiple_of(2 * ACK_EVERY) {
            consumer.ack(offset).await.unwrap();
            notes.line(&format!("confirmed {next}"));
        } else {
            consumer.ack_nowait(offset).unwrap();
        }
    }
}
