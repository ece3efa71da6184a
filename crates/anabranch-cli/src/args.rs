//! Sans-I/O: values of flags that several commands share.

use std::time::Duration;

use anabranch::{conn::Congestion, units};
use clap::ValueEnum;

/// Reads a duration of more than zero, such as `250ms` or `1.5s`.
///
/// # Errors
/// A sentence with the rule that `text` breaks.
pub fn positive_duration(text: &str) -> Result<Duration, String> {
    match units::parse_duration(text) {
        Ok(Duration::ZERO) => Err("must be more than zero".into()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}

/// Reads the name of a producer or a durable consumer.
pub(crate) fn name(text: &str) -> Result<String, &'static str> {
    match text.len() {
        1..=200 => Ok(text.into()),
        _ => Err("must have 1 to 200 bytes"),
    }
}

/// The congestion controller of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Controller {
    /// The Internet's usual one. Treats every lost packet as congestion.
    #[default]
    Cubic,
    /// The older standard (RFC 9002).
    Newreno,
    /// quinn's BBR. Tolerates single losses; experimental.
    Bbr,
    /// This project's own, for links that lose packets without congestion; experimental.
    Thalweg,
}

impl From<Controller> for Congestion {
    fn from(controller: Controller) -> Self {
        match controller {
            Controller::Cubic => Self::Cubic,
            Controller::Newreno => Self::NewReno,
            Controller::Bbr => Self::Bbr,
            Controller::Thalweg => Self::Thalweg,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_positive_duration_may_have_a_fraction_and_is_not_zero() {
        assert_eq!(positive_duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(
            positive_duration("0ms").unwrap_err(),
            "must be more than zero"
        );
        let error = positive_duration("soon").unwrap_err();
        assert!(error.starts_with("expected a duration"), "{error}");
    }

    #[test]
    fn a_name_has_1_to_200_bytes() {
        assert!(name("").is_err());
        assert!(name(&"n".repeat(200)).is_ok());
        assert!(name(&"n".repeat(201)).is_err());
    }
}
