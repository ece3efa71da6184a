//! `anabranch log`: checks the log of a broker or a spool, repairs it on request, and measures one.

mod figures;

use std::{path::PathBuf, process::ExitCode};

use anabranch::store::{self, Report};
use clap::Subcommand;
use serde::Serialize;

use crate::output::{self, Output};

/// Check a log on disk, or repair it, while no broker uses it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Read the whole log and report what is damaged. Changes nothing. The exit code is 1 if something is damaged.
    Check(Folder),
    /// Make a damaged log usable. What is removed is kept in the folder; what is lost is reported.
    Repair(Folder),
    /// Measure a log in a temporary folder: its start, memory, space and cold reads.
    Bench(figures::Args),
}

#[derive(Debug, clap::Args)]
struct Folder {
    /// Folder of the log: `log` in the data folder of `serve`, or the folder of a spool.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Output format.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// A report, as JSON.
#[derive(Debug, Serialize)]
struct Findings<'a> {
    whole: bool,
    segments: usize,
    frames: u64,
    messages: u64,
    problems: &'a [String],
    notes: &'a [String],
    repairs: &'a [String],
}

impl<'a> From<&'a Report> for Findings<'a> {
    fn from(report: &'a Report) -> Self {
        Self {
            whole: report.problems.is_empty(),
            segments: report.segments,
            frames: report.frames,
            messages: report.messages,
            problems: &report.problems,
            notes: &report.notes,
            repairs: &report.repairs,
        }
    }
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (folder, repair) = match args.command {
        Action::Check(folder) => (folder, false),
        Action::Repair(folder) => (folder, true),
        Action::Bench(args) => return figures::run(args).await,
    };
    let Folder { folder, output } = folder;
    let report = tokio::task::spawn_blocking(move || match repair {
        false => store::check(&folder),
        true => store::repair(&folder),
    });
    let report = report.await??;
    match output {
        Output::Json => output::json(&Findings::from(&report))?,
        Output::Text => output::line(&report)?,
    }
    Ok(match report.problems.is_empty() || repair {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}
