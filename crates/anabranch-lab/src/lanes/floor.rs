//! Sans-I/O: the least delivery time that any protocol can reach on a link.
//!
//! A message of `n` packets arrives half a round trip after its last byte was sent, and its bytes are sent at the rate of
//! the link. Each packet is lost with probability `p`. The sender detects the loss by the acknowledgements of three later
//! packets (or by its timer, an eighth of a round trip late), and sends the packet again, which may be lost too. With `k`
//! losses in a row of the unluckiest packet, a message takes
//!
//! ```text
//! delivery = R/2 + n·packet/rate + k·(R + min(3·gap, R/8))       P(at most k) = (1 - p^(k+1))^n
//! ```
//!
//! and the floor of a quantile `q` is the delivery time with the smallest `k` for which `P(at most k) >= q`. This assumes a
//! stream per message, ideal loss recovery and an empty queue. When the load exceeds the link, or losses keep the congestion
//! window small, messages wait before they are sent, and no strategy comes close to the floor.

use std::time::Duration;

use super::Scenario;
use crate::stats::Quantiles;

/// Payload of a packet, without the headers of IP, UDP, QUIC and the stream, in bytes.
const PAYLOAD: f64 = 1400.0;
/// Headers of IP, UDP, QUIC and the stream, in bytes.
const HEADERS: f64 = 80.0;
/// A message's share of the headers of its batch and frame, in bytes.
const FRAME: f64 = 16.0;

/// Returns the least one-way delivery times. The maximum is the 99.99th percentile.
#[must_use]
pub fn floor(scenario: &Scenario) -> Quantiles {
    let at = |q| delivery(scenario, q).as_secs_f64() * 1e3;
    Quantiles {
        p50: at(0.5),
        p90: at(0.9),
        p99: at(0.99),
        p999: at(0.999),
        max: at(0.9999),
    }
}

fn delivery(scenario: &Scenario, q: f64) -> Duration {
    let bits = scenario.rate.as_bits() as f64;
    let content = scenario.size as f64 + FRAME;
    let packets = (content / PAYLOAD).ceil();
    let sending = (content + packets * HEADERS) * 8.0 / bits;
    let rtt = scenario.rtt.as_secs_f64();
    // The gap between packets is that of the load, or of the link if that is longer.
    let packet = (PAYLOAD + HEADERS) * 8.0;
    let gap = (packet / scenario.offered()).max(packet / bits);
    let recovery = rtt + (3.0 * gap).min(rtt / 8.0);

    let p = scenario.loss.clamp(0.0, 0.99);
    let mut losses = 0;
    let mut lost_again = p;
    while (1.0 - lost_again).powf(packets) < q {
        losses += 1;
        lost_again *= p;
    }
    let seconds = rtt / 2.0
        + scenario.jitter.as_secs_f64() * q
        + sending
        + f64::from(losses) * recovery
        + scenario.broker_delay.as_secs_f64()
        + scenario.store_delay.as_secs_f64();
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(settings: &[(&str, &str)]) -> Quantiles {
        let mut scenario = Scenario::default();
        for (field, value) in settings {
            scenario.set(field, value).unwrap();
        }
        floor(&scenario)
    }

    #[test]
    fn without_loss_the_floor_is_half_a_round_trip_and_the_sending() {
        let floor = at(&[("loss", "0%")]);
        assert!((25.05..25.15).contains(&floor.p50), "{floor:?}");
        assert!((floor.max - floor.p50).abs() < 1e-9);
    }

    #[test]
    fn at_one_percent_one_message_in_a_hundred_costs_a_round_trip_more() {
        let floor = at(&[("load", "50mbit"), ("size", "1KiB")]);
        assert!((floor.p90 - floor.p50).abs() < 1e-9);
        assert!((75.0..77.0).contains(&floor.p999), "{floor:?}");
    }

    #[test]
    fn a_message_of_many_packets_is_as_late_as_the_unluckiest_of_them() {
        let small = at(&[("loss", "0.5%")]);
        let large = at(&[("loss", "0.5%"), ("size", "64KiB")]);
        assert!(small.p90 < 26.0 && large.p90 > 75.0, "{small:?} {large:?}");
    }
}
