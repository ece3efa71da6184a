//! Pure: durations and sizes as they are written on a command line.

use std::time::Duration;

/// `250ms`, `10s`, `5m`, `2h`, `7d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    const RULE: &str = "must be a whole number and ms, s, m, h or d, such as 500ms, 10s or 7d";
    let (number, unit) = split(text).ok_or(RULE)?;
    let seconds = match unit {
        "ms" => return Ok(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return Err(RULE.into()),
    };
    let all = number.checked_mul(seconds);
    Ok(Duration::from_secs(all.ok_or("is too long")?))
}

/// As [`duration`], and more than none.
pub fn some_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("must be more than zero".into()),
        duration => Ok(duration),
    }
}

/// `65536`, `64KiB`, `100MB`, `2GiB`.
pub fn size(text: &str) -> Result<u64, String> {
    const RULE: &str =
        "must be a whole number of bytes, or of kB, MB, GB, TB, KiB, MiB, GiB or TiB";
    let (number, unit) = split(text).ok_or(RULE)?;
    let bytes: u64 = match unit {
        "" | "B" => 1,
        "kB" => 1000,
        "MB" => 1000 * 1000,
        "GB" => 1000 * 1000 * 1000,
        "TB" => 1000 * 1000 * 1000 * 1000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err(RULE.into()),
    };
    Ok(number.checked_mul(bytes).ok_or("is too much")?)
}

/// The digits at the beginning, and the rest.
fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.trim_start()))
}

/// A count per second; none where no time has passed.
#[allow(clippy::cast_precision_loss)]
pub fn per_second(count: u64, time: Duration) -> f64 {
    let seconds = time.as_secs_f64();
    if seconds > 0.0 {
        count as f64 / seconds
    } else {
        0.0
    }
}

/// Without its fraction, which nobody wants to see of a large figure.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub fn whole(figure: f64) -> u64 {
    figure.round() as u64
}

/// Milliseconds with their fractions, as results tell them.
pub fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_a_number_and_a_unit() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("2 h"), Ok(Duration::from_secs(7200)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(604_800)));
        for wrong in ["", "10", "s", "-1s", "1.5s", "1w", "99999999999999999999s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert!(duration("18446744073709551615d").is_err());
        assert!(some_duration("0ms").is_err());
    }

    #[test]
    fn sizes_are_bytes_or_a_number_and_a_unit() {
        assert_eq!(size("65536"), Ok(65_536));
        assert_eq!(size("64KiB"), Ok(65_536));
        assert_eq!(size("100 MB"), Ok(100_000_000));
        assert_eq!(size("1TiB"), Ok(1 << 40));
        for wrong in ["", "KiB", "1K", "1mb", "-1", "18446744073709551615KiB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
