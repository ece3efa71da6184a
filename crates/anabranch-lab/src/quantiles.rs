//! Pure: the quantiles of a run, exact, from all of its samples.

/// Milliseconds by quantile.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize)]
pub struct Quantiles {
    /// Half of the messages took at most so long.
    pub p50: f64,
    /// Nine of ten.
    pub p90: f64,
    /// Ninety-nine of a hundred.
    pub p99: f64,
    /// All but one in a thousand.
    pub p999: f64,
    /// All.
    pub max: f64,
}

impl Quantiles {
    /// Sorts `nanos`, durations in nanoseconds, and reads off. Zero where there are none.
    pub(super) fn of(nanos: &mut [u64]) -> Self {
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
}

/// The least of the sorted samples that a share `q` of them does not exceed; 0 where there are none.
pub(super) fn quantile(sorted: &[u64], q: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at most the number of samples"
    )]
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or(0)
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
}
