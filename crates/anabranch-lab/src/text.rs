//! Pure: numbers with units, as people write them: `50ms`, `100mbit`, `1%`, `64KiB`.

use std::time::Duration;

use anabranch::sim::Rate;

/// A number and what stands behind it.
fn split(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let number: f64 = text[..end].parse().ok()?;
    Some((number, text[end..].trim()))
}

/// `50ms`, `1.5s`, `100us`, `2m`; `0` needs no unit.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration, such as 50ms, 1.5s or 100us");
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let seconds = match unit {
        "s" => number,
        "ms" => number / 1e3,
        "us" | "µs" => number / 1e6,
        "m" | "min" => number * 60.0,
        "" if number == 0.0 => 0.0,
        _ => return Err(wrong()),
    };
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

/// As [`duration`] reads it.
pub(super) fn show_duration(time: Duration) -> String {
    let nanos = time.as_nanos();
    match nanos {
        0 => "0ms".to_owned(),
        n if n % 1_000_000_000 == 0 => format!("{}s", n / 1_000_000_000),
        n if n % 1_000_000 == 0 => format!("{}ms", n / 1_000_000),
        _ => format!("{}us", time.as_secs_f64() * 1e6),
    }
}

/// `100mbit`, `1gbit`, `800kbit`; a `/s` behind it changes nothing.
pub(super) fn rate(text: &str) -> Result<Rate, String> {
    let wrong = || format!("{text:?} is no data rate, such as 100mbit, 1gbit or 800kbit");
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let unit = unit.strip_suffix("/s").unwrap_or(unit);
    let factor = match unit.to_ascii_lowercase().as_str() {
        "bit" => 1.0,
        "kbit" => 1e3,
        "mbit" => 1e6,
        "gbit" => 1e9,
        _ => return Err(wrong()),
    };
    whole(number * factor).map(Rate::bits).ok_or_else(wrong)
}

/// As [`rate`] reads it.
pub(super) fn show_rate(rate: Rate) -> String {
    match rate.as_bits() {
        n if n > 0 && n % 1_000_000_000 == 0 => format!("{}gbit", n / 1_000_000_000),
        n if n > 0 && n % 1_000_000 == 0 => format!("{}mbit", n / 1_000_000),
        n if n > 0 && n % 1_000 == 0 => format!("{}kbit", n / 1_000),
        n => format!("{n}bit"),
    }
}

/// `1%` or `0.01`.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let wrong = || format!("{text:?} is no share, such as 1% or 0.01");
    let (number, unit) = split(text).ok_or_else(wrong)?;
    match unit {
        "%" => Ok(number / 100.0),
        "" => Ok(number),
        _ => Err(wrong()),
    }
}

/// As [`share`] reads it.
pub(super) fn show_share(share: f64) -> String {
    // Percent with what digits it takes, not with those of the binary fraction.
    let percent = format!("{:.6}", share * 100.0);
    format!("{}%", percent.trim_end_matches('0').trim_end_matches('.'))
}

/// `1KiB`, `100B`, `64KiB`, `1.25MB`, `1200`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no size, such as 100B, 1KiB or 1.25MB");
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let factor = match unit {
        "" | "B" => 1.0,
        "kB" | "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        "GiB" => 1024.0 * 1024.0 * 1024.0,
        _ => return Err(wrong()),
    };
    whole(number * factor).ok_or_else(wrong)
}

/// As [`size`] reads it.
pub(super) fn show_size(bytes: u64) -> String {
    match bytes {
        n if n > 0 && n % (1 << 20) == 0 => format!("{}MiB", n >> 20),
        n if n > 0 && n % (1 << 10) == 0 => format!("{}KiB", n >> 10),
        n => format!("{n}B"),
    }
}

/// A whole number that 64 bits of floating point hold exactly.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked: from 0 to 2^53"
)]
fn whole(number: f64) -> Option<u64> {
    let number = number.round();
    (0.0..=9e15).contains(&number).then_some(number as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_units_are_read_as_people_write_them() {
        assert_eq!(duration("50ms"), Ok(Duration::from_millis(50)));
        assert_eq!(duration("1.5 s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("100us"), Ok(Duration::from_micros(100)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert_eq!(rate("100mbit"), Ok(Rate::mbit(100)));
        assert_eq!(rate("1 Gbit/s"), Ok(Rate::gbit(1)));
        assert_eq!(rate("1.5mbit"), Ok(Rate::kbit(1500)));
        assert_eq!(share("0.5%"), Ok(0.005));
        assert_eq!(share("0.25"), Ok(0.25));
        assert_eq!(size("1KiB"), Ok(1024));
        assert_eq!(size("1.25MB"), Ok(1_250_000));
        assert_eq!(size("100"), Ok(100));
    }

    #[test]
    fn what_is_none_is_refused_with_an_example() {
        for wrong in [
            duration("50").unwrap_err(),
            duration("-1s").unwrap_err(),
            duration("").unwrap_err(),
            rate("100").unwrap_err(),
            rate("fast").unwrap_err(),
            share("1 percent").unwrap_err(),
            size("1 K").unwrap_err(),
        ] {
            assert!(wrong.contains("such as"), "{wrong}");
        }
    }

    #[test]
    fn what_is_shown_is_read_again_as_the_same() {
        for time in [0, 1, 100, 1_000, 50_000, 1_500_000, 20_000_000] {
            let time = Duration::from_micros(time);
            assert_eq!(duration(&show_duration(time)), Ok(time));
        }
        for bits in [1, 1_500, 800_000, 100_000_000, 1_000_000_000] {
            assert_eq!(rate(&show_rate(Rate::bits(bits))), Ok(Rate::bits(bits)));
        }
        for parts in [0.0, 0.001, 0.005, 0.01, 0.5, 1.5] {
            assert!((share(&show_share(parts)).unwrap() - parts).abs() < 1e-9);
        }
        assert_eq!(show_share(0.001), "0.1%");
        for bytes in [1, 100, 1024, 65_536, 1_250_000] {
            assert_eq!(size(&show_size(bytes)), Ok(bytes));
        }
    }
}
