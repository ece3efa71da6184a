//! The command line: its commands, their environment variables, and what is generated from it.

use std::{path::PathBuf, process::ExitCode};

use anabranch::conn::tls::ALPN;
use anyhow::Context;
use clap::{Arg, Args as _, Command, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;

use crate::{
    bench,
    connection::ConnectionArgs,
    consume, demo, lab, log_folder,
    logging::{LogArgs, Role},
    output, ping, produce, serve, topics,
};

/// Returns version, commit, protocol and features, for `--version`.
fn long_version() -> String {
    let (version, commit) = (env!("CARGO_PKG_VERSION"), env!("ANABRANCH_COMMIT"));
    let counting = match cfg!(feature = "count-allocations") {
        true => ", count-allocations",
        false => "",
    };
    format!(
        "{version}\ncommit: {commit}\nwire: {ALPN}\nfeatures: producer, broker, spool{counting}"
    )
}

/// Messages over QUIC: a durable broker, and clients that open another stream only when one would help.
#[derive(Debug, Parser)]
#[command(name = "anabranch", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Action,
    #[command(flatten)]
    pub(crate) logging: LogArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    Serve(serve::Args),
    Produce(produce::Args),
    Consume(consume::Args),
    Ping(ping::Args),
    Topics(topics::Args),
    Demo(demo::Args),
    Bench(bench::Args),
    Lab(lab::Args),
    Log(log_folder::Args),
    Completions(Completions),
    Man(Man),
}

impl Action {
    /// Returns what the log is about.
    pub(crate) const fn role(&self) -> Role {
        match self {
            Self::Serve(_) => Role::Broker,
            _ => Role::Client,
        }
    }

    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
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
            Self::Completions(args) => args.run(),
            Self::Man(args) => args.run(),
        }
    }
}

/// Print the completions of a shell.
///
/// For bash: anabranch completions bash > ~/.local/share/bash-completion/completions/anabranch
#[derive(Debug, clap::Args)]
pub(crate) struct Completions {
    /// Which shell.
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl Completions {
    fn run(self) -> anyhow::Result<ExitCode> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command(), "anabranch", &mut script);
        output::bytes(&script)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Write a man page for each command.
///
/// For the current user: anabranch man ~/.local/share/man/man1
#[derive(Debug, clap::Args)]
pub(crate) struct Man {
    /// Folder of the pages, made if missing.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl Man {
    fn run(self) -> anyhow::Result<ExitCode> {
        std::fs::create_dir_all(&self.folder)
            .and_then(|()| clap_mangen::generate_to(command(), &self.folder))
            .with_context(|| format!("cannot write to {}", self.folder.display()))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Cli {
    /// Reads the arguments and the environment of this process. Prints help or an error and exits where they ask for it.
    pub(crate) fn from_process() -> Self {
        let matches = command().get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

/// Returns the command line, with an environment variable for each flag.
///
/// Flags that mean the same in every command, those of the connection and of the output, have one variable:
/// `ANABRANCH_SERVER`. The variable of another flag has the command's name in it: `ANABRANCH_PRODUCE_TOPIC`.
fn command() -> Command {
    let command = <Cli as clap::CommandFactory>::command().long_version(long_version());
    let commands: Vec<String> = command
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    let mut command = command.mut_args(|arg| with_variable(arg, ""));
    for name in commands {
        let prefix = format!("{}_", name.to_uppercase());
        command = command.mut_subcommand(&name, |command| with_variables(command, &prefix));
    }
    command
}

fn with_variables(command: Command, prefix: &str) -> Command {
    let nested: Vec<String> = command
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    let mut command = command.mut_args(|arg| with_variable(arg, prefix));
    for name in nested {
        command = command.mut_subcommand(&name, |command| with_variables(command, prefix));
    }
    command
}

fn with_variable(arg: Arg, prefix: &str) -> Arg {
    let Some(long) = arg.get_long() else {
        return arg;
    };
    let prefix = if is_shared(long) { "" } else { prefix };
    let variable = format!(
        "ANABRANCH_{prefix}{}",
        long.replace('-', "_").to_uppercase()
    );
    arg.env(variable)
}

/// Returns whether a flag means the same in every command.
fn is_shared(long: &str) -> bool {
    let connection = ConnectionArgs::augment_args(Command::new("connection"));
    long == "output"
        || connection
            .get_arguments()
            .any(|arg| arg.get_long() == Some(long))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
    }

    /// The variable of each flag, with the names of its commands.
    fn variables(command: &Command, path: &str, found: &mut Vec<(String, String)>) {
        for flag in command.get_arguments() {
            let Some(long) = flag.get_long().filter(|long| *long != "help") else {
                continue;
            };
            let variable = flag.get_env().and_then(|variable| variable.to_str());
            let variable = variable.unwrap_or_else(|| panic!("{path} --{long} has no variable"));
            found.push((variable.to_owned(), format!("{path} --{long}")));
        }
        for command in command.get_subcommands() {
            variables(command, &format!("{path} {}", command.get_name()), found);
        }
    }

    #[test]
    fn every_flag_has_a_variable_and_a_variable_means_one_thing() {
        let mut found = Vec::new();
        variables(&command(), "anabranch", &mut found);
        for (variable, flag) in &found {
            let words: Vec<&str> = flag.split(' ').collect();
            let (command, long) = (words[1], words[words.len() - 1].trim_start_matches("--"));
            let name = long.replace('-', "_").to_uppercase();
            let expected = match is_shared(long) || words.len() == 2 {
                true => format!("ANABRANCH_{name}"),
                false => format!("ANABRANCH_{}_{name}", command.to_uppercase()),
            };
            assert_eq!(*variable, expected, "{flag}");
        }
        assert!(found.len() > 60, "{}", found.len());
    }
}
