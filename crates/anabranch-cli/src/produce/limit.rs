//! Sans-I/O: whether the congestion controller may have been the limit of a run.

use std::time::Duration;

use crate::{args::Controller, stats::as_f64};

/// Share of the bytes lost from which it is worth a word.
const LOST: f64 = 0.001;
/// A path with a shorter round trip loses packets where a socket is full, not on a link.
const RTT: Duration = Duration::from_millis(5);

/// Returns a sentence if bytes were lost on a long path, and the controller takes each loss for congestion.
pub(super) fn advice(
    controller: Controller,
    min_rtt: Option<Duration>,
    lost_bytes: u64,
    acked_bytes: u64,
) -> Option<String> {
    let is_long = min_rtt.is_some_and(|rtt| rtt >= RTT);
    if matches!(controller, Controller::Thalweg | Controller::Bbr) || !is_long {
        return None;
    }
    let lost = as_f64(lost_bytes) / as_f64((lost_bytes + acked_bytes).max(1));
    (lost >= LOST).then(|| {
        format!(
            "{:.1} % of the bytes were lost on the way. The congestion controller takes each loss for congestion, and may \
             carry less than the link does: --congestion thalweg does not.",
            lost * 100.0
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_on_a_long_path_are_told_where_the_controller_minds_them() {
        let said = |controller, rtt, lost| {
            advice(
                controller,
                Some(Duration::from_millis(rtt)),
                lost,
                100_000 - lost,
            )
        };
        let sentence = said(Controller::Cubic, 50, 1_000).unwrap();
        assert!(
            sentence.starts_with("1.0 % of the bytes were lost"),
            "{sentence}"
        );
        assert_eq!(said(Controller::Thalweg, 50, 1_000), None);
        assert_eq!(said(Controller::Cubic, 1, 1_000), None);
        assert_eq!(said(Controller::Cubic, 50, 10), None);
    }
}
