//! A scaling policy of your own: one lane for every 1000 messages that wait, and one at rest.
//!
//! `cargo run --example custom_policy`
//!
//! ```text
//! most lanes: 4, lanes now: 1
//! ```

mod common;

use std::time::{Duration, Instant};

use anabranch::scaler::{Action, Decision, Load, Reason, ScalePolicy};

#[derive(Debug)]
struct PerThousand {
    most: usize,
}

impl ScalePolicy for PerThousand {
    fn decide(&mut self, _now: Instant, load: &Load) -> Decision {
        let lanes = load.total_lanes();
        let wanted = (load.queued_messages / 1000).clamp(1, self.most);
        let (action, reason) = if wanted > lanes {
            (Action::open(wanted - lanes), Reason::Backlog)
        } else if wanted < lanes && load.is_quiet() {
            (Action::retire(lanes - wanted), Reason::Idle)
        } else {
            (Action::Hold, Reason::BelowThreshold)
        };
        Decision {
            action,
            reason,
            // Ask again soon while lanes may have to go. Otherwise wait for messages.
            wake_after: (lanes > 1 || !load.is_quiet()).then_some(Duration::from_millis(1)),
        }
    }

    /// The producer calls `decide` at once when this many messages are queued.
    fn backlog_threshold(&self, lanes: usize) -> usize {
        1000 * lanes.max(1)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let far = common::Far::start().await?;
    let producer = far
        .producer("events")
        .policy(|| PerThousand { most: 4 })
        .connect()
        .await?;
    for i in 0..200_000 {
        drop(producer.send_async(format!("event {i}")).await?);
    }
    producer.flush(Duration::from_secs(60)).await?;

    // Once the producer is quiet, the policy retires the lanes that are left over.
    let mut lanes = producer.watch_lanes();
    lanes.wait_for(|lanes| lanes.open == 1).await?;
    let report = lanes.borrow().clone();
    println!("most lanes: {}, lanes now: {}", report.peak, report.open);
    producer.close(Duration::from_secs(5)).await?;
    Ok(())
}
