//! `anabranch demo`: producer, broker and consumer in one process, and whether a message was lost.
//!
//! ```text
//! text.rs ─▶ bursts ─▶ Producer ═ loopback ═▶ Broker with its log in a temporary folder ═▶ Consumer ─▶ check.rs
//!                      logging_policy.rs: the adaptive policy; prints each change of the number of lanes
//! ```
//!
//! Policy, broker and log have their default options, except the idle timeout of lanes, which is one second instead of ten.

mod bursts;
mod check;
mod compare;
mod logging_policy;
mod setup;
mod summary;
mod text;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use self::{check::Check, setup::Setup, summary::Summary, text::Text};
use crate::{
    args, harness,
    output::{self, Output},
    progress,
};

/// Time limit for idle lanes to close.
const LANES_CLOSED: Duration = Duration::from_secs(20);

/// Start a broker, send it text in bursts, print how lanes open and close, read everything back and compare. Then send over
/// a link that loses packets, with one lane and with as many as help, and print how long messages took.
///
/// The exit code is 1 when a message was lost, came twice or came back changed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Text file whose lines are sent, repeatedly. Without it, source code of this program.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,

    /// Number of messages, over all bursts.
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 200_000,
        value_parser = clap::value_parser!(u32).range(1..=10_000_000)
    )]
    messages: u32,

    /// How long the link with and without lanes is compared.
    #[arg(
        long,
        value_name = "TIME",
        default_value = "6s",
        value_parser = args::positive_duration
    )]
    compare: Duration,

    /// Output format of the summary.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let text = Text::load(args.input.as_deref())?;
    let summary = harness::with_temporary_folder("demo", async |folder, stop| {
        let demo = async {
            let setup = Setup::start(folder).await?;
            let summary =
                send_and_read_back(&setup, &text, args.messages.into(), args.compare).await?;
            setup.stop().await?;
            anyhow::Ok(summary)
        };
        harness::unless_stopped(&stop, demo).await
    })
    .await?;
    output::result(args.output, &summary)?;
    Ok(match summary.is_whole() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Sends everything, reads it back, waits until the idle lanes are closed, and compares.
async fn send_and_read_back(
    setup: &Setup,
    text: &Text,
    messages: u64,
    time: Duration,
) -> anyhow::Result<Summary> {
    let mut check = Check::new(messages);
    let live = bursts::live(&setup.producer, messages);
    let sent = bursts::send(setup, text, messages, &mut check).await?;
    progress::say("reading everything back, while idle lanes close");
    let reading = setup.read_back(&mut check);
    let lanes = async {
        let mut lanes = setup.producer.watch_lanes();
        let closed = lanes.wait_for(|lanes| lanes.open <= setup.min_lanes);
        // The summary shows lanes that do not close.
        let _ = tokio::time::timeout(LANES_CLOSED, closed).await;
        anyhow::Ok(())
    };
    let ((), ()) = tokio::try_join!(reading, lanes)?;
    drop(live);
    let lanes = setup.producer.lanes();
    let comparison = compare::compare(setup, text, time).await?;
    Ok(Summary::new(&check, &sent, &lanes, comparison))
}
