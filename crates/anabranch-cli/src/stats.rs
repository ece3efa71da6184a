//! Sans-I/O: arithmetic for figures that are printed.

use std::time::Duration;

/// Converts a count for a division. Exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "a figure has a few digits")]
pub fn as_f64(count: u64) -> f64 {
    count as f64
}

/// Returns a count per second, or 0 when no time has passed.
pub fn per_second(count: u64, time: Duration) -> f64 {
    let seconds = time.as_secs_f64();
    if seconds > 0.0 {
        as_f64(count) / seconds
    } else {
        0.0
    }
}

/// Returns the nearest whole number, for large figures.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, and figures are not negative"
)]
pub fn whole(figure: f64) -> u64 {
    figure.round() as u64
}

/// Returns a count and its noun, which gets an `s` unless the count is one.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Returns milliseconds with their fraction.
pub fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Rounds to three decimal places.
pub fn rounded(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}

/// Rounds to six decimal places, for figures much smaller than one.
pub fn millionths(figure: f64) -> f64 {
    (figure * 1e6).round() / 1e6
}

/// Returns the median: the middle figure, or the mean of the two in the middle. `None` without figures.
pub fn median(figures: impl Iterator<Item = f64>) -> Option<f64> {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    let upper = *figures.get(figures.len() / 2)?;
    match figures.len() % 2 {
        0 => Some(f64::midpoint(figures[figures.len() / 2 - 1], upper)),
        _ => Some(upper),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        assert_eq!(median([4.0, 1.0, 3.0, 2.0].into_iter()), Some(2.5));
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median(std::iter::empty()), None);
    }
}
