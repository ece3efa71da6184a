//! Sans-I/O: the strategies that a scenario compares.

use std::{fmt, num::NonZeroUsize, str::FromStr};

use anabranch::scaler::MAX_LANES;

/// How many lanes the producer of a run uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// As many as the adaptive scaler decides.
    Adaptive,
    /// A fixed number, at most [`MAX_LANES`].
    Static(NonZeroUsize),
    /// One stream per message.
    PerMessage,
}

impl Strategy {
    /// Returns the number of lanes of a static strategy.
    #[must_use]
    pub const fn lanes(self) -> Option<usize> {
        match self {
            Self::Static(lanes) => Some(lanes.get()),
            Self::Adaptive | Self::PerMessage => None,
        }
    }

    /// Reads strategies separated by commas.
    ///
    /// # Errors
    /// The rule that the first wrong one breaks.
    pub fn list(text: &str) -> Result<Vec<Self>, String> {
        text.split(',').map(|one| one.trim().parse()).collect()
    }
}

impl FromStr for Strategy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "adaptive" => Ok(Self::Adaptive),
            "per-message" => Ok(Self::PerMessage),
            _ => text
                .parse()
                .ok()
                .filter(|lanes: &NonZeroUsize| lanes.get() <= MAX_LANES)
                .map(Self::Static)
                .ok_or_else(|| {
                    format!("must be adaptive, per-message, or a number of lanes up to {MAX_LANES}")
                }),
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Adaptive => f.write_str("adaptive"),
            Self::Static(lanes) => lanes.fmt(f),
            Self::PerMessage => f.write_str("per-message"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strategies_are_read_as_they_are_shown() {
        let text = "adaptive,1,4,64,per-message";
        let read = Strategy::list(text).unwrap();
        let shown: Vec<_> = read.iter().map(ToString::to_string).collect();
        assert_eq!(shown.join(","), text);
        for wrong in ["0", "65", "-1", "", "adaptive;1"] {
            assert!(Strategy::list(wrong).is_err(), "{wrong}");
        }
    }
}
