//! The `anabranch` program: a broker and its clients from the command line.
//!
//! ```text
//! serve                    a broker
//! produce   consume        lines in, lines out
//! ping      topics         is it there, and what does it hold
//! demo                     all of it at once, and whether anything was lost
//! bench                    how fast, beside raw QUIC and the disk
//! lab                      what more streams are worth on a given link (runs the program anabranch-lab)
//! soak                     whether anything grows or gets lost in hours
//!
//! connection.rs            the flags of everything that connects
//! failure.rs  output.rs  progress.rs  signals.rs  units.rs
//! ```
//!
//! Data and what `--output json` asks for go to standard output, everything else to standard error. Each flag has an
//! environment variable: `--server-name` is `ANABRANCH_SERVER_NAME`. The exit code is 0 where all went well, 1 where
//! something did not, 2 where the command line is wrong, and that of the signal where a second one ended the program
//! at once.
#![allow(clippy::disallowed_methods)]

mod bench;
mod connection;
mod consume;
mod demo;
pub mod failure;
mod lab;
pub mod output;
mod ping;
mod produce;
pub mod progress;
mod serve;
pub mod signals;
mod soak;
mod topics;
pub mod units;

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
    Soak(soak::Args),
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
            Self::Soak(args) => soak::run(args).await,
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

/// Runs a command on a runtime of its own, and reports how it failed where it did.
#[must_use]
pub fn run(command: impl Future<Output = anyhow::Result<ExitCode>>) -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return failure::report(&error.into()),
    };
    let outcome = runtime.block_on(Box::pin(command));
    // Nothing is waited for that may hang, such as a read of a terminal.
    runtime.shutdown_background();
    outcome.unwrap_or_else(|error| failure::report(&error))
}

/// What is logged where `RUST_LOG` asks for nothing: warnings, but for those of a connection that does not come about,
/// which the commands tell themselves.
const LOGGED: &str = "warn,anabranch::conn::client::supervisor=error";

/// Sends the log to standard error.
pub fn log() {
    let filter = match std::env::var("RUST_LOG") {
        Ok(wanted) if !wanted.is_empty() => EnvFilter::builder()
            .with_default_directive(LevelFilter::WARN.into())
            .parse_lossy(wanted),
        _ => EnvFilter::new(LOGGED),
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
