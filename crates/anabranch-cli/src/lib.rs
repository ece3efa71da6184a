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
//! completions  man         what shells and `man` know of the program
//!
//! cli.rs  logging.rs       the command line and its environment variables; what is told on standard error
//! connection.rs            flags of every command that connects
//! args.rs                  values of flags
//! waiting.rs               why there is no connection yet
//! harness.rs               temporary folder and loopback broker of demo, bench and the laboratory's soak
//! relay.rs                 a link that delays and loses packets, for demo and an example of the laboratory
//! failure.rs  metrics_server.rs  output.rs  progress.rs  secret_file.rs  signals.rs  stats.rs  terminal.rs
//! ```
//!
//! Data, and results with `--output json`, go to standard output; everything else goes to standard error. Each flag has an
//! environment variable: `--server` is `ANABRANCH_SERVER`, and `produce --topic` is `ANABRANCH_PRODUCE_TOPIC`. The exit code is 0 for success, 1 for a failure,
//! 2 for a wrong command line, and 130 when a second Ctrl-C ended the process.
//!
//! Public here is only what the program `anabranch-lab` shares.
#![allow(
    clippy::disallowed_methods,
    reason = "a program reads the clock and starts tasks; the library's rules are for its own files"
)]

pub mod args;
mod bench;
mod cli;
mod connection;
mod consume;
mod demo;
mod failure;
pub mod harness;
mod lab;
mod log_folder;
mod logging;
mod metrics_server;
pub mod output;
mod ping;
mod produce;
pub mod progress;
pub mod relay;
mod secret_file;
mod serve;
mod signals;
pub mod stats;
mod terminal;
mod topics;
mod waiting;

use std::{future::Future, process::ExitCode};

use anyhow::Context;

use self::{
    cli::Cli,
    logging::{LogArgs, Role},
};

/// Runs the program with the arguments of this process, and returns its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::from_process();
    cli.logging.start(cli.command.role());
    run(cli.command.run())
}

/// Runs a command on a new runtime, reports its error if it fails, and returns the exit code.
#[must_use]
pub fn run(command: impl Future<Output = anyhow::Result<ExitCode>>) -> ExitCode {
    let started = has_room_for_files().and_then(|()| {
        tokio::runtime::Runtime::new().context("cannot start the threads of the program")
    });
    let runtime = match started {
        Ok(runtime) => runtime,
        Err(error) => return failure::report(&error),
    };
    let outcome = runtime.block_on(Box::pin(command));
    // Does not wait for blocking calls that may never return, such as a read of a terminal.
    runtime.shutdown_background();
    outcome.unwrap_or_else(|error| failure::report(&error))
}

/// The files and sockets that every command needs besides those of its work.
const FILES: usize = 16;

/// Checks that this process may open a few files. The runtime panics where it may not.
fn has_room_for_files() -> anyhow::Result<()> {
    let Ok(program) = std::env::current_exe() else {
        return Ok(());
    };
    let files: std::io::Result<Vec<_>> =
        (0..FILES).map(|_| std::fs::File::open(&program)).collect();
    match files {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context(
            "this process may not open enough files: raise the limit, for example with `ulimit -n 1024`",
        ),
        _ => Ok(()),
    }
}

/// Starts the log with the default options.
pub fn log() {
    LogArgs::default().start(Role::Client);
}
