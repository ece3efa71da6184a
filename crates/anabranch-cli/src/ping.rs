//! `anabranch ping`: whether a broker is reachable, and the round-trip time to it.

use std::{fmt, process::ExitCode, time::Duration};

use anabranch::conn::internals::Supervisor;
use serde::Serialize;
use tokio::time::MissedTickBehavior;

use crate::{
    args,
    connection::ConnectionArgs,
    output::{self, Output},
    signals,
    stats::{millis, rounded},
    waiting::Reporter,
};

/// How long the close may take to reach the broker.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Check that a broker is reachable, and measure its round-trip time.
///
/// Pings use a stream of their own and never wait behind messages. The exit code is 1 when no answer came.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Number of pings.
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 5,
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    count: u64,

    /// Time from one ping to the next.
    #[arg(
        long,
        value_name = "TIME",
        default_value = "1s",
        value_parser = args::positive_duration
    )]
    interval: Duration,

    /// Time limit for each answer.
    #[arg(
        long,
        value_name = "TIME",
        default_value = "5s",
        value_parser = args::positive_duration
    )]
    ping_timeout: Duration,

    /// Output format.
    #[arg(long, value_enum, default_value_t)]
    output: Output,

    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let stop = signals::watch(|| ())?;
    let mut config = args.connection.config();
    config.ping_timeout = args.ping_timeout;
    let supervisor = Supervisor::connect(config)?;
    let _reporter = Reporter::begin(supervisor.watch_state(), false);
    tokio::select! {
        up = supervisor.connected() => up.map(drop)?,
        () = stop.cancelled() => return Ok(ExitCode::FAILURE),
    }
    let mut results = Results::default();
    let pinging = async {
        let mut ticks = tokio::time::interval(args.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for _ in 0..args.count {
            ticks.tick().await;
            // After a reconnect this is a new connection.
            let ping = async { supervisor.wait_connected().await.ok()?.ping().await };
            let pong = tokio::time::timeout(args.ping_timeout, ping).await;
            let pong = pong.ok().flatten();
            results.add(pong);
            if args.output == Output::Text {
                output::line(ping_line(results.sent, pong))?;
            }
        }
        anyhow::Ok(())
    };
    tokio::select! {
        pinged = pinging => pinged?,
        () = stop.cancelled() => {}
    }
    supervisor.close(CLOSE_TIMEOUT).await;
    match args.output {
        Output::Text => output::line(&results)?,
        Output::Json => output::json(&results.summary())?,
    }
    Ok(match results.received {
        0 => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    })
}

fn ping_line(number: u64, pong: Option<Duration>) -> String {
    match pong {
        Some(time) => format!("ping {number}: {:.3} ms", millis(time)),
        None => format!("ping {number}: no answer"),
    }
}

/// The pings so far, and their answers.
#[derive(Debug, Default)]
struct Results {
    sent: u64,
    received: u32,
    /// Sum of all round-trip times.
    sum: Duration,
    min: Option<Duration>,
    max: Option<Duration>,
}

#[derive(Debug, Serialize)]
struct Summary {
    sent: u64,
    received: u32,
    min_ms: Option<f64>,
    avg_ms: Option<f64>,
    max_ms: Option<f64>,
}

impl Results {
    fn add(&mut self, pong: Option<Duration>) {
        self.sent += 1;
        if let Some(time) = pong {
            self.received += 1;
            self.sum += time;
            self.min = Some(self.min.map_or(time, |min| min.min(time)));
            self.max = self.max.max(pong);
        }
    }

    fn summary(&self) -> Summary {
        let ms = |time: Duration| rounded(millis(time));
        Summary {
            sent: self.sent,
            received: self.received,
            min_ms: self.min.map(ms),
            avg_ms: self.sum.checked_div(self.received).map(ms),
            max_ms: self.max.map(ms),
        }
    }
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary {
            sent,
            received,
            min_ms,
            avg_ms,
            max_ms,
        } = self.summary();
        write!(f, "{sent} pings, {received} pongs")?;
        if let (Some(min), Some(avg), Some(max)) = (min_ms, avg_ms, max_ms) {
            write!(f, ", min/avg/max {min:.3}/{avg:.3}/{max:.3} ms")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts_what_did_not_come_back() {
        let mut results = Results::default();
        assert_eq!(results.summary().avg_ms, None);
        for pong in [Some(1), None, Some(3)] {
            results.add(pong.map(Duration::from_millis));
        }
        assert_eq!(
            results.to_string(),
            "3 pings, 2 pongs, min/avg/max 1.000/2.000/3.000 ms"
        );
    }
}
