//! Sans-I/O: durations, sizes, rates and ratios as people write them.
//!
//! Options from a command line, a file or the environment are read by these functions. All of them share one grammar:
//! a decimal number without a sign, an optional space, and a unit.
//!
//! | what | units | examples |
//! |---|---|---|
//! | duration | `ns`, `us` or `µs`, `ms`, `s`, `m` or `min`, `h`, `d`; `0` needs none | `250ms`, `1.5s`, `1h` |
//! | size | none or `B`; `kB` or `KB`, `MB`, `GB`, `TB` (powers of 1000); `KiB`, `MiB`, `GiB`, `TiB` (of 1024) | `65536`, `64KiB`, `1.25MB` |
//! | rate | `bit`, `kbit`, `mbit`, `gbit` in any case, with or without `/s` | `100mbit`, `1.5 Gbit/s` |
//! | ratio | none or `%` | `0.01`, `1%` |
//!
//! ```
//! use std::time::Duration;
//! use anabranch::units;
//!
//! assert_eq!(units::parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
//! assert_eq!(units::parse_size("64KiB"), Ok(65_536));
//! assert_eq!(units::parse_rate("100mbit"), Ok(100_000_000));
//! assert_eq!(units::parse_ratio("1%"), Ok(0.01));
//! let error = units::parse_duration("soon").unwrap_err();
//! assert_eq!(error.to_string(), "expected a duration, such as 250ms, 1.5s or 1h");
//! ```

use std::{fmt, time::Duration};

/// What a text should have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quantity {
    Duration,
    Size,
    Rate,
    Ratio,
}

impl Quantity {
    const fn name(self) -> &'static str {
        match self {
            Self::Duration => "duration",
            Self::Size => "size",
            Self::Rate => "rate",
            Self::Ratio => "ratio",
        }
    }

    const fn examples(self) -> &'static str {
        match self {
            Self::Duration => "250ms, 1.5s or 1h",
            Self::Size => "1200, 64KiB or 1.25MB",
            Self::Rate => "800kbit, 100mbit or 1gbit",
            Self::Ratio => "0.01 or 1%",
        }
    }
}

/// A text that is not a number with a unit, or a number that is too large.
///
/// The message does not repeat the text: whoever reads an option names the option and its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseError {
    quantity: Quantity,
    too_large: bool,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.quantity.name();
        match self.too_large {
            true => write!(f, "the {name} is too large"),
            false => write!(f, "expected a {name}, such as {}", self.quantity.examples()),
        }
    }
}

impl std::error::Error for ParseError {}

/// Reads a duration.
///
/// # Errors
/// [`ParseError`] where the text is not a duration, or one of more than 2^64 seconds.
pub fn parse_duration(text: &str) -> Result<Duration, ParseError> {
    const SECOND: u128 = 1_000_000_000;
    let nanos = parse(text, Quantity::Duration, |number, unit| {
        Some(match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => SECOND,
            "m" | "min" => 60 * SECOND,
            "h" => 3_600 * SECOND,
            "d" => 86_400 * SECOND,
            "" if number.digits == 0 => 1,
            _ => return None,
        })
    })?;
    let (seconds, rest) = (nanos / SECOND, nanos % SECOND);
    let (seconds, rest) = (u64::try_from(seconds), u32::try_from(rest));
    match (seconds, rest) {
        (Ok(seconds), Ok(rest)) => Ok(Duration::new(seconds, rest)),
        _ => Err(Quantity::Duration.too_large()),
    }
}

/// Writes a duration as [`parse_duration`] reads it: a whole number of the largest unit up to seconds that is exact.
#[must_use]
pub fn format_duration(time: Duration) -> String {
    let nanos = time.as_nanos();
    let units = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us")];
    match units
        .iter()
        .find(|(factor, _)| nanos.is_multiple_of(*factor))
    {
        _ if nanos == 0 => "0s".to_owned(),
        Some((factor, unit)) => format!("{}{unit}", nanos / factor),
        None => format!("{nanos}ns"),
    }
}

/// Reads a size in bytes. A fraction of a byte is rounded.
///
/// # Errors
/// [`ParseError`] where the text is not a size, or one of 2^64 bytes or more.
pub fn parse_size(text: &str) -> Result<u64, ParseError> {
    let bytes = parse(text, Quantity::Size, |_, unit| {
        Some(match unit {
            "" | "B" => 1,
            "kB" | "KB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "TB" => 1_000_000_000_000,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "TiB" => 1 << 40,
            _ => return None,
        })
    })?;
    u64::try_from(bytes).map_err(|_| Quantity::Size.too_large())
}

/// Writes a size as [`parse_size`] reads it: a whole number of the largest binary unit that is exact.
#[must_use]
pub fn format_size(bytes: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units
        .iter()
        .find(|(bits, _)| bytes.trailing_zeros() >= *bits)
    {
        Some((bits, unit)) if bytes > 0 => format!("{}{unit}", bytes >> bits),
        _ => format!("{bytes}B"),
    }
}

/// Reads a rate in bits per second. A fraction of a bit is rounded.
///
/// # Errors
/// [`ParseError`] where the text is not a rate, or one of 2^64 bits per second or more.
pub fn parse_rate(text: &str) -> Result<u64, ParseError> {
    let bits = parse(text, Quantity::Rate, |_, unit| {
        let unit = unit.strip_suffix("/s").unwrap_or(unit);
        Some(match unit.to_ascii_lowercase().as_str() {
            "bit" => 1,
            "kbit" => 1_000,
            "mbit" => 1_000_000,
            "gbit" => 1_000_000_000,
            _ => return None,
        })
    })?;
    u64::try_from(bits).map_err(|_| Quantity::Rate.too_large())
}

/// Writes a rate as [`parse_rate`] reads it: a whole number of the largest unit that is exact.
#[must_use]
pub fn format_rate(bits_per_second: u64) -> String {
    let units = [
        (1_000_000_000, "gbit"),
        (1_000_000, "mbit"),
        (1_000, "kbit"),
    ];
    match units
        .iter()
        .find(|(factor, _)| bits_per_second.is_multiple_of(*factor))
    {
        Some((factor, unit)) if bits_per_second > 0 => {
            format!("{}{unit}", bits_per_second / factor)
        }
        _ => format!("{bits_per_second}bit"),
    }
}

/// Reads a ratio, written as a fraction or in percent. It may be more than 1.
///
/// # Errors
/// [`ParseError`] where the text is not a ratio.
pub fn parse_ratio(text: &str) -> Result<f64, ParseError> {
    let (number, unit) = split(text).ok_or_else(|| Quantity::Ratio.malformed())?;
    // A decimal fraction as text gives the nearest floating-point number, as a literal in a program does.
    let scale = match unit {
        "%" => number.scale + 2,
        "" => number.scale,
        _ => return Err(Quantity::Ratio.malformed()),
    };
    format!("{}e-{scale}", number.digits)
        .parse()
        .map_err(|_| Quantity::Ratio.malformed())
}

/// Writes a ratio as [`parse_ratio`] reads it: in percent, with up to six digits after the point.
#[must_use]
pub fn format_ratio(ratio: f64) -> String {
    let percent = format!("{:.6}", ratio * 100.0);
    format!("{}%", percent.trim_end_matches('0').trim_end_matches('.'))
}

impl Quantity {
    const fn malformed(self) -> ParseError {
        ParseError {
            quantity: self,
            too_large: false,
        }
    }

    const fn too_large(self) -> ParseError {
        ParseError {
            quantity: self,
            too_large: true,
        }
    }
}

/// A decimal number: `digits` divided by ten to the power of `scale`.
#[derive(Debug, Clone, Copy)]
struct Decimal {
    digits: u128,
    scale: u32,
}

/// The number at the beginning, and the unit after it. `None` also for more digits than 128 bits hold.
fn split(text: &str) -> Option<(Decimal, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.'));
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let (whole, fraction) = match number.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (number, ""),
    };
    if whole.is_empty() || fraction.contains('.') {
        return None;
    }
    let decimal = Decimal {
        digits: format!("{whole}{fraction}").parse().ok()?,
        scale: u32::try_from(fraction.len()).ok()?,
    };
    Some((decimal, unit.trim_start()))
}

/// The number times the factor of its unit, rounded to a whole number.
fn parse(
    text: &str,
    quantity: Quantity,
    factor: impl FnOnce(Decimal, &str) -> Option<u128>,
) -> Result<u128, ParseError> {
    let (number, unit) = split(text).ok_or_else(|| quantity.malformed())?;
    let factor = factor(number, unit).ok_or_else(|| quantity.malformed())?;
    let scaled = number.digits.checked_mul(factor);
    let divisor = 10_u128.checked_pow(number.scale);
    let (Some(scaled), Some(divisor)) = (scaled, divisor) else {
        return Err(quantity.too_large());
    };
    let (quotient, rest) = (scaled / divisor, scaled % divisor);
    Ok(quotient + u128::from(rest >= divisor - rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_a_number_and_a_unit() {
        for (text, nanos) in [
            ("0", 0),
            ("0s", 0),
            ("15ns", 15),
            ("100us", 100_000),
            ("2.5µs", 2_500),
            ("250ms", 250_000_000),
            ("1.5 s", 1_500_000_000),
            (" 5m ", 300_000_000_000),
            ("5min", 300_000_000_000),
            ("1h", 3_600_000_000_000),
            ("0.5d", 43_200_000_000_000),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_nanos(nanos)),
                "{text}"
            );
        }
        assert_eq!(
            parse_duration("18446744073709551615s"),
            Ok(Duration::from_secs(u64::MAX))
        );
    }

    #[test]
    fn sizes_are_bytes_or_a_number_and_a_unit() {
        for (text, bytes) in [
            ("0", 0),
            ("65536", 65_536),
            ("100B", 100),
            ("64KiB", 65_536),
            ("0.5 KiB", 512),
            ("1.25MB", 1_250_000),
            ("100 MB", 100_000_000),
            ("1kB", 1_000),
            ("1KB", 1_000),
            ("1TiB", 1 << 40),
            ("1TB", 1_000_000_000_000),
            ("18446744073709551615", u64::MAX),
            ("1.4B", 1),
            ("1.5B", 2),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn rates_are_bits_in_any_case_with_or_without_per_second() {
        for (text, bits) in [
            ("100mbit", 100_000_000),
            ("1 Gbit/s", 1_000_000_000),
            ("1.5Mbit", 1_500_000),
            ("800kbit", 800_000),
            ("1bit", 1),
        ] {
            assert_eq!(parse_rate(text), Ok(bits), "{text}");
        }
    }

    #[test]
    fn ratios_are_fractions_or_percentages() {
        for (text, ratio) in [
            ("0.5%", 0.005),
            ("1%", 0.01),
            ("0.25", 0.25),
            ("150 %", 1.5),
        ] {
            assert_eq!(parse_ratio(text), Ok(ratio), "{text}");
        }
    }

    #[test]
    fn a_text_that_is_no_quantity_is_refused_with_an_example() {
        for wrong in [
            "", "s", "10", "-1s", "+1s", "1w", "1.s", ".5s", "1.2.3s", "1e3s", "∞s",
        ] {
            let error = parse_duration(wrong).unwrap_err().to_string();
            assert!(error.contains("such as 250ms"), "{wrong}: {error}");
        }
        for wrong in ["", "KiB", "1K", "1mb", "-1", "1 GiBs"] {
            let error = parse_size(wrong).unwrap_err().to_string();
            assert!(error.contains("such as 1200"), "{wrong}: {error}");
        }
        for wrong in ["", "100", "fast", "1MB/s"] {
            let error = parse_rate(wrong).unwrap_err().to_string();
            assert!(error.contains("such as 800kbit"), "{wrong}: {error}");
        }
        for wrong in ["", "1 percent", "-1%", "NaN"] {
            let error = parse_ratio(wrong).unwrap_err().to_string();
            assert!(error.contains("such as 0.01"), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_quantity_that_is_too_large_is_refused_and_says_so() {
        let error = parse_duration("18446744073709551615d").unwrap_err();
        assert_eq!(error.to_string(), "the duration is too large");
        let error = parse_size("18446744073709551615KiB").unwrap_err();
        assert_eq!(error.to_string(), "the size is too large");
        let error = parse_rate("18446744073709551615gbit").unwrap_err();
        assert_eq!(error.to_string(), "the rate is too large");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again_as_the_same(n in any::<u64>(), zeros in 0u32..19) {
            let n = n / 10_u64.pow(zeros) * 10_u64.pow(zeros);
            let time = Duration::from_nanos(n);
            prop_assert_eq!(parse_duration(&format_duration(time)), Ok(time));
            prop_assert_eq!(parse_size(&format_size(n)), Ok(n));
            prop_assert_eq!(parse_rate(&format_rate(n)), Ok(n));
            let ratio = (n % 10_000) as f64 / 10_000.0;
            prop_assert!((parse_ratio(&format_ratio(ratio)).unwrap() - ratio).abs() < 1e-9);
        }

        #[test]
        fn no_text_is_too_strange_to_be_read_or_refused(text in ".{0,60}", number in "[0-9.]{0,60}") {
            for text in [text, format!("{number}s"), format!("{number}TiB"), format!("{number}%")] {
                let _ = (parse_duration(&text), parse_size(&text), parse_rate(&text), parse_ratio(&text));
            }
        }
    }
}
