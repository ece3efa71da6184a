//! Sans-I/O: quantiles and medians, exact, from all samples.

use std::time::Duration;

/// Quantiles of times, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize)]
pub struct Quantiles {
    /// The median.
    pub p50: f64,
    /// The 90th percentile.
    pub p90: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The 99.9th percentile.
    pub p999: f64,
    /// The maximum.
    pub max: f64,
}

impl Quantiles {
    /// Sorts durations in nanoseconds, and returns their quantiles. All are 0 without samples.
    pub(crate) fn of(nanos: &mut [u64]) -> Self {
        nanos.sort_unstable();
        let at = |q| quantile(nanos, q) as f64 / 1e6;
        Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: at(1.0),
        }
    }

    /// Returns the median of each quantile.
    pub(crate) fn medians<'a>(all: impl Iterator<Item = &'a Self> + Clone) -> Self {
        let of = |figure: fn(&Self) -> f64| median(all.clone().map(figure));
        Self {
            p50: of(|q| q.p50),
            p90: of(|q| q.p90),
            p99: of(|q| q.p99),
            p999: of(|q| q.p999),
            max: of(|q| q.max),
        }
    }
}

/// Returns the smallest of the sorted samples that is not exceeded by a share `q` of them, or 0 without samples.
pub(crate) fn quantile(sorted: &[u64], q: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at most the number of samples"
    )]
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or(0)
}

/// Returns the middle value, or the mean of the two in the middle, or 0 without values.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[half],
        _ => f64::midpoint(values[half - 1], values[half]),
    }
}

/// Returns a duration in nanoseconds, or `u64::MAX` for more than 584 years.
pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Returns a duration in milliseconds.
pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_least_sample_that_so_many_do_not_exceed() {
        let mut nanos: Vec<u64> = (1..=1000).rev().map(|ms| ms * 1_000_000).collect();
        let quantiles = Quantiles::of(&mut nanos);
        assert_eq!(quantiles.p50, 500.0);
        assert_eq!(quantiles.p90, 900.0);
        assert_eq!(quantiles.p99, 990.0);
        assert_eq!(quantiles.p999, 999.0);
        assert_eq!(quantiles.max, 1000.0);
    }

    #[test]
    fn one_sample_is_every_quantile_and_none_is_zero() {
        assert_eq!(Quantiles::of(&mut [7_000_000]).p50, 7.0);
        assert_eq!(Quantiles::of(&mut []), Quantiles::default());
    }

    #[test]
    fn the_median_of_an_even_number_is_the_mean_of_the_two_in_the_middle() {
        assert_eq!(median([4.0, 1.0, 3.0, 2.0].into_iter()), 2.5);
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median(std::iter::empty()), 0.0);
    }
}
