//! Sans-I/O: comparisons as JSON.

use anabranch::scaler::Action;
use anabranch_lab::{self as lab, Outcome, Quantiles, Sample, Scenario, Stretch};
use serde::{Serialize, Serializer, ser::SerializeMap};

/// A comparison. `scenario` has the flags that repeat it. `floor_ms` is the median of the floor.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison<'a> {
    #[serde(serialize_with = "fields")]
    scenario: &'a Scenario,
    floor_ms: f64,
    floor_quantiles_ms: Quantiles,
    best_static: Option<&'a str>,
    best_static_widest: Option<&'a str>,
    strategies: Vec<Strategy<'a>>,
}

#[derive(Debug, Serialize)]
struct Strategy<'a> {
    #[serde(flatten)]
    outcome: &'a Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<Trace<'a>>,
}

#[derive(Debug, Serialize)]
struct Trace<'a> {
    samples: &'a [Sample],
    latency: &'a [Stretch],
    distribution: &'a [[f64; 2]],
    decisions: Vec<Decided>,
}

#[derive(Debug, Serialize)]
struct Decided {
    at: f64,
    action: &'static str,
    lanes: usize,
    by: usize,
    reason: &'static str,
    queued: usize,
}

fn fields<S: Serializer>(scenario: &&Scenario, to: S) -> Result<S::Ok, S::Error> {
    let mut map = to.serialize_map(None)?;
    for (name, value) in scenario.fields() {
        map.serialize_entry(name, &value)?;
    }
    map.end()
}

impl<'a> Comparison<'a> {
    /// Returns the comparison without traces.
    pub(crate) fn of(comparison: &'a lab::Comparison) -> Self {
        Self::with(comparison, |_| None)
    }

    /// Returns the comparison with everything over time.
    pub(crate) fn traced(comparison: &'a lab::Comparison) -> Self {
        Self::with(comparison, |outcome| Some(trace(&outcome.trace)))
    }

    fn with(
        comparison: &'a lab::Comparison,
        trace: impl Fn(&'a Outcome) -> Option<Trace<'a>>,
    ) -> Self {
        let name = |index: Option<usize>| Some(comparison.outcomes[index?].name.as_str());
        Self {
            scenario: &comparison.scenario,
            floor_ms: comparison.floor.p50,
            floor_quantiles_ms: comparison.floor,
            best_static: name(comparison.best_static),
            best_static_widest: name(comparison.best_static_widest),
            strategies: comparison
                .outcomes
                .iter()
                .map(|outcome| Strategy {
                    outcome,
                    trace: trace(outcome),
                })
                .collect(),
        }
    }
}

fn trace(trace: &lab::Trace) -> Trace<'_> {
    Trace {
        samples: &trace.samples,
        latency: &trace.latency,
        distribution: &trace.distribution,
        decisions: trace
            .decisions
            .iter()
            .map(|decided| {
                let (action, by) = match decided.action {
                    Action::Hold => ("hold", 0),
                    Action::Open(n) => ("open", n.get()),
                    Action::Retire(n) => ("retire", n.get()),
                };
                Decided {
                    at: decided.at.as_secs_f64(),
                    action,
                    lanes: decided.lanes,
                    by,
                    reason: decided.reason.as_str(),
                    queued: decided.queued,
                }
            })
            .collect(),
    }
}
