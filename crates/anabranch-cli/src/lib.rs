//! The `anabranch` program: a broker and its clients on the command line.
//!
//! ```text
//! serve                    runs a broker
//! produce   consume        sends lines, prints messages
//! ping      topics         asks a broker whether it is reachable, and what it holds
//! demo                     sends, reads back and compares, all in one process
//! bench                    measures throughput and latency, next to raw QUIC and the disk
//! log                      checks or repairs a log on disk
//! lab                      runs the program anabranch-lab: the value of more lanes on a given link
//!
//! connection.rs            flags of every command that connects
//! args.rs                  values of flags
//! waiting.rs               why there is no connection yet
//! harness.rs               temporary folder and loopback broker of demo, bench and the laboratory's soak
//! failure.rs  output.rs  progress.rs  signals.rs  stats.rs
//! ```
//!
//! Data, and results with `--output json`, go to standard output; everything else goes to standard error. Each flag has an
//! environment variable: `--server-name` is `ANABRANCH_SERVER_NAME`. The exit code is 0 for success, 1 for a failure,
//! 2 for a wrong command line, and 128 plus the signal's number when a second signal ended the process.
//!
//! Public here is only what the program `anabranch-lab` shares.
#![allow(
    clippy::disallowed_methods,
    reason = "a program reads the clock and starts tasks; the library's rules are for its own files"
)]

pub mod args;
mod bench;
mod connection;
mod consume;
mod demo;
mod failure;
pub mod harness;
mod lab;
mod log_folder;
pub mod output;
mod ping;
mod produce;
pub mod progress;
mod serve;
mod signals;
pub mod stats;
mod topics;
mod waiting;

use std::{future::Future, process::ExitCode};

use clap::{Parser, Subcommand};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// Messages over QUIC: a durable broker, and clients that open another stream only when one would help.
#[derive(Debug, Parser)]
#[command(name = "anabranch", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Args),
    Produce(produce::Args),
    Consume(consume::Args),
    Ping(ping::Args),
    Topics(topics::Args),
    Demo(demo::Args),
    Bench(bench::Args),
    Lab(lab::Args),
    Log(log_folder::Args),
}

impl Command {
    async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Serve(args) => serve::run(args).await,
            Self::Produce(args) => produce::run(args).await,
            Self::Consume(args) => consume::run(args).await,
            Self::Ping(args) => ping::run(args).await,
            Self::Topics(args) => topics::run(args).await,
            Self::Demo(args) => demo::run(args).await,
            Self::Bench(args) => bench::run(args).await,
            Self::Lab(args) => lab::run(args),
            Self::Log(args) => log_folder::run(args).await,
        }
    }
}

/// Runs the program with the arguments of this process, and returns its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    log();
    run(cli.command.run())
}

/// Runs a command on a new runtime, reports its error if it fails, and returns the exit code.
#[must_use]
pub fn run(command: impl Future<Output = anyhow::Result<ExitCode>>) -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return failure::report(&error.into()),
    };
    let outcome = runtime.block_on(Box::pin(command));
    // Does not wait for blocking calls that may never return, such as a read of a terminal.
    runtime.shutdown_background();
    outcome.unwrap_or_else(|error| failure::report(&error))
}

/// The log filter without `RUST_LOG`: warnings, except those of failed connection attempts, which the commands report
/// themselves.
const DEFAULT_FILTER: &str = "warn,anabranch::conn::client::supervisor=error";

/// Writes the log to standard error, above the live lines. `RUST_LOG` sets its filter.
pub fn log() {
    let filter = match std::env::var("RUST_LOG") {
        Ok(wanted) if !wanted.is_empty() => EnvFilter::builder()
            .with_default_directive(LevelFilter::WARN.into())
            .parse_lossy(wanted),
        _ => EnvFilter::new(DEFAULT_FILTER),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(progress::stderr)
        .with_ansi(progress::is_terminal())
        .init();
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_has_an_environment_variable_of_its_name() {
        for command in Cli::command().get_subcommands() {
            for flag in command.get_arguments() {
                let Some(long) = flag.get_long().filter(|long| *long != "help") else {
                    continue;
                };
                let name = format!("ANABRANCH_{}", long.replace('-', "_").to_uppercase());
                assert_eq!(
                    flag.get_env().and_then(|env| env.to_str()),
                    Some(name.as_str()),
                    "{} --{long}",
                    command.get_name()
                );
            }
        }
    }
}
