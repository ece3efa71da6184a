//! A scaling policy of one's own: one lane for every 1000 messages that wait, and one at rest.
//!
//! `cargo run --example custom_policy`
//!
//! ```text
//! most lanes: 4, lanes now: 1
//! ```

mod common;

use std::{
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use anabranch::scaler::{Action, Decision, Load, Reason, ScalePolicy};

#[derive(Debug)]
struct PerThousand {
    most: usize,
}

impl ScalePolicy for PerThousand {
    fn decide(&mut self, _now: Instant, load: &Load) -> Decision {
        let open = load.total_lanes();
        let wanted = (load.queued_messages / 1000).clamp(1, self.most);
        let (action, reason) = match (wanted.checked_sub(open), open.checked_sub(wanted)) {
            (Some(n), _) if n > 0 => (Action::open(n), Reason::Backlog),
            (_, Some(n)) if n > 0 && load.is_quiet() => (Action::retire(n), Reason::Idle),
            _ => (Action::Hold, Reason::BelowThreshold),
        };
        Decision {
            action,
            reason,
            // Ask again while there is something to do, then wait for the next message.
            wake_after: (open > 1 || !load.is_quiet()).then_some(Duration::from_millis(1)),
        }
    }

    fn backlog_threshold(&self, lanes: usize) -> usize {
        1000 * NonZeroUsize::new(lanes).map_or(1, NonZeroUsize::get)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let far = common::Far::start().await?;
    let producer = far
        .producer("events")
        .policy(PerThousand { most: 4 })
        .connect()
        .await?;
    for i in 0..200_000 {
        drop(producer.send_async(format!("event {i}")).await?);
    }
    producer.flush(Duration::from_secs(60)).await?;

    // Once it is quiet, the policy lets the lanes go.
    let mut lanes = producer.watch_lanes();
    lanes.wait_for(|lanes| lanes.open == 1).await?;
    let report = lanes.borrow().clone();
    println!("most lanes: {}, lanes now: {}", report.most, report.open);
    producer.close(Duration::from_secs(5)).await?;
    Ok(())
}
