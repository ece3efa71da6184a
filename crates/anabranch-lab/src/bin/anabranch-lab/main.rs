//! The laboratory's program. `anabranch lab` runs it too.
//!
//! ```text
//! lanes.rs         compares numbers of lanes on a given link, in virtual time (no subcommand)
//!   scenarios.rs   reads files of scenarios
//!   table.rs  regret_table.rs  json.rs  report.rs   print the comparison
//! controllers.rs   compares congestion controllers, in virtual time (--controllers)
//! soak             keeps a broker, a producer and a consumer under load for hours, in real time
//! ```
#![allow(
    clippy::disallowed_methods,
    reason = "a program reads the clock and starts tasks"
)]

mod controllers;
mod json;
mod lanes;
mod regret_table;
mod report;
mod scenarios;
mod soak;
mod table;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Compare numbers of lanes on a given link: a real producer and broker over a simulated network, in virtual time.
///
/// Each strategy sends the same load over the same link. Times are from the moment a message is due to the moment the broker
/// has stored it. The floor is the least time that any protocol can reach on this link.
#[derive(Debug, Parser)]
#[command(
    name = "anabranch-lab",
    version,
    max_term_width = 100,
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    lanes: lanes::Args,
}

#[derive(Debug, Subcommand)]
enum Command {
    Soak(soak::Args),
}

fn main() -> ExitCode {
    let Cli { command, lanes } = Cli::parse();
    anabranch_cli::log();
    match command {
        Some(Command::Soak(args)) => anabranch_cli::run(soak::run(args)),
        None => anabranch_cli::run(lanes::run(lanes)),
    }
}

#[cfg(test)]
mod tests {
    use anabranch_lab::Scenario;
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_has_an_environment_variable_of_its_name() {
        let cli = Cli::command();
        for command in [&cli].into_iter().chain(cli.get_subcommands()) {
            for flag in command.get_arguments() {
                let Some(long) = flag.get_long() else {
                    continue;
                };
                if ["help", "version"].contains(&long) {
                    continue;
                }
                let name = format!("ANABRANCH_{}", long.replace('-', "_").to_uppercase());
                let variable = flag.get_env().and_then(|env| env.to_str());
                assert_eq!(variable, Some(name.as_str()), "--{long}");
            }
        }
    }

    #[test]
    fn units_are_those_of_every_other_option() {
        let scenario = |flags: &[&str]| -> Scenario {
            let cli = Cli::try_parse_from([&["anabranch-lab"], flags].concat()).unwrap();
            cli.lanes.scenarios().unwrap().remove(0)
        };
        let hour = scenario(&["--duration", "1h"]);
        assert_eq!(hour.duration.as_secs(), 3600);
        let large = scenario(&["--buffer", "1TiB", "--duration", "1.5s"]);
        assert_eq!(large.buffer, 1 << 40);
        assert_eq!(scenario(&["--size", "1TiB"]).size, 1 << 40);
        let soak = ["anabranch-lab", "soak", "--duration", "1.5s"];
        assert!(Cli::try_parse_from(soak).is_ok());
    }

    #[test]
    fn a_wrong_value_is_named_with_its_flag_and_its_rule() {
        for (flags, parts) in [
            (
                &["--rtt", "50"][..],
                ["--rtt", "'50'", "expected a duration, such as 250ms"],
            ),
            (
                &["--size", "big"],
                ["--size", "'big'", "expected a size, such as 1200"],
            ),
            (
                &["--rate", "fast"],
                ["--rate", "'fast'", "expected a rate, such as 800kbit"],
            ),
            (
                &["--loss", "1 percent"],
                ["--loss", "'1 percent'", "expected a ratio, such as 0.01"],
            ),
            (
                &["--strategies", "65"],
                ["--strategies", "'65'", "a number of lanes up to 64"],
            ),
            (
                &["soak", "--duration", "1 week"],
                ["--duration", "'1 week'", "expected a duration"],
            ),
        ] {
            let parsed = Cli::try_parse_from([&["anabranch-lab"], flags].concat());
            let error = parsed.unwrap_err().to_string();
            for part in parts {
                assert!(error.contains(part), "{part:?} in {error}");
            }
        }
    }
}
