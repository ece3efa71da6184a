//! What is told on standard error besides results: how much, and in which format.

use clap::{ArgAction, ValueEnum, builder::BoolishValueParser};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use crate::progress;

/// How much is told on standard error, and how.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
#[command(next_help_heading = "Messages on standard error")]
pub(crate) struct LogArgs {
    /// Log more: -v what happens, -vv what is decided, -vvv everything. RUST_LOG selects by module.
    #[arg(long, short, global = true, action = ArgAction::Count)]
    verbose: u8,

    /// Say nothing but errors: no progress, no warnings, no summary in words.
    #[arg(long, short, global = true, conflicts_with = "verbose", value_parser = BoolishValueParser::new())]
    quiet: bool,

    /// Format of everything on standard error.
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        value_enum,
        default_value_t
    )]
    log_format: LogFormat,
}

/// The format of everything on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object per line, with timestamp, level and message.
    Json,
}

/// Which command is run: `serve` tells of its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Broker,
    Client,
}

impl LogArgs {
    /// Returns the log filter without `RUST_LOG`.
    fn filter(self, role: Role) -> &'static str {
        // The commands report failed attempts to connect themselves.
        match (self.quiet, self.verbose, role) {
            (true, ..) => "error,anabranch::conn::client::supervisor=off",
            (false, 0, Role::Client) => {
                "warn,anabranch::conn::client::supervisor=error,anabranch_cli=info"
            }
            (false, 0, Role::Broker) => "warn,anabranch::broker=info,anabranch_cli=info",
            (false, 1, _) => "info",
            (false, 2, _) => "info,anabranch=debug,anabranch_cli=debug",
            (false, ..) => "trace",
        }
    }

    /// Starts the log, on standard error above the live lines.
    pub(crate) fn start(self, role: Role) {
        let filter = match std::env::var("RUST_LOG") {
            Ok(wanted) if !wanted.is_empty() => EnvFilter::builder()
                .with_default_directive(LevelFilter::WARN.into())
                .parse_lossy(format!("anabranch_cli=info,{wanted}")),
            _ => EnvFilter::new(self.filter(role)),
        };
        progress::set_style(progress::Style {
            quiet: self.quiet,
            json: self.log_format == LogFormat::Json,
        });
        let log = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(progress::stderr)
            .with_target(self.verbose > 0)
            .with_ansi(progress::has_colours());
        match self.log_format {
            LogFormat::Text => log.init(),
            LogFormat::Json => log.json().flatten_event(true).init(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_filter_is_one() {
        for verbose in 0..5 {
            for quiet in [false, true] {
                for role in [Role::Broker, Role::Client] {
                    let args = LogArgs {
                        verbose,
                        quiet,
                        ..LogArgs::default()
                    };
                    let filter = args.filter(role);
                    assert!(EnvFilter::try_new(filter).is_ok(), "{filter}");
                }
            }
        }
    }
}
