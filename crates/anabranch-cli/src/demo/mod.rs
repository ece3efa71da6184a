//! `anabranch demo`: the whole thing in one process, and whether anything was lost.
//!
//! ```text
//! text.rs ─▶ bursts ─▶ Producer ═ loopback ═▶ Broker with its log in a temporary folder ═▶ Consumer ─▶ check.rs
//!                      told.rs: the adaptive policy, and every change it makes
//! ```
//!
//! Nothing is set up for the result: the policy, the broker and the log are those that everybody gets. Only the idle
//! timeout of lanes is a second, so that one need not wait for ten.

mod bursts;
mod check;
mod stage;
mod summary;
mod text;
mod told;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, bail};

use self::{check::Check, stage::Stage, summary::Summary, text::Text};
use crate::{
    output::{self, Output},
    progress, signals,
};

/// How long lanes may take to go.
const LANES_BACK: Duration = Duration::from_secs(20);

/// Start a broker, send it text in bursts, watch the lanes come and go, read everything back and compare.
///
/// The exit code is 1 when a message was lost, came twice or came back changed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A text to send, line by line, again and again. Without it: this project's own pages.
    #[arg(long, env = "ANABRANCH_INPUT", value_name = "FILE")]
    input: Option<PathBuf>,

    /// How many messages, over all bursts.
    #[arg(
        long,
        env = "ANABRANCH_MESSAGES",
        value_name = "COUNT",
        default_value_t = 200_000,
        value_parser = clap::value_parser!(u32).range(1..=10_000_000)
    )]
    messages: u32,

    /// How to say how it went.
    #[arg(long, env = "ANABRANCH_OUTPUT", value_enum, default_value_t)]
    output: Output,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let folder = tempfile::Builder::new()
        .prefix("anabranch-demo-")
        .tempdir()
        .context("there is no temporary folder")?;
    let stop = signals::watch({
        let folder = folder.path().to_owned();
        move || {
            // Nobody else will.
            let _ = std::fs::remove_dir_all(folder);
        }
    })?;
    let text = Text::load(args.input.as_deref())?;
    let played = async {
        let stage = Stage::set(folder.path()).await?;
        let summary = play(&stage, &text, args.messages.into()).await?;
        stage.strike().await?;
        anyhow::Ok(summary)
    };
    let summary = tokio::select! {
        played = Box::pin(played) => played?,
        () = stop.cancelled() => bail!("stopped before the end"),
    };
    folder
        .close()
        .context("the temporary folder cannot be removed")?;
    match args.output {
        Output::Json => output::json(&summary)?,
        Output::Text => output::line(&summary)?,
    }
    Ok(match summary.is_whole() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Everything between the curtain and the applause.
async fn play(stage: &Stage, text: &Text, messages: u64) -> anyhow::Result<Summary> {
    let mut check = Check::new(messages);
    let live = bursts::live(&stage.producer, messages);
    let sent = bursts::send(stage, text, messages, &mut check).await?;
    progress::say("reading everything back, while the lanes go");
    let reading = stage.read_back(&mut check);
    let lanes = async {
        let mut lanes = stage.producer.watch_lanes();
        let back = lanes.wait_for(|lanes| lanes.open <= stage.least_lanes);
        // Where they do not go, the summary says so.
        let _ = tokio::time::timeout(LANES_BACK, back).await;
        anyhow::Ok(())
    };
    let ((), ()) = tokio::try_join!(reading, lanes)?;
    drop(live);
    Ok(Summary::new(&check, &sent, &stage.producer.lanes()))
}
