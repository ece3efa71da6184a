//! Sans-I/O: a comparison as text for a terminal.

use std::fmt::Write as _;

use anabranch::scaler::Reason;
use anabranch_lab::{Comparison, Controller, Outcome, Quantiles};

/// Returns a comparison: a line per strategy, and remarks.
pub(crate) fn of_one(comparison: &Comparison) -> String {
    let mut text = heading(comparison);
    text.push_str(
        "\n\n                 delivery one way, ms                         receipt, ms                      lanes             packets      cpu   worst\n\
           strategy        p50      p90      p99    p99.9      max       p50      p99    Mbit/s    mean   max   +    -      lost        s  regret\n",
    );
    let _ = writeln!(text, "{:<12}{}", "the floor", figures(&comparison.floor));
    for (index, outcome) in comparison.outcomes.iter().enumerate() {
        let mark = match comparison.best_static == Some(index) {
            true => '*',
            false => ' ',
        };
        line(&mut text, outcome, mark);
    }
    text.push('\n');
    remarks(&mut text, comparison);
    text.trim_end().to_owned()
}

fn heading(comparison: &Comparison) -> String {
    let fields = comparison.scenario.fields();
    let shown: Vec<_> = fields
        .iter()
        .filter(|(name, value)| {
            let idle = matches!(
                (*name, value.as_str()),
                ("jitter" | "broker-delay", "0s") | ("burst", "1") | ("name", "")
            );
            !idle && *name != "strategies"
        })
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    shown.join(", ")
}

fn line(text: &mut String, outcome: &Outcome, mark: char) {
    let lanes = &outcome.lanes;
    let regret = outcome
        .regret
        .map_or_else(String::new, |regret| percent(regret.worst()));
    let _ = writeln!(
        text,
        "{:<11}{mark}{} {}{}  {:>8}  {:>6.1} {:>5} {:>4} {:>4}  {:>8}  {:>7.2}  {:>6}",
        outcome.name,
        figures(&outcome.delivery_ms),
        figure(outcome.receipt_ms.p50),
        figure(outcome.receipt_ms.p99),
        format!("{:.2}", outcome.throughput_mbit),
        lanes.mean,
        lanes.max,
        short(lanes.opened),
        short(lanes.retired),
        outcome.packets.lost,
        outcome.cpu_seconds.unwrap_or_default(),
        regret,
    );
}

fn figures(quantiles: &Quantiles) -> String {
    let Quantiles {
        p50,
        p90,
        p99,
        p999,
        max,
    } = *quantiles;
    [p50, p90, p99, p999, max].map(figure).concat()
}

/// Formats milliseconds in nine columns, with two decimal places below a second.
fn figure(ms: f64) -> String {
    match ms {
        ms if ms < 1000.0 => format!("{ms:>9.2}"),
        ms => format!("{ms:>9.0}"),
    }
}

fn short(count: u64) -> String {
    match count {
        n if n < 10_000 => n.to_string(),
        n => format!("{}k", n / 1000),
    }
}

fn percent(part: f64) -> String {
    match part {
        part if part > 10.0 => format!("x{:.0}", part + 1.0),
        part => format!("{:+.0} %", part * 100.0 + 0.0),
    }
}

/// Returns whether the congestion window was full at most decisions, on a link that loses packets of itself.
fn controller_is_the_limit(comparison: &Comparison, adaptive: &Outcome) -> bool {
    let scenario = &comparison.scenario;
    let full = adaptive.decisions.get(Reason::CongestionLimited.as_str());
    let all: u64 = adaptive.decisions.values().sum();
    let takes_losses_for_congestion = scenario.congestion != Controller::Thalweg;
    takes_losses_for_congestion && scenario.loss > 0.0 && 2 * full.copied().unwrap_or(0) > all
}

fn remarks(text: &mut String, comparison: &Comparison) {
    if let Some(best) = comparison.best_static {
        let name = &comparison.outcomes[best].name;
        let _ = writeln!(
            text,
            "* best static number of lanes in hindsight: {name}. Regret is relative to it."
        );
    }
    if let Some(adaptive) = comparison.of("adaptive") {
        let decisions: Vec<_> = adaptive
            .decisions
            .iter()
            .map(|(reason, count)| format!("{reason} {count}"))
            .collect();
        let _ = writeln!(text, "Decisions of adaptive: {}.", decisions.join(", "));
        if controller_is_the_limit(comparison, adaptive) {
            let _ = writeln!(
                text,
                "The congestion controller is the limit, not the number of lanes: {} takes each lost packet for congestion. \
                 Try --congestion thalweg.",
                comparison.scenario.congestion
            );
        }
    }
    for outcome in &comparison.outcomes {
        if outcome.lost > 0 {
            let _ = writeln!(
                text,
                "{}: {} messages were acknowledged and are not in the store. This is a bug.",
                outcome.name, outcome.lost
            );
        }
    }
    let late: Vec<_> = comparison
        .outcomes
        .iter()
        .filter(|outcome| outcome.undelivered > 0)
        .map(|outcome| format!("{} {}", outcome.name, outcome.undelivered))
        .collect();
    if !late.is_empty() {
        let _ = writeln!(
            text,
            "Not delivered by the end of the run: {}. They count with their time until then.",
            late.join(", ")
        );
    }
}
